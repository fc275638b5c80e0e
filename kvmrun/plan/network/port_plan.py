"""A bridge port as it is against what we set: the one comparison that list, status, doctor and repair share."""

from collections.abc import Iterator, Mapping

from kvmrun.model.guest.nic import Port
from kvmrun.model.value import Value
from kvmrun.plan.host_facts import NOBODY, Link
from kvmrun.plan.steps.guest_steps import PlugTap

STATE, ISOLATED, BACKUP = 1, 33, 34
FORWARDING = 3
_RUNNING = (0, 6)
"""Operational states in which a port forwards: unknown, which is what a tap says, and up."""
QUEUE_LENGTH = 1000
SETTINGS: Mapping[int, tuple[str, int, str]] = {
    2: ("priority", 32, "=H"),
    4: ("hairpin mode", 0, "=B"),
    5: ("BPDU guard", 0, "=B"),
    6: ("root block", 0, "=B"),
    7: ("fast leave", 0, "=B"),
    8: ("learning", 1, "=B"),
    9: ("flooding of unicast", 1, "=B"),
    10: ("proxy ARP", 0, "=B"),
    12: ("proxy ARP for Wi-Fi", 0, "=B"),
    25: ("multicast router", 1, "=B"),
    27: ("flooding of multicast", 1, "=B"),
    28: ("multicast to unicast", 0, "=B"),
    29: ("VLAN tunnel", 0, "=B"),
    30: ("flooding of broadcast", 1, "=B"),
    31: ("mask of forwarded groups", 0, "=H"),
    32: ("neighbour suppression", 0, "=B"),
    BACKUP: ("backup port", 0, "=I"),
    39: ("lock", 0, "=B"),
    40: ("MAC authentication bypass", 0, "=B"),
    42: ("limit of multicast groups", 0, "=I"),
    43: ("neighbour suppression by VLAN", 0, "=B"),
}
"""Attributes IFLA_BRPORT_* of a port but isolation: name, the kernel's default, which is what we want, and form."""
CONF: Mapping[str, str] = {"ipv6/disable_ipv6": "1", "ipv4/rp_filter": "1", "ipv4/arp_ignore": "8"}
"""Settings that disable the tap's own stack, which receives frames for link-local groups from the bridge."""


class Difference(Value):
    """One attribute that is not what we set: which, and what is seen, to be read after the tap's name."""

    what: str
    text: str


def wanted_port(guest: str, port: Port, owner: int | None = None) -> PlugTap:
    """The port that the NIC's tap is to be; `owner` is the uid a persistent tap was made for."""
    return PlugTap(
        tap=port.tap,
        mac=port.tap_mac(),
        bridge=port.bridge,
        alias=port.alias(guest),
        mtu=port.mtu,
        isolated=port.isolated,
        owner=owner,
    )


def port_differences(want: PlugTap, link: Link | None, *, held: bool, forwards: bool = True) -> list[Difference]:
    """What of a port is not as we set it. `held`: a guest has it; `forwards`: its bridge is up, without STP."""
    if link is None:
        return [Difference(what="existence", text="is gone")]
    return [*_link(want, link), *_tap(want, link), *_port(want, link, held=held, forwards=forwards)]


def _link(want: PlugTap, link: Link) -> Iterator[Difference]:
    if link.master != want.bridge:
        yield Difference(what="bridge", text=f"is not on {want.bridge}")
    if link.name != want.tap:
        yield Difference(what="name", text=f"is called {link.name} now")
    if not link.up:
        yield Difference(what="up", text="is down")
    if link.mac != want.mac:
        yield Difference(what="MAC", text=f"has the MAC {link.mac}")
    if link.alias != want.alias:
        yield Difference(what="mark", text="has lost its mark")
    if link.mtu != want.mtu:
        yield Difference(what="MTU", text=f"has the MTU {link.mtu}")
    if link.queue_length != QUEUE_LENGTH:
        yield Difference(what="queue length", text=f"has a transmit queue of {link.queue_length}")
    for name, value in CONF.items():
        if link.conf.get(name, value) != value:
            yield Difference(what=name, text=f"has {name.rpartition('/')[2]} = {link.conf[name]}")
    for address in link.addresses:
        yield Difference(what="address", text=f"has the address {address}")
    for mac in link.strays:
        yield Difference(what="forwarding entry", text=f"takes the frames for {mac}")


def _tap(want: PlugTap, link: Link) -> Iterator[Difference]:
    """What the holder of a tap's descriptor can change without privileges, and keep."""
    if link.persistent != (want.owner is not None):
        text = "outlives its guest" if link.persistent else "does not outlive its guest"
        yield Difference(what="persistence", text=text)
    if link.owner != (want.owner or 0):  # to one of several queues without an owner anybody may attach another
        yield Difference(what="owner", text="has no owner" if link.owner == NOBODY else f"is uid {link.owner}'s")
    # A group can be changed and not be removed. It lets nobody in whom the owner keeps out.
    if want.owner is None and link.group not in {NOBODY, 0}:
        yield Difference(what="group", text=f"is of group {link.group}")


def _port(want: PlugTap, link: Link, *, held: bool, forwards: bool) -> Iterator[Difference]:
    if held and link.up and not link.carrier:
        yield Difference(what="carrier", text="has no carrier")
    if link.master != want.bridge:
        return
    if bool(link.settings.get(ISOLATED)) != want.isolated:
        yield Difference(what="isolation", text=f"is {'not ' if want.isolated else ''}isolated")
    for number, (name, value, _) in SETTINGS.items():
        if (found := link.settings.get(number, value)) != value:
            yield Difference(what=name, text=f"has {name} {_shown(found, value)}")
    state = link.settings.get(STATE, FORWARDING)
    if forwards and link.up and link.operational in _RUNNING and state != FORWARDING:
        yield Difference(what="state", text="does not forward")


def _shown(found: int, value: int) -> str:
    return ("off", "on")[found] if {found, value} == {0, 1} else f"{found}"


def difference_text(tap: str, found: list[Difference]) -> str:
    """The differences of one tap in words, "" for none."""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"its tap {tap} {', '.join(one.text for one in found[:3])}{more}" if found else ""
