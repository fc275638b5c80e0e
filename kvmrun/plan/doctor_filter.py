"""Whose packet filter is in the guests' way: what passes is found out by letting packets walk through the rules."""

import shlex
from typing import Any

from kvmrun.light.abc import Iterable, Iterator, Mapping
from kvmrun.light.ipaddress import IPv4Address
from kvmrun.model.finding import Finding, ok, problem, warning
from kvmrun.model.frozen import Frozen
from kvmrun.model.lab import Lab
from kvmrun.model.network import Network
from kvmrun.plan import network as plan
from kvmrun.plan import passage, ways
from kvmrun.plan.examined import Wires

ANYWHERE = "192.0.2.1"
"""An address of nobody's (RFC 5737), to ask which way the rest of the world is."""
ELSEWHERE = "198.51.100.1"
"""Another, for strangers to send to."""
_OUT, _BACK, _NEAR = "what guests send out", "what comes back to them", "what they send each other"
_LED = "what ports of this host lead to them"
_ADDRESS, _NAMES = "guests' requests for an address", "guests' questions for names"
_FIREWALLD = "firewall-cmd --permanent --zone=trusted --add-interface={bridge}"
_LASTING = {
    ("firewalld", "forward"): _FIREWALLD,
    ("firewalld", "input"): _FIREWALLD,
    ("ufw", "forward"): "ufw route allow in on {bridge}; ufw route allow out on {bridge}",
    ("ufw", "input"): "ufw allow in on {bridge}",
    ("shorewall", "forward"): "kvmrun export shorewall",
    ("shorewall", "input"): "kvmrun export shorewall",
}


class _Need(Frozen):
    """One kind of packet that must pass for one network, and where it is judged."""

    hook: str
    what: str
    bridge: str
    packet: passage.Packet


class _Drop(Frozen):
    """One chain that drops one kind of packet of one network."""

    outcome: passage.Outcome
    need: _Need


def filters(lab: Lab, now: Wires) -> Iterator[Finding]:
    if now.ruleset is None:
        yield warning("filter", "the packet filter was not looked at: only root may", "sudo kvmrun doctor")
        return
    found = list(in_the_way(lab, now))
    yield from found
    if not found:
        yield ok("filter", "nobody's packet filter is in the guests' way")


def in_the_way(lab: Lab, now: Wires) -> Iterator[Finding]:
    """What others' packet filters do to the guests of the lab's networks that they should not, as far as we may see."""
    if now.ruleset is None:
        return
    yield from _drops(lab, now)
    yield from _legacy(lab, now)
    yield from _masquerades(lab, now)
    yield from _strangers(lab, now)


def _drops(lab: Lab, now: Wires) -> Iterator[Finding]:
    """Each chain that drops is named once, with all it drops."""
    found = [
        _Drop(outcome=outcome, need=need)
        for network in lab.networks.values()
        for need in _needs(lab, network, now)
        for outcome in passage.outcomes(now.ruleset or (), need.hook, need.packet)
        if outcome.verdict in {"drop", "reject"}
    ]
    for base in dict.fromkeys(one.outcome.base for one in found):
        drops = [one for one in found if one.outcome.base == base]
        what = ", ".join(dict.fromkeys(one.need.what for one in drops))
        bridges = sorted({one.need.bridge for one in drops})
        first = drops[0].outcome
        by = "" if first.by == base else f", in {first.by}"
        text = f"chain {base} drops {what} ({first.why}{by}); no rule of ours can undo that"
        hook = drops[0].need.hook
        rules = (_let_in if hook == "input" else _let_through)(lab, _chain_for_rules(base, now), bridges)
        lasting = _LASTING.get((_owner(base, now), hook), "")
        last = "; ".join(dict.fromkeys(lasting.format(bridge=bridge) for bridge in bridges))
        yield problem("filter", text, _command(rules, base, now)).but(permanent=last)


