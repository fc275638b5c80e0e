"""From a word such as debian:13 to one file: its address, its digest, and how that digest is believed."""

import json
import os
from urllib.parse import urldefrag, urljoin

from kvmrun.api.report import Detail, Noted, Report
from kvmrun.errors import Refused, UsageError
from kvmrun.host.images import http_client, signature
from kvmrun.host.images.download import Source
from kvmrun.model.deadline import Deadline
from kvmrun.model.image import streams
from kvmrun.model.image.catalogue_entry import CatalogueEntry, Url, is_image_name
from kvmrun.model.image.image_digest import Digest, digest_of
from kvmrun.model.image.pinned_image import PinnedImage, Verified
from kvmrun.model.image.version_order import newest_build
from kvmrun.model.printable import printable
from kvmrun.model.scalars import OneLine
from kvmrun.model.suggest import closest
from kvmrun.model.value import Value

NO_DIGEST = Digest("sha256:" + "0" * 64)
"""In the place of the digest of what was not downloaded yet and cannot be verified."""
_ANYWAY = "--unverified uses it all the same, and marks it"


class Resolved(Value):
    """An image under the name that it is pinned by, and what is to be downloaded."""

    name: str
    pin: PinnedImage
    source: Source


def is_source(word: str) -> bool:
    """Whether a word means an image that is to be had from elsewhere, rather than a file."""
    return is_image_name(word) or word.startswith(("http://", "https://"))


def resolve_url(word: str, name: str, *, unverified: bool) -> Resolved:
    """An address, with its digest behind a #. Raises UsageError, or Refused without a digest."""
    address, fragment = urldefrag(word)
    try:
        url = Url.parse(address)
        digest = Digest.parse(fragment) if fragment else None
    except ValueError as wanted:
        raise UsageError(f"{printable(word, 200)} is no image", f"give {wanted}, and the digest behind a #") from None
    if digest is None and not unverified:
        fix = f"give it: {url}#sha256=DIGEST; or {_ANYWAY}"
        raise Refused(f"{url} cannot be verified", fix, reason="it has no digest")
    pin = PinnedImage(
        source=OneLine.parse(url), digest=digest or NO_DIGEST, verified="digest" if digest else "unverified"
    )
    return Resolved(name=name, pin=pin, source=Source(url=url, digest=digest))


def url_name(word: str) -> str:
    """The name that an image is pinned by of which only the address, or the file, is known."""
    stem = os.path.basename(urldefrag(word)[0].rstrip("/")).lower()
    for suffix in (".xz", ".gz", ".bz2", ".zst", ".qcow2", ".img", ".raw", ".vmdk", ".vdi", ".vhdx"):
        stem = stem.removesuffix(suffix)
    return (
        "".join(char if char.isascii() and (char.isalnum() or char in ".-_") else "-" for char in stem)[:64] or "image"
    )


def find_release(word: str, entries: dict[str, CatalogueEntry]) -> tuple[str, str]:
    """(name of the entry, release) that a word means. Raises UsageError with the one that was probably meant."""
    name, _, wanted = word.partition(":")
    if name not in entries:
        near = closest(name, [*entries, "apt"])
        fix = f"did you mean {near}{word[len(name) :]}?" if near else "kvmrun image list --all shows those there are"
        raise UsageError(f"there is no image {printable(word, 80)} in the catalogue", fix)
    entry = entries[name]
    if release := entry.release_named(wanted):
        return name, release
    near = entry.nearest_release(wanted)
    known = ", ".join(entry.releases)
    fix = f"did you mean {name}:{near}?" if near else f"one of {known}"
    raise UsageError(f"{entry.title} has no release {printable(wanted, 60)}", fix, reason=f"the catalogue has {known}")


