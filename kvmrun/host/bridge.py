"""What a bridge is like, by ioctl and sysfs: enough to know that nothing need be done."""

import os
import socket

from kvmrun.host.link import NET, control, index, read, sysfs_is_ours
from kvmrun.plan.facts import Bridge

_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B
_IFF_UP = 1


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
    """The first IPv4 address of the link; ioctl tells no more."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as at:
        try:
            address, mask = (control(at, ask, name, b"")[20:24] for ask in (_SIOCGIFADDR, _SIOCGIFNETMASK))
        except OSError:
            return ()
    return (f"{socket.inet_ntoa(address)}/{int.from_bytes(mask).bit_count()}",)


def _kind(here: str) -> str:
    """What sort of link this is, "" for a physical one."""
    if os.path.exists(f"{here}/tun_flags"):
        return "tap"
    return "" if os.path.exists(f"{here}/device") else "virtual"