def _needs(lab: Lab, network: Network, now: Wires) -> Iterator[_Need]:
    """The packets that must pass for `network`."""
    guest, other, world, inside = network.subnet[1], network.subnet[2], IPv4Address(ANYWHERE), str(network.bridge)
    host, nobody, everybody = network.host_address().ip, IPv4Address(0), IPv4Address("255.255.255.255")

    def need(hook: str, what: str, packet: passage.Packet) -> _Need:
        return _Need(hook=hook, what=what, bridge=inside, packet=packet)

    coming = passage.Packet(iif=inside, oif="", source=guest, target=host, state="new", protocol="udp")
    for outside in _outsides(lab, network, now) if network.nat is not False else ():
        out = passage.Packet(iif=inside, oif=outside, source=guest, target=world, state="new")
        back = passage.Packet(iif=outside, oif=inside, source=world, target=guest, state="established")
        yield need("forward", _OUT, out)
        yield need("forward", _BACK, back)
    for one in network.forward:
        led = coming.but(iif=next(iter(_outsides(lab, network, now))), oif=inside, source=world, target=guest)
        yield need("forward", _LED, led.but(protocol=one.protocol, port=one.to, forwarded=True))
    if now.bridge_netfilter and not network.isolate:
        yield need("forward", _NEAR, coming.but(oif=inside, target=other, protocol="tcp"))
    if network.dhcp and network.needs_dnsmasq():
        yield need("input", _ADDRESS, coming.but(source=nobody, target=everybody, port=67))
    if network.dns and network.needs_dnsmasq():
        yield need("input", _NAMES, coming.but(port=53))


def _outsides(lab: Lab, network: Network, now: Wires) -> Iterable[str]:
    """The links guests of `network` leave by: the host's own way out or those named, and what somebody is told to."""
    host = now.way_out.split()[0] if now.way_out else "no uplink"
    named = [str(lab.uplinks[name].interface) for name in network.nat] if isinstance(network.nat, tuple) else [host]
    return dict.fromkeys([*named, *(str(one.interface) for one in ways.uplinks(lab, network))])


def _let_through(lab: Lab, chain: str, bridges: Iterable[str]) -> list[str]:
    """Where a table of ours keeps strangers out, theirs may let everything pass; elsewhere only what is asked for."""
    back = [""] if lab.firewall == "nftables" else [" ct state established,related", " ct status dnat"]
    matches = [
        match
        for bridge in bridges
        for match in (f'iifname "{bridge}"', *(f'oifname "{bridge}"{condition}' for condition in back))
    ]
    return [f"insert rule {chain} {match} accept" for match in matches]


def _let_in(_lab: Lab, chain: str, bridges: Iterable[str]) -> list[str]:
    """Without a set of ports: iptables could no longer read a table of its own with one."""
    ports = ("udp dport 67", "udp dport 53", "tcp dport 53")
    return [f'insert rule {chain} iifname "{bridge}" {port} accept' for bridge in bridges for port in ports]


def _command(rules: Iterable[str], base: str, now: Wires) -> str:
    """The rules as one command of nft; as iptables', where it must go on reading its table and could not otherwise."""
    found = list(rules)
    if not (_is_of_iptables(base, now) and any(" ct " in rule for rule in found)):
        return f"nft {shlex.quote('; '.join(found))}"
    words = {"iifname": "-i", "oifname": "-o", "accept": "-j ACCEPT"}
    words |= {"ct state established,related": "-m conntrack --ctstate RELATED,ESTABLISHED"}
    words |= {"ct status dnat": "-m conntrack --ctstate DNAT"}
    text = "; ".join(found).replace(f"insert rule {' '.join(base.split()[:2])} ", "iptables -I ").replace('"', "")
    for theirs, ours in words.items():
        text = text.replace(theirs, ours)
    return text


def _is_of_iptables(base: str, now: Wires) -> bool:
    """Whether a chain looks like one of iptables', and nobody else has put into its table what it cannot read."""
    family, table, name = base.split()
    rules = [one["rule"] for one in now.ruleset or () if "rule" in one]
    here = [rule["expr"] for rule in rules if (rule["family"], rule["table"]) == (family, table)]
    native = any("ct" in part.get("match", {}).get("left", {}) for expr in here for part in expr)
    return (family, table, name.isupper()) == ("ip", "filter", True) and not native


