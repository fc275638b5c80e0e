"""The aio modes of QEMU beside "threads": whether the QEMU that is used and this kernel have them."""

import errno
import os
from collections.abc import Mapping
from functools import cache

from kvmrun.host.files import small_files
from kvmrun.host.process import process
from kvmrun.model.guest.guest import Guest
from kvmrun.model.value import EMPTY

_LIBRARIES = {"io_uring": b"liburing.so", "native": b"libaio.so"}
_HEAD = 8 << 20
"""Where the names of its libraries are in an ELF file, at most: behind its symbols."""
_SYSCTL = "/proc/sys/kernel/io_uring_disabled"
_IO_URING_SETUP = 425
"""The number of the system call, the same on every architecture."""


def aio_facts(guest: Guest, qemu: str) -> Mapping[str, str]:
    """Why `qemu` cannot use each way, "" where it can: it ends where it is told to use one that it cannot."""
    return _lacks(qemu) if any(drive.media == "disk" for drive in guest.drive) else EMPTY


@cache
def _lacks(qemu: str) -> Mapping[str, str]:
    path = qemu if "/" in qemu else process.find_program(qemu)
    lacks = {way: "" if has else f"{path} was built without it" for way, has in _built_in(path).items()}
    lacks["io_uring"] = lacks["io_uring"] or _kernel_lack()
    return lacks


def _built_in(path: str) -> dict[str, bool]:
    """Whether the program is linked with the library of each way: to ask QEMU itself would take as long as a start."""
    import mmap  # only for guests with disks

    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return {way: text.find(name, 0, _HEAD) >= 0 for way, name in _LIBRARIES.items()}
    except (OSError, ValueError):
        return dict.fromkeys(_LIBRARIES, False)


def _kernel_lack() -> str:
    """Why a process without privileges has no io_uring, "" where it has; QEMU never has any privileges."""
    setting = (small_files.read_text(_SYSCTL) or "").strip()  # from Linux 6.6 on
    if setting not in {"", "0"}:
        return f"kernel.io_uring_disabled is {setting}"
    status = small_files.read_text("/proc/self/status") or ""
    if setting == "0" and "\nSeccomp:\t0\n" in status:
        return ""
    found = _setup_error()  # an older kernel, or a container, whose filter seldom permits it
    return "" if found in {0, errno.EFAULT} else f"the kernel answers {os.strerror(found)}"


def _setup_error() -> int:
    """What the kernel says to io_uring_setup() without parameters: EFAULT where it permits the call."""
    import ctypes  # 4 ms, and seldom needed

    library = ctypes.CDLL(None, use_errno=True)
    return 0 if library.syscall(_IO_URING_SETUP, 1, None) >= 0 else ctypes.get_errno()
