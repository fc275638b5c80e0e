"""The digest of a file, and the checksum files in which publishers list digests."""

from collections.abc import Iterator
from typing import Self

from kvmrun.model.scalars import LETTERS, PathBase, consists_of
from kvmrun.model.value import Value

_LENGTHS = {64: "sha256", 128: "sha512"}
_HEX = frozenset("0123456789abcdef")


class Digest(str):
    """A digest with its algorithm, such as "sha256:HEX". MD5 and SHA-1 are not accepted: both can be forged."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        text = raw.strip().lower() if isinstance(raw, str) else ""
        algorithm, _, value = text.replace("=", ":", 1).rpartition(":")
        if _HEX.issuperset(value) and _LENGTHS.get(len(value)) and algorithm in {"", _LENGTHS[len(value)]}:
            return cls(f"{_LENGTHS[len(value)]}:{value}")
        raise ValueError('a digest, "sha256:" and 64 or "sha512:" and 128 hexadecimal digits')

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @property
    def stem(self) -> str:
        """The name of a file that is kept under this digest, without a suffix."""
        return self.replace(":", "-")


class Listed(Value):
    """One line of a checksum file: `name` is "" where the file holds nothing but one digest."""

    name: str
    digest: Digest


def listed_digests(text: str) -> Iterator[Listed]:
    """The digests in a checksum file of any usual format; other lines, such as those of a signature, are left out.

    GNU coreutils writes "HEX  NAME" or "HEX *NAME", BSD and `sha256sum --tag` "SHA256 (NAME) = HEX", and some
    publishers the digest alone.
    """
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and words[-2] == "=" and words[0].upper() in {"SHA256", "SHA512"}:
            name = " ".join(words[1:-2])
            yield from _listed(words[-1], name[1:-1] if name.startswith("(") and name.endswith(")") else "")
        elif len(words) in {1, 2}:
            yield from _listed(words[0], words[1].removeprefix("*") if len(words) == 2 else "")


def _listed(digest: str, name: str) -> Iterator[Listed]:
    if consists_of(digest, LETTERS, 128):
        try:
            yield Listed(name=name.rpartition("/")[2], digest=Digest.parse(digest))
        except ValueError:
            return


def digest_of(text: str, name: str) -> Digest | None:
    """The digest that a checksum file gives for `name`; also that of a file which lists one digest and no name.

    The strongest where there are several. None where there is none, and where two of one algorithm differ.
    """
    found = list(listed_digests(text))
    fitting = {one.digest for one in found if one.name == name}
    fitting = fitting or ({one.digest for one in found} if all(not one.name for one in found) else set())
    for algorithm in ("sha512", "sha256"):
        if strong := [one for one in fitting if one.algorithm == algorithm]:
            return strong[0] if len(strong) == 1 else None
    return None
