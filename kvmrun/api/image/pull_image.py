"""Getting an image: resolve, download, verify, convert, keep under its digest, pin."""

import os
from collections.abc import Mapping
from functools import partial

from kvmrun.api.image.image_lab import ImageLab, deadline_of, image_path, shown
from kvmrun.api.image.resolve_image import (
    NO_DIGEST,
    CatalogueResolver,
    Resolved,
    find_release,
    is_source,
    resolve_url,
    url_name,
)
from kvmrun.api.lab import LabHandle
from kvmrun.api.report import Done, Report, discard, waiting
from kvmrun.config import standard_paths
from kvmrun.errors import Refused, UsageError
from kvmrun.host.files import atomic_write
from kvmrun.host.images import archive_image, convert
from kvmrun.host.images.download import Source, discard_part, download
from kvmrun.host.images.image_store import StoredImage, changed_reason, hash_file
from kvmrun.model.deadline import Deadline
from kvmrun.model.image.catalogue_entry import is_image_name
from kvmrun.model.image.image_digest import Digest
from kvmrun.model.image.pinned_image import PinnedImage
from kvmrun.model.printable import printable, quoted
from kvmrun.model.scalars import OneLine, SafeWord
from kvmrun.model.value import EMPTY, Value

APT = "apt:"
_SCHEMES = ("http://", "https://")
_VERIFIED = {
    "signature": "verified by the publisher's signature",
    "checksum": "verified by the publisher's checksum",
    "digest": "verified by the digest that was given",
    "archive": "built from the signed archive",
    "local": "imported",
    "unverified": "NOT VERIFIED",
}


class PullOptions(Value):
    """How an image is got. `update` resolves a pinned one anew, `unverified` takes what cannot be verified, `alias` is
    the name to pin it by. `timeout` is in seconds, for all together.
    """

    update: bool = False
    unverified: bool = False
    alias: str | None = None
    timeout: float | None = None


AS_PINNED = PullOptions()
"""Those of who says nothing: a pinned image as it is pinned, any other as its publisher has it now."""


class PulledImage(Value):
    """An image that is in the store: its name in images.toml, its file there, and what it is."""

    name: str
    path: str
    pin: PinnedImage


def pull_image(lab: LabHandle, word: str, options: PullOptions = AS_PINNED, report: Report = discard) -> PulledImage:
    """Get the image that a word means and pin it: debian:13, apt:bookworm, or an address with #sha256=DIGEST.

    Raises: UsageError for a word that means none, Refused for what cannot be verified or has another digest than is
    pinned, Unresponsive after the timeout, Busy where another command is not done with it in time.
    """
    images = ImageLab(lab)
    name = image_name(images, word, options.alias)
    pull = _Pull(images, name, report, deadline_of(options.timeout))
    pinned = images.file.pin.get(name)
    if pinned is not None and not options.update:
        resolved = Resolved(name=name, pin=pinned, source=Source(url=f"{pinned.source}", digest=pinned.digest))
    else:
        resolved = pull.resolve(word, unverified=options.unverified)
    return pull.done(pull.store(resolved))


def import_image(lab: LabHandle, file: str, options: PullOptions = AS_PINNED, report: Report = discard) -> PulledImage:
    """Copy a file of this host to the store, converted to qcow2 where it is another format, and pin it.

    Raises: Refused for what is no image of a disk, UsageError for a name that is none.
    """
    images = ImageLab(lab)
    name = _valid_name(options.alias or f"local:{url_name(file)}")
    pull = _Pull(images, name, report, deadline_of(options.timeout))
    return pull.done(pull.copy(standard_paths.make_absolute(file)))


def pinned_names(lab: LabHandle) -> list[str]:
    """The images that the lab pins. Raises UsageError where it pins none."""
    if found := sorted(ImageLab(lab).file.pin):
        return found
    raise UsageError("this lab pins no image", "kvmrun image pull debian:13, or kvmrun image list --all")


def image_name(images: ImageLab, word: str, alias: str | None) -> str:
    """The name by which an image is pinned, its release written out. Raises UsageError."""
    if alias:
        return _valid_name(alias)
    if word.startswith(_SCHEMES):
        return f"url:{url_name(word)}"
    if word in images.file.pin or word.startswith(APT):
        return _valid_name(word)
    if not is_source(word) and word not in images.catalogue():
        fix = f"kvmrun image import {quoted(word)}" if os.path.exists(word) else "such as debian:13"
        raise UsageError(f"{printable(word, 100)} is no name of an image", fix)
    return ":".join(find_release(word, images.catalogue()))


def _valid_name(name: str) -> str:
    if is_image_name(name):
        return name
    raise UsageError(f"{printable(name, 80)} is no name of an image", "a word, a colon and a version: mine:1")


