"""Whose packet filter is in the guests' way: what passes is found out by letting packets walk through the rules."""

import shlex
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

from kvmrun.model.finding import Finding, ok, problem, warning
from kvmrun.model.frozen import Frozen
from kvmrun.model.lab import Lab
from kvmrun.model.network import Network
from kvmrun.plan import passage
from kvmrun.plan.examined import Wires

ANYWHERE = "192.0.2.1"
"""An address of nobody's (RFC 5737), to ask which way the rest of the world is."""
_OUT, _BACK, _NEAR = "what guests send out", "what comes back to them", "what they send each other"
_LASTING = {
    "firewalld": "firewall-cmd --permanent --zone=trusted --add-interface={bridge}",
    "ufw": "ufw route allow in on {bridge}; ufw route allow out on {bridge}",
    "shorewall": "kvmrun export shorewall",
}


def filters(lab: Lab, now: Wires) -> Iterator[Finding]:
    if now.ruleset is None:
        yield warning("filter", "the packet filter was not looked at: only root may", "sudo kvmrun doctor")
        return
    found = [*_drops(lab, now), *_legacy(lab, now), *_masquerades(lab, now)]
    yield from found
    if not found:
        yield ok("filter", "nobody's packet filter is in the guests' way")


class _Drop(Frozen):
    """One chain that drops one kind of packet of one network."""

    outcome: passage.Outcome
    what: str
    bridge: str


def _drops(lab: Lab, now: Wires) -> Iterator[Finding]:
    """Each chain that drops is named once, with all it drops."""
    found = [
        _Drop(outcome=outcome, what=what, bridge=str(network.bridge))
        for network in lab.networks.values()
        for what, packet in _packets(network, now).items()
        for outcome in passage.outcomes(now.ruleset or (), "forward", packet)
        if outcome.verdict in {"drop", "reject"}
    ]
    for base in dict.fromkeys(one.outcome.base for one in found):
        drops = [one for one in found if one.outcome.base == base]
        what = ", ".join(dict.fromkeys(one.what for one in drops))
        bridges = sorted({one.bridge for one in drops})
        first = drops[0].outcome
        by = "" if first.by == base else f", in {first.by}"
        text = f"chain {base} drops {what} ({first.why}{by}); no rule of ours can undo that"
        yield problem("filter", text + _lasting(base, bridges, now), _accept(lab, base, bridges, now))


def _packets(network: Network, now: Wires) -> Mapping[str, passage.Packet]:
    """The packets that must pass for `network`, by what they are."""
    guest, other, world = network.subnet[1], network.subnet[2], IPv4Address(ANYWHERE)
    inside, outside = str(network.bridge), now.way_out.split()[0] if now.way_out else "no uplink"
    packets = {}
    if network.nat is not False:
        packets[_OUT] = passage.Packet(iif=inside, oif=outside, source=guest, target=world, state="new")
        packets[_BACK] = passage.Packet(iif=outside, oif=inside, source=world, target=guest, state="established")
    if now.bridge_netfilter and not network.isolate:
        packets[_NEAR] = passage.Packet(iif=inside, oif=inside, source=guest, target=other, state="new")
    return packets


def _accept(lab: Lab, base: str, bridges: list[str], now: Wires) -> str:
    """The rules that let guests through, put into the chain that Docker leaves to others where there is one.

    Where a table of ours keeps strangers out, theirs may let everything pass; elsewhere only replies.
    """
    family, table, _ = base.split()
    chain = f"{family} {table} DOCKER-USER" if "DOCKER-USER" in _chains(base, now) else base
    replies = "" if lab.firewall == "nftables" else " ct state established,related"
    rules = [
        f"insert rule {chain} {match} accept"
        for bridge in bridges
        for match in (f'iifname "{bridge}"', f'oifname "{bridge}"{replies}')
    ]
    return f"nft {shlex.quote('; '.join(rules))}"


def _lasting(base: str, bridges: list[str], now: Wires) -> str:
    """How to keep it so where we know whose chain it is: the mend is gone once that one loads its rules again."""
    chains = _chains(base, now)
    if base.split()[1] == "firewalld":
        owner = "firewalld"
    elif any(name.startswith("ufw-") for name in chains):
        owner = "ufw"
    elif "shorewall" in chains:
        owner = "shorewall"
    else:
        return ""
    return "; to last: " + "; ".join(dict.fromkeys(_LASTING[owner].format(bridge=bridge) for bridge in bridges))


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
        packet = _packets(network, now).get(_OUT)
        if packet is None or network.external:
            continue
        seen = passage.outcomes(now.ruleset or (), "postrouting", packet)
        if not any(one.verdict in {"masquerade", "snat"} for one in seen):
            text = f'firewall = "{lab.firewall}", and nothing masquerades {network.subnet} on {packet.oif}'
            yield problem("filter", text, _masquerade(lab, network, packet.oif))


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
