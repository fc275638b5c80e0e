"""What is wrong with a network that is up, a sentence each: list, net status, doctor and repair say the same."""

from collections.abc import Iterable, Iterator

from kvmrun.model import derive
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.plan.host_facts import NetworkFacts
from kvmrun.plan.network import bridge_plan, host_resolver, ip_forwarding, port_plan
from kvmrun.plan.network.network_plan import rules_text
from kvmrun.plan.steps.guest_steps import PlugTap
from kvmrun.plan.steps.network_steps import (
    AddAddress,
    MarkBridge,
    NetworkStep,
    RecordNetwork,
    RemoveAddress,
    RenameBridge,
    SetBridge,
    SetHostResolution,
    SetLinkUp,
)

NAMES_GONE = "dnsmasq is not running"
NAMES_STOPPED = "dnsmasq is stopped and does not answer"
NAMES_SILENT = "dnsmasq does not answer"
RULES_CHANGED = "its packet filter was changed"
_OBVIOUS = (
    *(RecordNetwork, SetBridge, MarkBridge, RenameBridge, RemoveAddress, AddAddress, SetLinkUp, PlugTap),
    SetHostResolution,
)
"""Steps that only restore what a sentence says is different."""


def summary(lab: Lab, network: Network, now: NetworkFacts, steps: Iterable[NetworkStep]) -> list[str]:
    """What is wrong with a network that is to be up, and the steps of its repair that do not follow from that."""
    told = sentences(lab, network, now)
    more = [f"{step}" for step in steps if not (told and isinstance(step, _OBVIOUS))]
    return [*told, *([f"to be done: {'; '.join(more)}"] if more else [])]


def sentences(lab: Lab, network: Network, now: NetworkFacts) -> list[str]:
    """What is wrong with a network that is to be up, in the order in which it matters."""
    return [
        *_moved(lab, network),
        *filter(None, [bridge_plan.sentence(lab, network, now.bridge)]),
        *_ports(lab, network, now),
        *_own(lab, network, now),
    ]


def _moved(lab: Lab, network: Network) -> Iterator[str]:
    record = lab.now.up.get(network.name)
    if record is not None and record.lab not in {"", lab.identity}:
        yield f"it was brought up from {record.lab}, the former directory of this lab"


def _ports(lab: Lab, network: Network, now: NetworkFacts) -> Iterator[str]:
    forwards = now.bridge is not None and now.bridge.up and not now.bridge.stp
    for guest, ports in sorted(lab.ports().items()):
        for one in ports:
            if one.network == network.name and one.tap in now.ports:
                want, held = port_plan.wanted_port(guest, one, now.made.get(one.tap)), one.tap not in now.kept
                wrong = port_plan.port_differences(want, now.ports[one.tap], held=held, forwards=forwards)
                if wrong:
                    yield f"{guest}: {port_plan.difference_text(one.tap, wrong)}"


def _own(lab: Lab, network: Network, now: NetworkFacts) -> Iterator[str]:
    """What kvmrun runs and loads for the network."""
    if network.external:
        return
    if network.needs_dnsmasq() and (text := names(now)):
        yield text
    if text := routing(lab, network, now):
        yield text
    elif now.guard == "changed" or (lab.firewall == "nftables" and now.rules in {"", "changed"}):
        yield RULES_CHANGED
    if text := host_resolver.sentence(network, now.resolver):
        yield text


def routing(lab: Lab, network: Network, now: NetworkFacts) -> str:
    """What the rules that are loaded still do to others, on a host that was made a router after they were loaded."""
    default = now.changed.get(ip_forwarding.DEFAULT)
    if lab.firewall != "nftables" or not now.routing or default is None or default.general != "0":
        return ""
    before = now.replace(routing=False)
    if now.rules != derive.digest(rules_text(lab, network, before)) or not ip_forwarding.foreign_links(
        lab, network, before
    ):
        return ""
    return "the host forwards for everybody now (net.ipv4.ip_forward = 1), and its rules drop what others send on"


def names(now: NetworkFacts) -> str:
    """What is wrong with the network's own server, "" where it answers."""
    if not now.dnsmasq:
        return NAMES_GONE
    return {"stopped": NAMES_STOPPED, "silent": NAMES_SILENT}.get(now.names, "")
