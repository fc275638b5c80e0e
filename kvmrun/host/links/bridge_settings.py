"""The settings of a bridge: read, and those that are not as we want them written and read back."""

import struct
from collections.abc import Iterable
from typing import Any

from kvmrun.errors import KvmrunError
from kvmrun.host import sysctl
from kvmrun.host.links import link_list, raw_netlink
from kvmrun.plan.network.bridge_plan import CONF, SETTINGS

_NEWLINK, _IFLA_LINKINFO = 16, 18
_IFF_NOARP, _IFF_MULTICAST = 0x80, 0x1000
_FORMS = {4: "=I", 9: "=H"}


def read(name: str) -> dict[str, Any]:
    """Which device a bridge is, what it is set to, and what it would be set to if nobody had touched it."""
    links = link_list.one(name)
    usual = {one: value for one in CONF if (value := sysctl.read(one.replace("/", "/conf/default/"))) is not None}
    own = {"settings": links.bridge(name), **links.behaviour(name)}
    return {"device": link_list.device(name), "usual": usual, **own}


def addresses(told: Iterable[tuple[str, bool]]) -> dict[str, Any]:
    """The addresses of a bridge but the IPv6 ones the kernel gives every link by itself."""
    found = [(one, lasting) for one, lasting in told if not one.startswith("fe80:")]
    return {
        "addresses": tuple(one for one, _ in found),
        "limited": tuple(one for one, lasting in found if not lasting),
    }


def write_bridge_settings(name: str, number: int) -> None:
    """Write the settings of a bridge that are not as we want them, and have it take part in ARP and multicast.

    Raises: KvmrunError where another value is read back.
    """
    flags = struct.pack("=BxHiII", 0, 0, number, _IFF_MULTICAST, _IFF_NOARP | _IFF_MULTICAST)
    raw_netlink.send(raw_netlink.ROUTE, [(_NEWLINK, raw_netlink.ACK, flags)])
    found = link_list.one(name).bridge(name)
    wrong = {one: value for one, (_, value) in SETTINGS.items() if found.get(one, value) != value}
    if wrong:
        data = b"".join(
            raw_netlink.attribute(one, struct.pack(_FORMS.get(one, "=B"), value)) for one, value in wrong.items()
        )
        info = raw_netlink.attribute(
            _IFLA_LINKINFO, raw_netlink.attribute(1, b"bridge\0") + raw_netlink.attribute(2, data)
        )
        raw_netlink.send(
            raw_netlink.ROUTE, [(_NEWLINK, raw_netlink.ACK, struct.pack("=BxHiII", 0, 0, number, 0, 0) + info)]
        )
        now = link_list.one(name).bridge(name)
        for one, value in wrong.items():
            if now.get(one) != value:
                what, fix = (
                    f"the {SETTINGS[one][0]} of {name} could not be set",
                    "report it with the version of your kernel",
                )
                raise KvmrunError(what, fix, reason="it was written, and another value is read back")
