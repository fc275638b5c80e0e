"""A packet as a rule of the packet filter sees it: what each of nft's expressions reads from it.

A value is `None` when it cannot be known from here, and `ABSENT` when the packet has no such field: the kernel then
leaves the rule, whatever the rule compares the field with.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, Literal

from kvmrun.model.value import Value

Address = IPv4Address | IPv6Address
Protocol = Literal["tcp", "udp", "icmp", "ipv6-icmp"]
_CONNTRACK, _DNAT = -200, -100
"""The priorities at which the kernel finds a packet's connection, and gives it the address it is translated to."""
_BEFORE_ROUTING = ("prerouting", "ingress")
_UNUSUAL = frozenset({"vlan", "arp", "sctp", "dccp", "gre", "esp", "ah", "comp", "udplite", "igmp", "vxlan", "geneve"})


class _Absent:
    """The type of ABSENT."""


ABSENT: Final = _Absent()


class Packet(Value):
    """A packet on its way through the host, to it where `oif` is "", or from it where `iif` is "".

    `state` tells whether it opens a connection or answers. `port` is where to and `sport` where from, 0 for one that is
    not known; `forwarded` says that it was sent on from a port of the host, `translated` that its addresses are
    rewritten on the way to those given here (as those of an answer to a masqueraded guest); `returns` whether the host
    would send an answer back by the link it came in by.
    """

    iif: str
    oif: str
    source: Address
    target: Address
    state: Literal["new", "established"]
    protocol: Protocol = "tcp"
    port: int = 0
    sport: int = 0
    forwarded: bool = False
    translated: bool = False
    returns: bool | None = True

    def is_ipv6(self) -> bool:
        return isinstance(self.source, IPv6Address)


class At(Value):
    """Where in the kernel a packet is looked at."""

    family: str
    hook: str
    priority: int

    def is_before_conntrack(self) -> bool:
        return self.hook == "ingress" or (self.hook in {"prerouting", "output"} and self.priority <= _CONNTRACK)

    def is_before_dnat(self) -> bool:
        return self.hook in _BEFORE_ROUTING and (self.hook == "ingress" or self.priority < _DNAT)


class State:
    """What rules change on the way: the marks and what was added to sets; None for what can no longer be known."""

    def __init__(self, *, established: bool) -> None:
        self.mark: int | None = 0
        self.ct_mark: int | None = None if established else 0
        self.tracked: bool | None = True
        self.sets: dict[str, list[object] | None] = {}

    def copy(self) -> "State":
        made = State(established=False)
        made.__dict__.update(self.__dict__, sets={name: list(v) if v else v for name, v in self.sets.items()})
        return made

    def merge(self, other: "State") -> None:
        """Forget what is not the same in both: the packet went one way or the other."""
        for name in ("mark", "ct_mark", "tracked"):
            if getattr(self, name) != getattr(other, name):
                setattr(self, name, None)
        for name in {*self.sets, *other.sets}:
            if self.sets.get(name, []) != other.sets.get(name, []):
                self.sets[name] = None


def read(packet: Packet, at: At, state: State, kind: str, what: Any) -> object:
    """The value of one expression of nft's, as {kind: what} in its JSON."""
    readers: Mapping[str, Callable[[Any], object]] = {
        "meta": lambda one: _meta(packet, at, state, str(one.get("key"))),
        "payload": lambda one: _payload(packet, at, one),
        "ct": lambda one: _ct(packet, at, state, one),
        "fib": lambda one: _fib(packet, at, one),
        "ipsec": lambda _: ABSENT,
        "exthdr": lambda one: ABSENT if "field" in one else False,
        "ip option": lambda one: ABSENT if "field" in one else False,
        "dccp option": lambda _: ABSENT,
        "sctp chunk": lambda _: ABSENT,
        "tcp option": lambda _: None if packet.protocol == "tcp" else ABSENT,
        "socket": lambda _: ABSENT if packet.iif and packet.oif else None,
        "rt": lambda one: False if one.get("key") == "ipsec" else None,
    }
    return readers[kind](what) if kind in readers and isinstance(what, dict) else None


def _meta(packet: Packet, at: At, state: State, key: str) -> object:
    six = packet.is_ipv6()
    known: Mapping[str, object] = {
        "iifname": packet.iif,
        "oifname": packet.oif if at.hook in {"forward", "output", "postrouting", "egress"} else "",
        "nfproto": ("ipv6" if six else "ipv4") if at.family != "netdev" else None,
        "protocol": "ip6" if six else "ip",
        "l4proto": packet.protocol,
        "mark": state.mark,
        "iiftype": "ether" if packet.iif and not packet.iif.startswith(("tun", "wg", "ppp")) else None,
        "secpath": False,
        "pkttype": _kind(packet),
        "skuid": ABSENT if packet.iif else None,
        "skgid": ABSENT if packet.iif else None,
    }
    return known.get({"iif": "iifname", "oif": "oifname"}.get(key, key))  # "" is what the kernel has for no link


