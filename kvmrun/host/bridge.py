"""What a bridge is like, by netlink and sysfs: enough to know that nothing need be done."""

import os
import struct

from kvmrun.host import dump, ports
from kvmrun.host.link import NET, index, read, sysfs_is_ours
from kvmrun.light import socket
from kvmrun.light.abc import Iterator
from kvmrun.plan.facts import Bridge

_GETADDR, _IFADDR = 22, struct.Struct("=BBBBI")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_SCOPE_LINK = 253
_IFF_UP = 1


def read_bridge(name: str) -> Bridge | None:
    """The link `name` as netlink and sysfs show it. Raises LookupError where sysfs shows another namespace."""
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
        addresses=tuple(_addresses(name)),
        up=bool(int(read(f"{here}/flags"), 16) & _IFF_UP),
        mtu=int(read(f"{here}/mtu")),
        stp=is_bridge and read(f"{here}/bridge/stp_state") != "0",
        forward_delay=int(read(f"{here}/bridge/forward_delay")) if is_bridge else 0,
        ports=tuple(sorted(os.listdir(f"{here}/brif"))) if is_bridge else (),
        settings=ports.one(name).bridge(name) if is_bridge else {},
    )


def _addresses(name: str) -> Iterator[str]:
    """The addresses of the link but the IPv6 ones the kernel gives every link by itself."""
    wanted = index(name)
    try:
        told = dump.dump(dump.ROUTE, _GETADDR, _IFADDR.pack(0, 0, 0, 0, wanted), strict=True)
    except dump.Moved:
        raise LookupError(name) from None
    for payload in told:
        family, length, _, scope, link = _IFADDR.unpack_from(payload)
        if link == wanted and (family == socket.AF_INET or scope != _SCOPE_LINK):
            found = dump.attributes(payload, _IFADDR.size)
            yield f"{socket.inet_ntop(family, found.get(_IFA_LOCAL) or found[_IFA_ADDRESS])}/{length}"


def _kind(here: str) -> str:
    """What sort of link this is, "" for a physical one."""
    if os.path.exists(f"{here}/tun_flags"):
        return "tap"
    return "" if os.path.exists(f"{here}/device") else "virtual"
