"""How a process is held: its account, what it may do, and whether it runs on KVM, by the kernel's own word."""

import os
from contextlib import suppress

from kvmrun.model.guest.guest_status import Confinement

_FILTER = 2  # the mode of seccomp in which a process runs under a filter
_HELD = ("CapInh", "CapPrm", "CapEff", "CapAmb")


def read_confinement(pid: int) -> Confinement:
    """What /proc says of `pid`; None for whatever it does not say, or not to us."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            rows = {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
        masks = [int(rows[name], 16) for name in _HELD]
        return Confinement(
            uid=int(rows["Uid"].split()[1]),
            seccomp=int(rows["Seccomp"]) == _FILTER,
            capabilities=masks[0] | masks[1] | masks[2] | masks[3],
            no_new_privs=rows["NoNewPrivs"] == "1",
            kvm=_has_kvm(pid),
        )
    except (OSError, KeyError, ValueError, IndexError):
        return Confinement()


def _has_kvm(pid: int) -> bool | None:
    """A process that runs a guest on KVM has the guest's own descriptor open."""
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return None
    for number in numbers:
        with suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(f"/proc/{pid}/fd/{number}") == "anon_inode:kvm-vm":
                return True
    return False
