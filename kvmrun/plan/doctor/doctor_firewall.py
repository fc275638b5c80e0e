"""Whose packet filter is in the guests' way: what passes is found out by letting packets walk through the rules."""

import shlex
from collections.abc import Iterator
from ipaddress import IPv4Address

from kvmrun.model.finding import Finding, ok, problem, warning
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.value import Value
from kvmrun.plan.doctor import firewall_fixes
from kvmrun.plan.doctor.doctor_facts_model import HostNetworkFacts
from kvmrun.plan.doctor.required_packets import ANYWHERE, OUT, Need, needs
from kvmrun.plan.network import ip_forwarding, nft_network
from kvmrun.plan.packets import nft_simulator

ELSEWHERE = "198.51.100.1"
"""An address of nobody's, for strangers to send to."""
_PASSING = {"accept", "masquerade", "snat"}
_TO_COME = "links to come"


class _Judged(Value):
    """What one chain does with one packet that must pass."""

    outcome: nft_simulator.Verdict
    need: Need


def firewall_findings(lab: Lab, now: HostNetworkFacts) -> Iterator[Finding]:
    if now.ruleset is None:
        yield _unexamined(now)
        return
    found = list(dropped_packets(lab, now))
    yield from found
    if not found:
        yield ok("filter", "nobody's packet filter is in the guests' way")


def _unexamined(now: HostNetworkFacts) -> Finding:
    text = "the packet filter was not examined"
    if now.uid:
        return warning("filter", f"{text}: only root can read it", "sudo kvmrun doctor")
    return warning("filter", f"{text}: nft does not list it", "nft list ruleset says why; apt install nftables")


def dropped_packets(lab: Lab, now: HostNetworkFacts) -> Iterator[Finding]:
    """What others' packet filters do to the guests of the lab's networks that they should not, as far as we may see."""
    if now.ruleset is None:
        return
    yield from _drops(lab, now)
    yield from _masquerades(lab, now)
    yield from _strangers(lab, now)


def _drops(lab: Lab, now: HostNetworkFacts) -> Iterator[Finding]:
    """Each chain that drops is named once, with all it drops; and each of which that is not known."""
    wanted = [need for network in lab.networks.values() for need in needs(lab, network, now)]
    rules = nft_simulator.Ruleset(list(now.ruleset or ()))
    judged = [
        _Judged(outcome=outcome, need=need)
        for need in wanted
        for outcome in nft_simulator.journey(rules, need.hooks, need.packet)
    ]
    for base in dict.fromkeys(one.outcome.base for one in judged):
        here = [one for one in judged if one.outcome.base == base]
        if drops := [one for one in here if one.outcome.verdict in {"drop", "reject"}]:
            found = _dropped(base, drops, here, now)
            is_stopped = lab.firewall == "shorewall" and base.split()[:2] == ["ip", "filter"] and not has_shorewall(now)
            yield found.replace(fix="shorewall start", permanent="", lasts="") if is_stopped else found
        if unsure := [one for one in here if one.outcome.verdict not in {*_PASSING, "drop", "reject"}]:
            yield _unsure(base, unsure)


def _dropped(base: str, drops: list["_Judged"], here: list["_Judged"], now: HostNetworkFacts) -> Finding:
    first = drops[0].outcome
    by = "" if first.by == base else f", in {first.by}"
    named = base.replace("legacy ", "iptables-legacy ")
    text = f"chain {named} drops {_what(drops, here)} ({first.reason}{by}); no rule of ours can undo that"
    found = firewall_fixes.fix(base, [one.need for one in drops], now.ruleset or ())
    return problem("filter", text, found.command).replace(permanent=found.permanent, lasts=found.lasts)


def has_shorewall(now: HostNetworkFacts) -> bool:
    """Whether Shorewall is started: it then has a chain of its own name, which it takes away when it stops."""
    return any(one.get("chain", {}).get("name") == "shorewall" for one in now.ruleset or ())


def _what(drops: list["_Judged"], here: list["_Judged"]) -> str:
    """The kinds of packets that are dropped; of a kind of which some pass, which."""
    found = []
    for what in dict.fromkeys(one.need.what for one in drops):
        bridges = {one.need.bridge for one in drops if one.need.what == what}
        passing = [one for one in here if one.need.what == what and one.need.bridge in bridges and one not in drops]
        details = dict.fromkeys(one.need.detail for one in drops if one.need.what == what)
        found.append(f"{what} ({', '.join(details)})" if passing else what)
    return ", ".join(found)


