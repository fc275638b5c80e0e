"""What osinfo-db says of one operating system, with what it takes over from those that it descends from."""

from typing import Literal

from kvmrun.model.value import Value


class Resources(Value):
    """What an operating system is to have: processors, bytes of memory and of storage; None where it is not told."""

    cpus: int | None = None
    memory: int | None = None
    storage: int | None = None


class OsFacts(Value):
    """One operating system. `devices` are the IDs of those that it has drivers for, none where nothing is told of them.

    `bios` and `uefi` say whether it starts by that firmware, on x86_64, and `keeps_local_time` whether it takes the
    clock of the machine for that.
    """

    id: str
    name: str
    title: str
    minimum: Resources = Resources()
    recommended: Resources = Resources()
    devices: frozenset[str] = frozenset()
    bios: bool = True
    uefi: bool = False
    keeps_local_time: bool = False

    def storage(self) -> int | None:
        """The bytes that a new image for it is to have."""
        return self.recommended.storage or self.minimum.storage


class OsMissing(Value):
    """Why nothing is known of an operating system, as the rest of a sentence, and what can be done."""

    why: Literal["no database", "unknown", "damaged"]
    reason: str
    fix: str


class HostSize(Value):
    """What sizes are limited by: the bytes of memory of this host, and its processors."""

    memory: int
    cpus: int
