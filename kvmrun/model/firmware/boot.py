"""What a guest boots, and the turns in which its firmware looks for that."""

from collections.abc import Iterator
from typing import Literal

from kvmrun.model.guest.qemu_option import BootFile, Option
from kvmrun.model.scalars import FilePath, OneLine
from kvmrun.model.value import Value

_TURNS = Literal["drive", "cdrom", "network"]
_MENU_MS = "5000"
"""How long the firmware waits for the key that opens its menu."""


class Boot(Value):
    """What the guest boots: a kernel of ours, or what its firmware finds, looked for in this order."""

    kernel: FilePath | None = None
    initrd: FilePath | None = None
    cmdline: OneLine | None = None
    order: tuple[_TURNS, ...] = ("drive", "cdrom")
    menu: bool = False

    def problems(self) -> Iterator[tuple[str, str, str]]:
        for key in ("initrd", "cmdline"):
            if getattr(self, key) and not self.kernel:
                yield key, str(getattr(self, key)), "a kernel beside it"
        if self.menu and self.kernel:
            yield "menu", "true", "no kernel beside it, which is booted without the firmware"

    def cdrom_first(self) -> "Boot":
        """The same with a CD-ROM before all else, which a kernel of ours would not let boot."""
        return Boot(order=("cdrom", *(kind for kind in self.order if kind != "cdrom")), menu=self.menu)

    def options(self) -> Iterator[Option]:
        for flag, path in (("kernel", self.kernel), ("initrd", self.initrd)):
            if path:
                yield Option(flag=flag, text=BootFile(path=path))
        if self.cmdline:
            yield Option(flag="append", text=self.cmdline)
        if self.menu:
            yield Option(flag="boot", props={"menu": "on", "splash-time": _MENU_MS})


class BootTurns:
    """Hands out boot indices: a hundred for each kind, in the order the guest asks for."""

    def __init__(self, boot: Boot) -> None:
        self._next = {kind: 100 * turn for turn, kind in enumerate(boot.order)}
        self._direct = boot.kernel is not None

    def next(self, kind: str) -> int | None:
        if self._direct or kind not in self._next:
            return None
        self._next[kind] += 1
        return self._next[kind] - 1
