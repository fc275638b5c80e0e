"""A host whose uplinks come and go, as a laptop's do: each event, and by which link the world answers after it."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from support.hosts import Host, host, served
from support.traffic import Traffic
from support.world import ip

WORLD = "203.0.113.9"
_NUMBERS = {"wan0": 1, "wan1": 2, "usb0": 3, "wg0": 4, "lan2": 5}
VPN, NAS = "198.18.0.9", "10.5.0.1"


class Uplinks:
    """The links of the moment. Behind every one of them are strangers, who send everything to this host."""

    def __init__(self, traffic: Traffic, stack: ExitStack, *, pages: bool = False) -> None:
        """With `pages` the hosts have a page as well."""
        self._served = pages
        self._traffic = traffic
        self._stack = stack
        self._plugged: dict[str, ExitStack] = {}

    def plug(self, name: str, *more: str) -> Host:
        """A new link with a host at its other end, which has the addresses `more`, too."""
        number = _NUMBERS[name]
        own = self._stack.enter_context(ExitStack())
        one = own.enter_context(host(name, address=f"10.{number}.0.1/24"))
        ip("address", "add", f"10.{number}.0.2/24", "dev", name)
        strange = f"198.51.100.{number}"
        for address in (WORLD, strange, *more):
            one("ip", "address", "add", f"{address}/32", "dev", "lo")
        one("ip", "route", "add", "default", "via", f"10.{number}.0.2")
        self._traffic.answers(one, f"10.{number}.0.1", WORLD, *more)
        self._traffic.is_strange(one, f"10.{number}.0.1", strange)
        if self._served:
            own.enter_context(served(one))
        self._plugged[name] = own
        return one

    def unplug(self, name: str) -> None:
        self._plugged.pop(name).close()

    def default(self, name: str) -> None:
        ip("route", "replace", "default", "via", f"10.{_NUMBERS[name]}.0.1")


def _start(uplinks: Uplinks) -> Host:
    first, _ = uplinks.plug("wan0"), uplinks.plug("wan1")
    uplinks.default("wan0")
    return first


def _replug(uplinks: Uplinks) -> None:
    uplinks.unplug("usb0")
    uplinks.plug("usb0")
    uplinks.default("usb0")


def _gone(uplinks: Uplinks) -> None:
    uplinks.unplug("wan1")
    uplinks.default("wan0")


def _usb(uplinks: Uplinks) -> None:
    uplinks.plug("usb0")
    uplinks.default("usb0")


def _vpn(uplinks: Uplinks) -> None:
    uplinks.plug("wg0", VPN)
    ip("route", "add", "198.18.0.0/16", "via", "10.4.0.1", "dev", "wg0")


def _halves(uplinks: Uplinks) -> None:
    for half in ("0.0.0.0/1", "128.0.0.0/1"):
        ip("route", "add", half, "via", "10.4.0.1", "dev", "wg0")


def _no_halves(uplinks: Uplinks) -> None:
    uplinks.unplug("wg0")


def _policy(uplinks: Uplinks) -> None:
    ip("route", "add", "default", "via", "10.1.0.1", "table", "77")
    ip("rule", "add", "to", "203.0.113.0/24", "lookup", "77", "priority", "77")


def _second_lan(uplinks: Uplinks) -> None:
    ip("rule", "del", "priority", "77")
    uplinks.plug("lan2")


def _nothing(uplinks: Uplinks) -> None:
    ip("route", "del", "default")


def _back(uplinks: Uplinks) -> None:
    uplinks.default("wan0")


START = _start
EVENTS: list[tuple[str, Callable[[Uplinks], None], str, dict[str, str]]] = [
    ("the default route moves to another link", lambda now: now.default("wan1"), "wan1", {}),
    ("the uplink goes away, another takes over", _gone, "wan0", {}),
    ("a link appears and becomes the uplink", _usb, "usb0", {}),
    ("it is unplugged and comes back as a new device", _replug, "usb0", {}),
    ("a VPN routes one prefix", _vpn, "usb0", {VPN: "wg0"}),
    ("a VPN takes the world in two halves", _halves, "wg0", {VPN: "wg0"}),
    ("the VPN ends", _no_halves, "usb0", {}),
    ("a rule routes some of the world by a table of its own", _policy, "wan0", {}),
    ("the rule goes, a second LAN appears", _second_lan, "usb0", {NAS: "lan2"}),
    ("there is no uplink", _nothing, "", {NAS: "lan2"}),
    ("there is one again", _back, "wan0", {NAS: "lan2"}),
]
"""What happens; which link the world answers by then, and which other addresses answer by which."""


def forwards(value: str) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text(value)