def _chain_for_rules(base: str, now: Wires) -> str:
    """Where to put rules that let guests through: the chain that Docker leaves to others, where there is one."""
    family, table, name = base.split()
    return f"{family} {table} DOCKER-USER" if name == "FORWARD" and "DOCKER-USER" in _chains(base, now) else base


def _owner(base: str, now: Wires) -> str:
    """Whose chain it is, where we know: a mend is gone once that one loads its rules again."""
    chains = _chains(base, now)
    if base.split()[1] == "firewalld":
        return "firewalld"
    return "ufw" if any(name.startswith("ufw-") for name in chains) else "shorewall" if "shorewall" in chains else ""


def _chains(base: str, now: Wires) -> set[str]:
    """The names of all chains of the table that has the chain `base`."""
    family, table, _ = base.split()
    chains: list[Mapping[str, Any]] = [one["chain"] for one in now.ruleset or () if "chain" in one]
    return {chain["name"] for chain in chains if (chain["family"], chain["table"]) == (family, table)}


def _legacy(lab: Lab, now: Wires) -> Iterator[Finding]:
    """The older iptables has tables of its own, which nft does not show."""
    if "-P FORWARD DROP" not in now.legacy:
        return
    for network in lab.networks.values():
        rules = [f"FORWARD -{way} {network.bridge} -j ACCEPT" for way in ("i", "o")]
        if missing := [rule for rule in rules if f"-A {rule}" not in now.legacy]:
            text = f"chain FORWARD of iptables-legacy drops what guests of {network.name} send (its policy is drop)"
            yield problem("filter", text, "; ".join(f"iptables-legacy -I {rule}" for rule in missing))


def _masquerades(lab: Lab, now: Wires) -> Iterator[Finding]:
    """With nftables it is our own table that masquerades, with the network; otherwise somebody else must."""
    if lab.firewall == "nftables" or not now.way_out:
        return
    for network in lab.networks.values():
        for packet in (one.packet for one in _needs(lab, network, now) if one.what == _OUT and not network.external):
            seen = passage.outcomes(now.ruleset or (), "postrouting", packet)
            if not any(one.verdict in {"masquerade", "snat"} for one in seen):
                text = f'firewall = "{lab.firewall}", and nothing masquerades {network.subnet} on {packet.oif}'
                yield problem("filter", text, _masquerade(lab, network, packet.oif))


def _strangers(lab: Lab, now: Wires) -> Iterator[Finding]:
    """With nftables it is our own table that keeps the host from being everybody's router; otherwise somebody must."""
    ours = ", ".join(f'"{one.bridge}"' for one in lab.networks.values())
    found = {
        link
        for name, wire in now.networks.items()
        for link in plan.opened(lab, lab.networks[name], wire)
        if f"ipv4/conf/{link}/forwarding" in wire.changed
    }
    for link in sorted(found) if lab.firewall != "nftables" else ():
        stranger = passage.Packet(
            iif=link, oif="elsewhere", source=IPv4Address(ANYWHERE), target=IPv4Address(ELSEWHERE), state="new"
        )
        outcomes = passage.outcomes(now.ruleset or (), "forward", stranger)
        if not any(one.verdict in {"drop", "reject"} for one in outcomes):
            text = f"{link} forwards for guests, and nothing keeps strangers there from being routed elsewhere"
            chain = "ip guests forward"
            rules = (
                "add table ip guests",
                f"add chain {chain} {{ type filter hook forward priority filter; }}",
                f'add rule {chain} iifname "{link}" oifname != {{ {ours} }} ct state new drop',
            )
            yield warning("filter", text, f"nft {shlex.quote('; '.join(rules))}")


def _masquerade(lab: Lab, network: Network, link: str) -> str:
    if lab.firewall == "shorewall":
        return "kvmrun export shorewall --force /etc/shorewall && shorewall restart"
    chain = "ip guests postrouting"
    rules = (
        "add table ip guests",
        f"add chain {chain} {{ type nat hook postrouting priority srcnat; }}",
        f'add rule {chain} ip saddr {network.subnet} oifname "{link}" masquerade',
    )
    return f"nft {shlex.quote('; '.join(rules))}"
