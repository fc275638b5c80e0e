"""What a bridge is like, by ioctl and sysfs: enough to know that nothing need be done."""

import fcntl
import os
import struct
from array import array
from collections.abc import Iterator
from ipaddress import IPv6Address

from kvmrun.host.link import NET, control, index, read, sysfs_is_ours
from kvmrun.light import socket
from kvmrun.plan.facts import Bridge

_SIOCGIFCONF, _SIOCGIFNETMASK = 0x8912, 0x891B
_ENTRY = 40  # sizeof(struct ifreq): a name and a socket address
_ENTRIES = 1024
_IFF_UP = 1
_SCOPE_LINK = 0x20


def read_bridge(name: str) -> Bridge | None:
    """The link `name` as ioctl and sysfs show it. Raises LookupError where sysfs shows another namespace."""
    if not index(name):
        return None
    if not sysfs_is_ours(name):
        raise LookupError(name)
    here = f"{NET}/{name}"
    is_bridge = os.path.isdir(f"{here}/bridge")
    return Bridge(
        kind="bridge" if is_bridge else _kind(here),
        alias=read(f"{here}/ifalias"),
        mac=read(f"{here}/address"),
        addresses=_addresses(name),
        up=bool(int(read(f"{here}/flags"), 16) & _IFF_UP),
        mtu=int(read(f"{here}/mtu")),
        stp=is_bridge and read(f"{here}/bridge/stp_state") != "0",
        forward_delay=int(read(f"{here}/bridge/forward_delay")) if is_bridge else 0,
        ports=tuple(sorted(os.listdir(f"{here}/brif"))) if is_bridge else (),
    )


def _addresses(name: str) -> tuple[str, ...]:
    """The IPv4 addresses of the link; the kernel lists those of all links, and tells the mask of each when asked."""
    listed = array("B", bytes(_ENTRY * _ENTRIES))
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as at:
        where, size = listed.buffer_info()
        size = struct.unpack("iP", fcntl.ioctl(at.fileno(), _SIOCGIFCONF, struct.pack("iP", size, where)))[0]
        for entry in (listed[start : start + _ENTRY].tobytes() for start in range(0, size, _ENTRY)):
            label = entry[:16].rstrip(b"\0").decode(errors="replace")
            if label.partition(":")[0] == name:
                mask = control(at, _SIOCGIFNETMASK, label, entry[16:])[20:24]
                found.append(f"{socket.inet_ntoa(entry[20:24])}/{int.from_bytes(mask).bit_count()}")
    return (*found, *_addresses6(name))


def _addresses6(name: str) -> Iterator[str]:
    """The IPv6 addresses of the link but those the kernel gives every link by itself."""
    try:
        with open(f"/proc/{os.getpid()}/net/if_inet6", encoding="utf-8") as file:
            rows = [line.split() for line in file]
    except FileNotFoundError:
        return
    for address, _, length, scope, _, link in rows:
        if link == name and int(scope, 16) != _SCOPE_LINK:
            yield f"{IPv6Address(bytes.fromhex(address))}/{int(length, 16)}"


def _kind(here: str) -> str:
    """What sort of link this is, "" for a physical one."""
    if os.path.exists(f"{here}/tun_flags"):
        return "tap"
    return "" if os.path.exists(f"{here}/device") else "virtual"
