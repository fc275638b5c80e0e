"""The quick way to a bridge port: a handful of ioctls and sysfs, 0.3 ms, no library to load."""

import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import Collection

from kvmrun.errors import AS_ROOT, HostLacks, KvmrunError, NotPermitted, Refused
from kvmrun.model.guest.nic import PersistentTap

_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
_SIOCGIFFLAGS = 0x8913
_SIOCBRADDIF = 0x89A2
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
_IFF_TUN_EXCL = 0x8000
_IFF_UP, _IFF_PERSIST = 1, 0x0800
NET = "/sys/class/net"
_RELEASED = 0.5
"""How long the taps of a QEMU that has ended may be held, in seconds."""


def ifindex(name: str) -> int:
    """The kernel's number of the link `name` in this namespace, 0 when there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def open_tap(name: str, queues: int, *, kept: bool = False) -> list[int]:
    """One descriptor a queue of a new tap that lives as long as its last descriptor, or of one that is `kept`.

    Raises what the host lacks, and Refused where there is a link of that name already.
    """
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if queues > 1 else 0)
    fds: list[int] = []
    try:
        for queue in range(queues):
            fds.append(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
            new = 0 if kept or queue else _IFF_TUN_EXCL
            fcntl.ioctl(fds[-1], _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags | new))
            if new:
                # to a tap of several queues that has no owner anybody may attach another queue
                fcntl.ioctl(fds[-1], _TUNSETOWNER, os.geteuid())
    except OSError as error:
        for fd in fds:
            os.close(fd)
        raise _tap_refused(name, error) from None
    return fds


def make_persistent(name: str, queues: int, owner: int) -> None:
    """Make a tap that stays when nobody holds it, and that `owner` may open without privileges.

    Raises: KvmrunError, NotPermitted.
    """
    fds = open_tap(name, queues)
    try:
        fcntl.ioctl(fds[0], _TUNSETOWNER, owner)
        fcntl.ioctl(fds[0], _TUNSETPERSIST, 1)
        if sysfs_is_ours(name) and ((now := persistent_tap(name)) is None or now.owner != owner):
            fcntl.ioctl(fds[0], _TUNSETPERSIST, 0)
            raise KvmrunError(
                f"{name} could not be made persistent for uid {owner}", "try again", reason="read back, different"
            )
    finally:
        for fd in fds:
            os.close(fd)


def release_persistent(name: str, queues: int) -> None:
    """Let a kept tap go; it vanishes at once when nobody holds it."""
    fds = open_tap(name, queues, kept=True)
    try:
        fcntl.ioctl(fds[0], _TUNSETPERSIST, 0)
    finally:
        for fd in fds:
            os.close(fd)


def persistent_tap(name: str) -> PersistentTap | None:
    """What sysfs says of a tap that stays; None when there is none, or it goes with its holder."""
    if not ifindex(name) or not sysfs_is_ours(name):
        return None
    try:
        flags = int(read(f"{NET}/{name}/tun_flags"), 16)
        if not flags & _IFF_PERSIST:
            return None
        return PersistentTap(
            name=name,
            alias=read(f"{NET}/{name}/ifalias"),
            owner=int(read(f"{NET}/{name}/owner")),
            queues=2 if flags & _IFF_MULTI_QUEUE else 1,
            held=has_carrier(name),
        )
    except (OSError, ValueError):
        return None


def held_taps(pid: int) -> dict[str, str]:
    """The taps that a process has open, by descriptor."""
    found = {}
    try:
        for number in os.listdir(f"/proc/{pid}/fdinfo"):
            text = read(f"/proc/{pid}/fdinfo/{number}")
            if "\niff:" in text:
                found[number] = text.split("\niff:")[1].split()[0]
    except (OSError, IndexError):
        return found
    return found


def has_carrier(name: str) -> bool:
    """A tap has a carrier while a process holds it; one that is down does not tell."""
    try:
        return read(f"{NET}/{name}/carrier") == "1"
    except OSError:
        return False


def wait_until_released(names: Collection[str]) -> None:
    """Wait until nobody holds these taps, or for half a second: their QEMU has ended.

    The kernel closes what a process polled by io_uring, as QEMU 11 does its taps, a moment after the process has ended.
    """
    until = time.monotonic() + _RELEASED
    while any(_is_held(name) for name in names) and time.monotonic() < until:
        time.sleep(0.01)


def _is_held(name: str) -> bool:
    """Whether a process holds the tap, as far as sysfs tells; one that is not persistent vanishes with its holder."""
    if not ifindex(name) or not sysfs_is_ours(name):
        return False
    kept = persistent_tap(name)
    return kept is None or kept.held


def enslave(name: str, bridge: str) -> None:
    """Make the link `name` a port of `bridge`. Raises KvmrunError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as at:
        try:
            ioctl(at, _SIOCBRADDIF, bridge, struct.pack("i", ifindex(name)))
        except OSError as error:
            text = os.strerror(error.errno or 0)
            raise KvmrunError(f"{name} could not join {bridge}", "kvmrun net up repairs it", reason=text) from None


