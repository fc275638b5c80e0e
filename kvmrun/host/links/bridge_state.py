"""What a bridge is like, by netlink and sysfs: enough to know that nothing need be done."""

import os
import socket
import struct
from collections.abc import Iterator

from kvmrun.host.links import bridge_settings, raw_netlink
from kvmrun.host.links.tap_device import NET, ifindex, read, sysfs_is_ours
from kvmrun.plan.host_facts import Bridge

_GETADDR, _IFADDR = 22, struct.Struct("=BBBBI")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_PERMANENT = 0x80
_IFF_UP = 1


def read_bridge(name: str) -> Bridge | None:
    """The link `name` as netlink and sysfs show it. Raises LookupError where sysfs shows another namespace."""
    if not ifindex(name):
        return None
    if not sysfs_is_ours(name):
        raise LookupError(name)
    here, told = f"{NET}/{name}", list(_addresses(name))
    is_bridge = os.path.isdir(f"{here}/bridge")
    return Bridge(
        kind="bridge" if is_bridge else _kind(here),
        alias=read(f"{here}/ifalias"),
        mac=read(f"{here}/address"),
        **bridge_settings.addresses(told),
        up=bool(int(read(f"{here}/flags"), 16) & _IFF_UP),
        mtu=int(read(f"{here}/mtu")),
        stp=is_bridge and read(f"{here}/bridge/stp_state") != "0",
        forward_delay=int(read(f"{here}/bridge/forward_delay")) if is_bridge else 0,
        ports=tuple(sorted(os.listdir(f"{here}/brif"))) if is_bridge else (),
        **(bridge_settings.read(name) if is_bridge else {}),
        link_local=any(one.startswith("fe80:") for one, _ in told) or read(f"{here}/operstate") != "up",
    )


def _addresses(name: str) -> Iterator[tuple[str, bool]]:
    """The addresses of the link, each with whether it lasts for ever."""
    wanted = ifindex(name)
    try:
        told = raw_netlink.dump(raw_netlink.ROUTE, _GETADDR, _IFADDR.pack(0, 0, 0, 0, wanted), strict=True)
    except raw_netlink.DumpInterrupted:
        raise LookupError(name) from None
    for payload in told:
        family, length, flags, _, link = _IFADDR.unpack_from(payload)
        if link == wanted:
            found = raw_netlink.attributes(payload, _IFADDR.size)
            address = f"{socket.inet_ntop(family, found.get(_IFA_LOCAL) or found[_IFA_ADDRESS])}/{length}"
            yield address, bool(flags & _IFA_F_PERMANENT)


def _kind(here: str) -> str:
    """What sort of link this is, "" for a physical one."""
    if os.path.exists(f"{here}/tun_flags"):
        return "tap"
    return "" if os.path.exists(f"{here}/device") else "virtual"