def _kind(packet: Packet) -> object:
    target = packet.target
    several = "broadcast" if target == IPv4Address(0xFFFFFFFF) else "multicast" if _is_multicast(target) else ""
    return "host" if not several else several if packet.iif else None


def _is_multicast(address: Address) -> bool:
    return int(address) >> 28 == 0xE if isinstance(address, IPv4Address) else int(address) >> 120 == 0xFF


def _payload(packet: Packet, at: At, what: Mapping[str, Any]) -> object:
    protocol, field = str(what.get("protocol")), str(what.get("field"))
    if protocol in {"ip", "ip6"}:
        return _network(packet, at, protocol, field)
    if protocol in {"icmp", "icmpv6"}:
        mine = {"icmp": "icmp", "ipv6-icmp": "icmpv6"}.get(packet.protocol)
        return ("echo-request" if field == "type" and packet.state == "new" else None) if mine == protocol else ABSENT
    if protocol in {"tcp", "udp", "th"}:
        return _transport(packet, at, protocol, field)
    return ABSENT if protocol in _UNUSUAL else None


def _network(packet: Packet, at: At, protocol: str, field: str) -> object:
    if protocol != ("ip6" if packet.is_ipv6() else "ip"):
        return ABSENT
    unknown = at.is_before_dnat() and (packet.forwarded or packet.translated)
    known: Mapping[str, object] = {
        "saddr": packet.source,
        "daddr": None if unknown else packet.target,
        "protocol": packet.protocol,
        "nexthdr": packet.protocol,
        "version": 6 if packet.is_ipv6() else 4,
        "hdrlength": 5,
    }
    return known.get(field)


def _transport(packet: Packet, at: At, protocol: str, field: str) -> object:
    if packet.protocol not in {"tcp", "udp"}:
        return None if protocol == "th" else ABSENT
    if protocol not in {packet.protocol, "th"}:
        return ABSENT
    if field == "dport":
        return None if at.is_before_dnat() and packet.forwarded else packet.port or None
    if field == "sport":
        return packet.sport or None
    if field == "flags" and protocol == "tcp":
        return frozenset({"syn"}) if packet.state == "new" else None
    return None


def _ct(packet: Packet, at: At, state: State, what: Mapping[str, Any]) -> object:
    key = str(what.get("key"))
    if at.family in {"bridge", "netdev"}:
        return None
    if at.is_before_conntrack():
        return "invalid" if key == "state" else ABSENT
    if state.tracked is not True:
        return None if state.tracked is None else "untracked" if key == "state" else ABSENT
    new = packet.state == "new"
    known: Mapping[str, object] = {
        "state": packet.state,
        "mark": state.ct_mark,
        "direction": "original" if new else "reply",
        "l3proto": "ipv6" if packet.is_ipv6() else "ipv4",
        "protocol": packet.protocol,
        "zone": 0,
        "status": _status(packet, at),
    }
    if what.get("dir") == "original" and key in {"ip saddr", "ip6 saddr", "saddr"} and new:
        return packet.source
    if what.get("dir") == "original" and key in {"ip daddr", "ip6 daddr", "daddr"} and new and not packet.forwarded:
        return packet.target
    return known.get(key)


def _status(packet: Packet, at: At) -> object:
    """The bits of a connection's first packet, or of its first answer."""
    found = {"dnat"} if packet.forwarded and not at.is_before_dnat() else set[str]()
    if packet.state == "established":
        found |= {"seen-reply", "confirmed", *(["snat"] if packet.translated else [])}
    return frozenset(found)


def _fib(packet: Packet, at: At, what: Mapping[str, Any]) -> object:
    flags = set(what.get("flags", ()))
    if what.get("result") == "type":
        if "daddr" not in flags:
            return "local" if not packet.iif else "unicast" if packet.source != IPv4Address(0) else None
        return _address_type(packet, at)
    if "saddr" in flags and packet.iif:
        # the kernel says so of a request for an address, too, which has none yet
        return packet.iif if packet.returns else None if packet.returns is None else False
    return None


def _address_type(packet: Packet, at: At) -> object:
    if at.is_before_dnat() and (packet.forwarded or packet.translated):
        return "local"
    if packet.target == IPv4Address(0xFFFFFFFF):
        return "broadcast"
    if _is_multicast(packet.target):
        return "multicast"
    return "unicast" if packet.oif else "local"
