"""What is wrong with a network that is up, a sentence each: list, net status, doctor and repair say the same."""

from kvmrun.light.abc import Iterator
from kvmrun.model.lab import Lab
from kvmrun.model.network import Network
from kvmrun.plan import bridge, port
from kvmrun.plan.facts import Wire

NAMES_GONE = "dnsmasq is not running"
NAMES_STOPPED = "dnsmasq is stopped and does not answer"
NAMES_SILENT = "dnsmasq does not answer"
RULES_CHANGED = "its packet filter was changed"


def sentences(lab: Lab, network: Network, now: Wire) -> list[str]:
    """What is wrong with a network that is to be up, in the order in which it matters."""
    return [
        *filter(None, [bridge.sentence(lab, network, now.bridge)]),
        *_ports(lab, network, now),
        *_own(lab, network, now),
    ]


def _ports(lab: Lab, network: Network, now: Wire) -> Iterator[str]:
    forwards = now.bridge is not None and now.bridge.up and not now.bridge.stp
    for guest, ports in sorted(lab.ports().items()):
        for one in ports:
            if one.network == network.name and one.tap in now.ports:
                want, held = port.wanted(guest, one, now.made.get(one.tap)), one.tap not in now.kept
                wrong = port.differences(want, now.ports[one.tap], held=held, forwards=forwards)
                if wrong:
                    yield f"{guest}: {port.sentence(one.tap, wrong)}"


def _own(lab: Lab, network: Network, now: Wire) -> Iterator[str]:
    """What kvmrun runs and loads for the network."""
    if network.external:
        return
    if network.needs_dnsmasq() and (text := names(now)):
        yield text
    if now.guard == "changed" or (lab.firewall == "nftables" and now.rules in {"", "changed"}):
        yield RULES_CHANGED


def names(now: Wire) -> str:
    """What is wrong with the network's own server, "" where it answers."""
    if not now.dnsmasq:
        return NAMES_GONE
    return {"stopped": NAMES_STOPPED, "silent": NAMES_SILENT}.get(now.names, "")