def is_up(name: str) -> bool:
    """Whether the link is there and up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as at:
        try:
            (flags,) = struct.unpack("H", ioctl(at, _SIOCGIFFLAGS, name, b"")[16:18])
        except OSError:
            return False
    return bool(flags & _IFF_UP)


def set_alias(name: str, alias: str) -> None:
    """Write the mark of a link."""
    if sysfs_is_ours(name):
        with open(f"{NET}/{name}/ifalias", "wb", buffering=0) as file:
            file.write(alias.encode())
    else:
        from kvmrun.host.links import pyroute2_links

        pyroute2_links.set_alias(name, alias)


def alias(name: str) -> str:
    """The mark of a link, "" for none or where sysfs cannot tell."""
    try:
        return read(f"{NET}/{name}/ifalias") if sysfs_is_ours(name) else ""
    except OSError:
        return ""


def isolate(name: str) -> None:
    """Keep the port `name` from talking to other isolated ports of its bridge."""
    if sysfs_is_ours(name):
        with open(f"{NET}/{name}/brport/isolated", "w", encoding="utf-8") as file:
            file.write("1")
    else:
        from kvmrun.host.links import pyroute2_links

        pyroute2_links.isolate(name)


def master(name: str) -> str | None:
    """The bridge `name` is a port of, "" for none; None where sysfs cannot tell."""
    if not sysfs_is_ours(name):
        return None
    try:
        return os.path.basename(os.readlink(f"{NET}/{name}/master"))
    except OSError:
        return ""


def ports(bridge: str) -> list[str]:
    """The ports of a bridge, none where there is no bridge of that name or sysfs cannot tell."""
    try:
        return sorted(os.listdir(f"{NET}/{bridge}/brif")) if sysfs_is_ours(bridge) else []
    except OSError:
        return []


def sysfs_is_ours(name: str) -> bool:
    """Whether /sys/class/net shows this network namespace: it shows that of whoever mounted it."""
    try:
        return int(read(f"{NET}/{name}/ifindex")) == ifindex(name)
    except (OSError, ValueError):
        return False


def read(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return file.read(256).decode(errors="replace").strip()


def ioctl(at: socket.socket, ask: int, name: str, value: bytes) -> bytes:
    return fcntl.ioctl(at.fileno(), ask, struct.pack("16s24s", name.encode(), value))


def _tap_refused(name: str, error: OSError) -> KvmrunError:
    if error.errno in {errno.ENOENT, errno.ENODEV}:
        return HostLacks("this host has no /dev/net/tun", "modprobe tun")
    if error.errno in {errno.EACCES, errno.EPERM}:
        fix = f"{AS_ROOT}; or let root give you the taps once: sudo kvmrun net up --owner $USER"
        return NotPermitted(f"you may not make the tap {name}", fix)
    if error.errno == errno.EBUSY:
        return Refused(
            f"the tap {name} is in use",
            f"ip link show {name} tells by whom",
            reason="it is there already, and not ours to use",
        )
    return KvmrunError(f"the tap {name} could not be made", reason=os.strerror(error.errno or 0))