class _Pull:
    """One image on its way into the store."""

    def __init__(self, images: ImageLab, name: str, report: Report, deadline: Deadline) -> None:
        self.images = images
        self.name = name
        self.report = report
        self.deadline = deadline

    def done(self, pin: PinnedImage) -> PulledImage:
        self.report(Done(text=f"{self.name}: {pin.source}, {_VERIFIED[pin.verified]}"))
        return PulledImage(name=self.name, path=image_path(self.images.paths, pin), pin=pin)

    def resolve(self, word: str, *, unverified: bool) -> Resolved:
        """Where the image comes from, and its digest as far as it is known."""
        if word.startswith(APT):
            pin = PinnedImage(
                source=OneLine(word), digest=NO_DIGEST, verified="archive", user=SafeWord("debian"), kernel=True
            )
            return Resolved(name=self.name, pin=pin, source=Source(url=word))
        if word.startswith(_SCHEMES):
            return resolve_url(word, self.name, unverified=unverified)
        entries = self.images.catalogue()
        entry, release = find_release(word, entries)
        resolver = CatalogueResolver(entries[entry], release, self.report, self.deadline)
        return resolver.resolve(self.name, unverified=unverified)

    def store(self, resolved: Resolved) -> PinnedImage:
        """The pin of the image, which is in the store after that."""
        pin, source = resolved.pin, resolved.source
        known = pin.digest != NO_DIGEST
        with self.images.store.held(pin.digest if known else source.url, self.deadline) as part:
            if known and self._is_whole(pin):
                return self._claim(pin)
            if source.url.startswith(APT):
                return self._build(pin, part)
            if pin.url() is None:
                fix = f"kvmrun image import FILE --as {self.name}"
                raise Refused(f"{self.name} is not in the store", fix, reason=f"it was made from {pin.source}")
            with shown(self.report, os.path.basename(source.url)) as moved:
                pin = pin.replace(digest=download(source, part, moved, self.deadline))
            if self.images.store.find(pin.digest) is None:
                try:
                    self._add(part, part, pin)
                except Refused:  # what cannot be used is not kept, what could not be written is
                    discard_part(part)
                    raise
            discard_part(part)
            return self._claim(pin)

    def copy(self, path: str) -> PinnedImage:
        """The same for a file of this host."""
        convert.content_of(path)
        digest = self._hash(path, "sha256")
        pin = PinnedImage(source=OneLine.parse(path), digest=digest, verified="local")
        with self.images.store.held(digest, self.deadline) as part:
            if self.images.store.find(digest) is None:
                self._add(path, part, pin)
            return self._claim(pin)

    def _build(self, pin: PinnedImage, part: str) -> PinnedImage:
        if pin.digest != NO_DIGEST:
            fix = f"kvmrun image pull {self.name} --update builds another, and pins that"
            raise Refused(f"{self.name} is not in the store", fix, reason="each build has a digest of its own")
        suite = pin.source.removeprefix(APT)
        with archive_image.built(suite, f"{part}.d", self.deadline, partial(waiting, self.report)) as files:
            pin = pin.replace(digest=self._hash(files.image, "sha256"))
            self._add(files.image, part, pin, {".vmlinuz": files.kernel, ".initrd": files.initrd})
        return self._claim(pin)

    def _is_whole(self, pin: PinnedImage) -> bool:
        """Whether the image is in the store with its content; one that was changed is removed, to be had again."""
        store, path = self.images.store, image_path(self.images.paths, pin)
        found = store.find(pin.digest)
        if found is None or not changed_reason(path):
            return found is not None
        if self._hash(path, found.content.algorithm) == found.content:
            store.note_verified(found)
            return True
        if pin.url() is None:
            fix = "restore it from a backup, or remove its guests and the image"
            raise Refused(f"{path} was changed after it was verified", fix, reason=f"it was made from {pin.source}")
        store.remove(pin.digest)
        return False

    def _claim(self, pin: PinnedImage) -> PinnedImage:
        """Note in the store that this lab uses the image, and pin it, while nobody can remove it."""
        found = self.images.store.find(pin.digest)
        if found is not None and self.images.paths.lab not in found.labs:
            self.images.store.note(found.replace(labs=(*found.labs, self.images.paths.lab)))
        self.images.pin(self.name, pin, self.deadline)
        return pin

    def _hash(self, path: str, algorithm: str) -> Digest:
        with shown(self.report, f"reading {os.path.basename(path)}") as moved:
            return hash_file(path, algorithm, moved, self.deadline)

    def _add(self, source: str, part: str, pin: PinnedImage, extra: Mapping[str, str] = EMPTY) -> None:
        """Convert the file where that is needed, and give it its place in the store."""
        target = f"{part}.qcow2"
        atomic_write.remove(target)
        atomic_write.remove(f"{target}.unpacked")
        try:
            with shown(self.report, "converting") as moved:
                is_converted = convert.make_qcow2(source, target, moved, self.deadline)
            if is_converted:
                content = self._hash(target, "sha256")
            else:
                content = pin.digest
                convert.place(source, target, self.deadline, move=source == part)
            note = StoredImage(
                digest=pin.digest, content=content, size=0, modified=0, source=pin.source, verified=pin.verified
            )
            self.images.store.add(target, note, extra)
        finally:
            atomic_write.remove(target)
