"""The machine type of QEMU: a kind of machine, whose version may be given or follow from the first start."""

from typing import Self

from kvmrun.model.scalars import LETTERS, PathBase, consists_of

KINDS = ("q35", "pc", "microvm")
_FAMILIES = {"pc-q35-": "q35", "pc-i440fx-": "pc"}
_LONGEST = 40


class MachineType(str):
    """A kind of machine, which QEMU takes for its newest version, or one version: "q35", "pc-q35-7.2"."""

    __slots__ = ()
    WANTED = 'one of "q35", "pc", "microvm", or a version of one, such as "pc-q35-7.2"'

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and (raw in KINDS or _kind(raw)):
            return cls(raw)
        raise ValueError(cls.WANTED)

    @property
    def kind(self) -> str:
        return _kind(self) or str(self)

    def has_versions(self) -> bool:
        """Whether it means the newest of several versions: the machine microvm has none."""
        return self in _FAMILIES.values()


def _kind(text: str) -> str:
    """The kind of the machine that `text` is a version of, "" where it is none."""
    for prefix, kind in _FAMILIES.items():
        if text.startswith(prefix) and consists_of(text[len(prefix) :], LETTERS | frozenset("._-"), _LONGEST):
            return kind
    return ""


def pinned_machine(machine: MachineType, pin: str) -> MachineType:
    """The machine with the version that was written down in `pin`; as it is where that is no version of it."""
    try:
        found = MachineType.parse(pin)
    except ValueError:
        return machine
    return found if machine.has_versions() and found.kind == machine and found != machine else machine