def _unsure(base: str, unsure: list["_Judged"]) -> Finding:
    """A chain whose verdict cannot be foretold; a program may decide, or a rule that we do not know."""
    outcome = unsure[0].outcome
    what = ", ".join(dict.fromkeys(one.need.what for one in unsure))
    shown = "iptables-legacy-save" if base.startswith("legacy ") else f"nft list chain {outcome.by}"
    if outcome.verdict != "unknown":
        return warning("filter", f"chain {base} sends {what} elsewhere ({outcome.verdict} in {outcome.by})", shown)
    text = f"whether chain {base} lets {what} pass is not known: a rule in {outcome.by} is not understood"
    return warning("filter", f"{text}: {outcome.rule}", shown)


def _masquerades(lab: Lab, now: HostNetworkFacts) -> Iterator[Finding]:
    """With nftables it is our own table that masquerades, with the network; otherwise somebody else must."""
    if lab.firewall == "nftables" or not now.way_out:
        return
    for network in lab.networks.values():
        sent = {one.packet.oif: one.packet for one in needs(lab, network, now) if one.what == OUT}
        for packet in sent.values() if not network.external else ():
            seen = nft_simulator.verdicts(now.ruleset or (), "postrouting", packet)
            if not any(one.verdict in {"masquerade", "snat"} for one in seen):
                text = f'firewall = "{lab.firewall}", and nothing masquerades {network.subnet} on {packet.oif}'
                yield problem("filter", text, _masquerade(lab, network, packet.oif, now))


def _strangers(lab: Lab, now: HostNetworkFacts) -> Iterator[Finding]:
    """With nftables it is our own table that keeps the host from being everybody's router; otherwise somebody must."""
    if lab.firewall == "nftables":
        return
    matches: list[str] = []
    exposed, own = set[str](), set[str]()
    for name, wire in now.networks.items():
        if ip_forwarding.DEFAULT in wire.changed:
            matches += ip_forwarding.foreign_links(lab, lab.networks[name], wire)
            exposed |= {_TO_COME, *ip_forwarding.exposed(lab, lab.networks[name], wire)} if matches else set()
            own |= set(ip_forwarding.own_bridges(lab.networks[name], wire))
    routed = sorted(link for link in exposed if not _is_stopped(link, now))
    if routed:
        text = (
            f"{' and '.join(routed)} forward for guests, and nothing keeps strangers there from being routed elsewhere"
        )
        chain = "inet guests strangers"
        drops = [rule for match in dict.fromkeys(matches) for rule in nft_network.stranger_rules(match)]
        commands = ["add table inet guests", f"add chain {chain} {{ {nft_network.STRANGERS_HOOK} }}"]
        commands += [f"add rule {chain} {nft_network.spelled_out(rule, own)}" for rule in drops]
        yield warning("filter", text, f"nft {shlex.quote('; '.join(commands))}")


def _is_stopped(link: str, now: HostNetworkFacts) -> bool:
    """Whether somebody's rules drop what a stranger on the link would have routed elsewhere."""
    stranger = nft_simulator.Packet(
        iif=link, oif="elsewhere", source=IPv4Address(ANYWHERE), target=IPv4Address(ELSEWHERE), state="new"
    )
    hooks = ("forward", "postrouting")
    found = [one for hook in hooks for one in nft_simulator.verdicts(now.ruleset or (), hook, stranger)]
    return any(one.verdict in {"drop", "reject"} for one in found)


def _masquerade(lab: Lab, network: Network, link: str, now: HostNetworkFacts) -> str:
    if lab.firewall == "shorewall":
        return "kvmrun export shorewall --lines" if has_shorewall(now) else "shorewall start"
    chain = "ip guests postrouting"
    wire = now.networks.get(network.name)
    own = ip_forwarding.own_bridges(network, wire) if wire else [network.bridge]
    leaving = (
        f"!= {nft_network.link_set(own)}" if network.nat is True else f'"{link}"'
    )  # whichever the host uses at the time
    added = (
        "add table ip guests",
        f"add chain {chain} {{ type nat hook postrouting priority srcnat; }}",
        f"add rule {chain} ip saddr {network.subnet} oifname {leaving} masquerade",
    )
    return f"nft {shlex.quote('; '.join(added))}"
