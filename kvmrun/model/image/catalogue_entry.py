"""One entry of the catalogue: a publisher's images, and how each release is found and verified."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal, Self
from urllib.parse import urlsplit

from kvmrun.model.scalars import DIGITS, LOWER, OneLine, PathBase, SafeWord, consists_of
from kvmrun.model.suggest import closest, distance
from kvmrun.model.value import EMPTY, Value


class Url(str):
    """An address of a file by HTTP or HTTPS; a pattern where it names {release}, {codename} or {build}."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and raw.isascii() and raw.isprintable() and len(raw) <= 1000 and " " not in raw:
            try:
                found = urlsplit(raw)
            except ValueError:
                found = urlsplit("")
            if found.scheme in {"http", "https"} and found.hostname and not (found.username or found.password):
                return cls(raw)
        raise ValueError('an address such as "https://example.org/image.qcow2", without a user or a password')


class Fingerprint(str):
    """The fingerprint of an OpenPGP key: 40 hexadecimal digits, or 64 of a key of version 6."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        text = raw.replace(" ", "").upper() if isinstance(raw, str) else ""
        if len(text) in {40, 64} and consists_of(text, frozenset("0123456789ABCDEF"), 64):
            return cls(text)
        raise ValueError("the fingerprint of a key: 40 hexadecimal digits")


class Release(Value):
    """What a release has of its own; `codename` is another name for it."""

    codename: OneLine | None = None
    osinfo: OneLine | None = None
    fingerprints: tuple[Fingerprint, ...] = ()


class CatalogueEntry(Value):
    """A publisher's images.

    Without `reader`, `url` is the image, and `sums` the checksum file that lists its digest. `index` is the page whose
    links are searched for `build`, a regular expression with one group: the newest is {build} in the other addresses.
    With `reader`, `url` is a document that tells addresses and digests, and `product` and `item` name what to take.
    `signature` is "inline" for a clear-signed checksum file, else the address of the signature.
    """

    title: OneLine
    url: Url
    reader: Literal["simplestreams", "coreos"] | None = None
    product: OneLine | None = None
    item: OneLine | None = None
    index: Url | None = None
    build: OneLine | None = None
    sums: Url | None = None
    signature: OneLine | None = None
    signed_url: Url | None = None
    keyring: OneLine | None = None
    keyring_package: OneLine | None = None
    fingerprints: tuple[Fingerprint, ...] = ()
    user: SafeWord | None = None
    firmware: Literal["bios", "uefi"] = "bios"
    seed: Literal["cloud-init", "ignition", "credentials", "none"] = "cloud-init"
    osinfo: OneLine | None = None
    releases: Mapping[str, Release] = EMPTY

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong as (key, what it must be)."""
        if self.reader == "simplestreams" and not (self.product and self.item):
            yield "product", "given with item, because the reader simplestreams needs both"
        if self.build and not self.index:
            yield "index", "given, because build is looked for in that page"
        if self.index and not self.build:
            yield "build", "given, because index is searched for it"
        if self.signature not in {None, "inline"} and not (self.signature or "").startswith(("http://", "https://")):
            yield "signature", '"inline" or an address'
        if (self.signature or self.signed_url) and not (self.keyring and (self.fingerprints or self._all_have_keys())):
            yield "keyring", "given with fingerprints, because a signature is worth nothing without a key"
        if not self.releases:
            yield "releases", "a table with at least one release"

    def _all_have_keys(self) -> bool:
        return bool(self.releases) and all(one.fingerprints for one in self.releases.values())

    def release_named(self, word: str) -> str:
        """The release that a number or a code name means, "" for none; the first of the table for no word at all."""
        if not word:
            return next(iter(self.releases))
        if word in self.releases:
            return word
        return next((name for name, one in self.releases.items() if one.codename == word), "")

    def nearest_release(self, word: str) -> str:
        """The release that was probably meant, "" for none."""
        names = [f"{one.codename}" for one in self.releases.values() if one.codename]
        if len(word) > 2 and (near := closest(word, [*self.releases, *names])):
            return near
        likely = min(names, key=partial(distance, word[:32]), default="")  # a code name is a word that few can spell
        return likely if len(word) > 3 and distance(word[:32], likely) <= 2 else ""

    def keys(self, release: str) -> tuple[Fingerprint, ...]:
        """The keys that may sign what belongs to the release."""
        return self.releases[release].fingerprints or self.fingerprints

    def filled(self, text: str | None, release: str, build: str = "") -> str:
        """A pattern of this entry with its names replaced. Not by str.format: braces count in regular expressions."""
        codename = self.releases[release].codename or release
        text = (text or "").replace("{release}", release).replace("{codename}", codename)
        return text.replace("{build}", build)


def is_entry_name(text: str) -> bool:
    """Whether `text` may be the name of an entry: a word in lower case."""
    return consists_of(text, LOWER | DIGITS | {"-"}, 32) and text[0] in LOWER


def is_image_name(text: str) -> bool:
    """Whether `text` is the name of an image, such as debian:13: a word, a colon, and no slash."""
    name, _, rest = text.partition(":")
    return is_entry_name(name) and consists_of(rest, LOWER | DIGITS | frozenset(".-_"), 64)
