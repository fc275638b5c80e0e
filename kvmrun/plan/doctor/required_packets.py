"""The packets that must pass the host's packet filter for guests: out, back, to each other, to the host."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.value import Value
from kvmrun.plan.doctor.doctor_facts_model import HostNetworkFacts
from kvmrun.plan.network import uplink_routing
from kvmrun.plan.packets import nft_simulator

ANYWHERE, ANYWHERE6 = "192.0.2.1", "2001:db8::1"
"""Addresses of nobody's (RFC 5737, 3849), to ask which way the rest of the world is."""
OUT, BACK, NEAR = "what guests send out", "what comes back to them", "what they send each other"
LED = "what ports of this host lead to them"
ADDRESS, NAMES = "guests' requests for an address", "guests' questions for names"
ANSWERS = "what this host answers them"
_TRIED = (80, 443)
"""The ports of the world that are tried: filters let through by port."""
_EPHEMERAL = 40000
ROUTED, LOCAL, SENT = ("prerouting", "forward", "postrouting"), ("prerouting", "input"), ("output", "postrouting")


class Need(Value):
    """One kind of packet that must pass for one network, and the hooks at which it is judged.

    `detail` tells it from others of the kind `what`, where only some of them are dropped.
    """

    hooks: tuple[str, ...]
    what: str
    detail: str
    bridge: str
    packet: nft_simulator.Packet


def needs(lab: Lab, network: Network, now: HostNetworkFacts) -> Iterator[Need]:
    """The packets that must pass for `network`."""
    yield from _routed(lab, network, now)
    guest, inside = network.subnet[1], str(network.bridge)
    host, nobody, everybody = network.host_address().ip, IPv4Address(0), IPv4Address("255.255.255.255")
    asked = nft_simulator.Packet(
        iif=inside, oif="", source=guest, target=host, state="new", protocol="udp", sport=_EPHEMERAL
    )
    told = asked.replace(iif="", oif=inside, source=host, target=guest, state="established", port=_EPHEMERAL)

    def need(hooks: tuple[str, ...], what: str, packet: nft_simulator.Packet) -> Need:
        return Need(hooks=hooks, what=what, detail=_detail(packet), bridge=inside, packet=packet)

    if network.dhcp and network.needs_dnsmasq():
        yield need(LOCAL, ADDRESS, asked.replace(source=nobody, target=everybody, port=67, sport=68))
        yield need(SENT, ANSWERS, told.replace(state="new", port=68, sport=67))
    if network.dns and network.needs_dnsmasq():
        yield need(LOCAL, NAMES, asked.replace(port=53))
        yield need(SENT, ANSWERS, told.replace(sport=53))
    if network.ipv6:
        yield from _six(network, network.ipv6, now)


def _six(network: Network, prefix: IPv6Network, now: HostNetworkFacts) -> Iterator[Need]:
    """The same by IPv6."""
    inside, host, guest, other = str(network.bridge), prefix[1], prefix[2], prefix[3]
    asked = nft_simulator.Packet(iif=inside, oif="", source=guest, target=host, state="new", protocol="udp", port=53)

    def need(hooks: tuple[str, ...], what: str, packet: nft_simulator.Packet) -> Need:
        return Need(hooks=hooks, what=what, detail=f"IPv6 {_detail(packet)}", bridge=inside, packet=packet)

    if network.dns and network.needs_dnsmasq():
        yield need(LOCAL, NAMES, asked)
    routed = asked.replace(oif=inside, protocol="tcp", port=80)
    if now.bridge_netfilter6 and not network.isolate:
        yield need(ROUTED, NEAR, routed.replace(target=other))
    if network.has_ipv6_egress() and now.way_out6:
        outside, world = now.way_out6.split()[0], IPv6Address(ANYWHERE6)
        yield from (need(ROUTED, OUT, routed.replace(oif=outside, target=world, port=port)) for port in _TRIED)
        back = routed.replace(iif=outside, source=world, target=guest, state="established", port=_EPHEMERAL)
        yield need(ROUTED, BACK, back.replace(translated=network.ipv6_egress == "nat"))


def _routed(lab: Lab, network: Network, now: HostNetworkFacts) -> Iterator[Need]:
    """What the host sends on for the network."""
    guest, world, inside = network.subnet[1], IPv4Address(ANYWHERE), str(network.bridge)
    sent = nft_simulator.Packet(iif=inside, oif="", source=guest, target=world, state="new", sport=_EPHEMERAL)

    def need(what: str, packet: nft_simulator.Packet) -> Need:
        return Need(hooks=ROUTED, what=what, detail=_detail(packet), bridge=inside, packet=packet)

    for outside in outsides(lab, network, now) if network.nat is not False else ():
        yield from (need(OUT, sent.replace(oif=outside, port=port)) for port in _TRIED)
        back = sent.replace(iif=outside, oif=inside, source=world, target=guest, state="established", translated=True)
        yield need(BACK, back.replace(port=_EPHEMERAL, sport=_TRIED[0], returns=_returns(outside, now)))
    addresses = {name: port.address for name, ports in lab.ports().items() for port in ports if port.address}
    for one in network.forward:
        outside = next(iter(outsides(lab, network, now)))
        target = IPv4Address(addresses[one.guest]) if one.guest in addresses else guest
        led = sent.replace(iif=outside, oif=inside, source=world, target=target, port=one.to, forwarded=True)
        yield need(LED, led.replace(protocol=one.protocol, returns=_returns(outside, now)))
    if now.bridge_netfilter and not network.isolate:
        yield need(NEAR, sent.replace(oif=inside, target=network.subnet[2], port=80))


def _returns(outside: str, now: HostNetworkFacts) -> bool | None:
    """Whether the host would send an answer to the world by the link: only of its default route's it is known."""
    return True if now.way_out.startswith(f"{outside} ") or now.way_out == outside else None


def _detail(packet: nft_simulator.Packet) -> str:
    return f"{packet.protocol} port {packet.port}"


def outsides(lab: Lab, network: Network, now: HostNetworkFacts) -> Iterable[str]:
    """The links guests of `network` leave by: the host's own way out or those named, and what somebody is told to."""
    host = now.way_out.split()[0] if now.way_out else "no uplink"
    named = [str(lab.uplinks[name].interface) for name in network.nat] if isinstance(network.nat, tuple) else [host]
    return dict.fromkeys([*named, *(str(one.interface) for one in uplink_routing.used_uplinks(lab, network))])