class CatalogueResolver:
    """Finds the newest build of a release, by what its publisher says now."""

    def __init__(self, entry: CatalogueEntry, release: str, report: Report, deadline: Deadline) -> None:
        self.entry = entry
        self.release = release
        self.report = report
        self.deadline = deadline

    def resolve(self, name: str, *, unverified: bool) -> Resolved:
        """The build, and its digest. Raises Refused for what cannot be verified, unless `unverified`."""
        if self.entry.reader:
            found, verified = self._from_stream()
            source = Source(url=self._stream_url(found.path), digest=found.digest, size=found.size)
            return self._resolved(name, source, found.build, verified, unverified=unverified)
        build = self._build()
        url = self.entry.filled(self.entry.url, self.release, build)
        digest, verified = self._listed_digest(url, build)
        return self._resolved(name, Source(url=url, digest=digest), build, verified, unverified=unverified)

    def _resolved(self, name: str, source: Source, build: str, verified: Verified, *, unverified: bool) -> Resolved:
        if verified == "unverified" and not unverified:
            reason = "its checksum comes over HTTP and is not signed" if source.digest else "it has no checksum"
            raise Refused(f"{source.url} cannot be verified", _ANYWAY, reason=reason)
        own = self.entry.releases[self.release]
        pin = PinnedImage(
            source=OneLine.parse(source.url),
            digest=source.digest or NO_DIGEST,
            verified=verified,
            build=OneLine(build) if build else None,
            user=self.entry.user,
            firmware=self.entry.firmware,
            seed=self.entry.seed,
            osinfo=own.osinfo or OneLine(self.entry.filled(self.entry.osinfo, self.release)) or None,
        )
        return Resolved(name=name, pin=pin, source=source)

    def _fetch(self, url: str) -> bytes:
        self.report(Detail(text=f"reading {url}"))
        return http_client.fetch_document(url, self.deadline)

    def _build(self) -> str:
        """The newest build that the index page names, "" where the entry has no such page."""
        if not self.entry.index:
            return ""
        index = self.entry.filled(self.entry.index, self.release)
        pattern = self.entry.filled(self.entry.build, self.release)
        if build := newest_build(self._fetch(index).decode(errors="replace"), pattern):
            return build
        raise Refused(f"{index} names no build of {self.release}", "correct build in the catalogue", reason=pattern)

    def _listed_digest(self, url: str, build: str) -> tuple[Digest | None, Verified]:
        if not self.entry.sums:
            return None, "unverified"
        address = self.entry.filled(self.entry.sums, self.release, build)
        data, verified = self._verified(address, self._fetch(address), build)
        file = url.rpartition("/")[2]
        if digest := digest_of(data.decode(errors="replace"), file):
            return digest, verified
        fix = "try again later: the publisher may be at work on it"
        raise Refused(
            f"{address} gives no digest for {file}", fix, reason="it does not list the file, or contradicts itself"
        )

    def _from_stream(self) -> tuple[streams.StreamImage, Verified]:
        entry = self.entry
        signed = bool(entry.signed_url) and self._keyring() != ""
        address = entry.filled(entry.signed_url if signed else entry.url, self.release)
        data, verified = self._fetch(address), self._unsigned(address)
        if signed:
            data, verified = self._check(address, data, None), "signature"
        try:
            document = json.loads(data)
            if entry.reader == "coreos":
                return streams.coreos_image(document), verified
            product = entry.filled(entry.product, self.release)
            return streams.simplestreams_image(document, product, f"{entry.item}"), verified
        except streams.StreamError as wrong:
            raise Refused(f"{address} {printable(wrong, 200)}", "try another release") from None
        except (ValueError, RecursionError):
            raise Refused(f"{address} is no JSON document", "correct url in the catalogue") from None

    def _stream_url(self, path: str) -> str:
        root = self.entry.filled(self.entry.url, self.release).partition("/streams/")[0]
        return Url.parse(urljoin(f"{root}/", path))

    def _unsigned(self, address: str) -> Verified:
        return "checksum" if http_client.is_believed(address) else "unverified"

    def _verified(self, address: str, data: bytes, build: str) -> tuple[bytes, Verified]:
        """The signed text of a checksum file, and how it is believed."""
        if not self.entry.signature or not self._keyring():
            return data, self._unsigned(address)
        if self.entry.signature == "inline":
            return self._check(address, data, None), "signature"
        detached = self._fetch(self.entry.filled(self.entry.signature, self.release, build))
        return self._check(address, data, detached), "signature"

    def _keyring(self) -> str:
        """The file with the publisher's keys, "" where it is not installed, which is reported."""
        keyring = self.entry.filled(self.entry.keyring, self.release)
        if os.path.isfile(keyring):
            return keyring
        package = f": apt install {self.entry.keyring_package}" if self.entry.keyring_package else ""
        self.report(Noted(text=f"the signature is not checked, because {keyring} is not installed{package}"))
        return ""

    def _check(self, address: str, data: bytes, detached: bytes | None) -> bytes:
        keyring = self.entry.filled(self.entry.keyring, self.release)
        keys = self.entry.keys(self.release)
        return signature.verify_signature(address, data, detached, keyring=keyring, fingerprints=keys)
