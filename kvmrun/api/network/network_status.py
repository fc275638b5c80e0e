"""The live state of networks, from the kernel, the leases of dnsmasq, and the plan that would repair them."""

from collections.abc import Iterable, Iterator
from itertools import islice

from kvmrun.api.lab import LabHandle
from kvmrun.api.network.network_selection import definition_problems, select_networks
from kvmrun.errors import KvmrunError
from kvmrun.host import dnsmasq
from kvmrun.host.facts import doctor_facts, network_facts, root_capabilities
from kvmrun.host.links import policy_routing, pyroute2_links
from kvmrun.model import derive
from kvmrun.model.deadline import Deadline, within
from kvmrun.model.finding import Finding, problem
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.network.network_status import EgressStatus, LeaseStatus, NetworkStatus, PortStatus
from kvmrun.model.paths import Paths
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.plan.doctor import doctor_firewall, doctor_networks, doctor_uplinks, packet_routes
from kvmrun.plan.doctor.packet_routes import Trip
from kvmrun.plan.doctor.required_packets import ANYWHERE, ANYWHERE6
from kvmrun.plan.host_facts import NetworkFacts
from kvmrun.plan.network import dnsmasq_leases, dnsmasq_plan, host_resolver, network_plan, reach, uplink_routing
from kvmrun.plan.repair import fault_texts

_UP = ("up", "degraded")


class NetworkReport(Value):
    """The networks, and what is wrong with the host as a whole or with networks.toml."""

    networks: tuple[NetworkStatus, ...]
    problems: tuple[Finding, ...]


def network_status(
    lab: LabHandle, names: Iterable[str] | None = None, *, timeout: float | None = None
) -> NetworkReport:
    """The live state of networks, None means all of the lab; nothing is changed.

    The programs and gateways that are asked have `timeout` seconds together, or each its usual limit.

    Raises: ConfigError for a name that is no network; OtherLab for a network of another lab; NotPermitted for
    a root without its capabilities; Unresponsive where the kernel or a program does not answer.
    """
    with within(Deadline.begin(timeout)):
        return _network_report(lab, names)


def _network_report(lab: LabHandle, names: Iterable[str] | None) -> NetworkReport:
    now, where = lab.in_force(), lab.paths
    wanted = select_networks(now, "status", names)
    root_capabilities.require_capabilities()
    found = [status_of_network(now, where, now.networks[name]) for name in wanted]
    mistakes = [problem("networks", text, "") for text in definition_problems(now)]
    return NetworkReport(networks=tuple(found), problems=(*mistakes, *foreign_firewall_findings(now, where, found)))


def status_of_network(lab: Lab, where: Paths, network: Network) -> NetworkStatus:
    """Everything about `network`; nothing is changed. Of one that another lab has brought up there is only that."""
    if other := lab.now.networks_elsewhere.get(network.name):
        return _elsewhere(network, other)
    now = network_facts.reported(lab, network, where)
    trip = policy_routing.trace_route(network, now.bridge, ANYWHERE)
    state, problem = _state(lab, where, network, now)
    taps = {port.tap: guest for guest, ports in lab.ports().items() for port in ports}
    ports = now.bridge.ports if now.bridge else ()
    return NetworkStatus(
        name=network.name,
        state=state,
        problem=problem,
        bridge=network.bridge,
        address=_address(network, now),
        ports=tuple(PortStatus(tap=port, guest=taps.get(port, "")) for port in ports),
        dnsmasq=_dnsmasq(network, now) if where.root else None,
        domain=network.domain if network.dns and not network.external and state in _UP else None,
        rules=_rules(lab, network, now) if where.root else None,
        resolver=host_resolver.resolver(network, now.resolver, network_facts.servers(lab)) if state in _UP else None,
        uplink=_uplink(network, trip) if state in _UP else None,
        ways=tuple(_ways(lab, network, now)),
        warnings=(*_warnings(lab, network, now, trip), *("; fix: ".join(one) for one in reach.shaped(now.reach))),
        providers=_providers(lab, where, network),
        leases=_leases(dnsmasq_plan.files(lab, network, where).leases),
    )


def _elsewhere(network: Network, other: str) -> NetworkStatus:
    return NetworkStatus(
        name=network.name,
        state="refused",
        problem=printable(f"the lab {other} has brought up a network of this name", 200),
        bridge=network.bridge,
        address=None,
        ports=(),
        dnsmasq="the other lab's",
        domain=None,
        rules="the other lab's",
        uplink=None,
        leases=(),
    )


def _providers(lab: Lab, where: Paths, network: Network) -> tuple[str, ...]:
    """The providers of Shorewall by which the network may leave; they are asked whether they are there."""
    named = [one for one in lab.uplinks.values() if uplink_routing.is_provider(lab, one)]
    if not named or network.external or network.nat is False:
        return ()
    now = doctor_facts.provider_facts(lab, where)
    return tuple(doctor_uplinks.provider_state(one, now) for one in named)


def _address(network: Network, now: NetworkFacts) -> str | None:
    """The addresses the bridge is seen to have; None while there is no bridge."""
    if now.bridge is None:
        return None
    wanted, seen = str(network.host_address()), now.bridge.addresses
    return wanted if wanted in seen else ", ".join(seen) or "without an address"


def _uplink(network: Network, trip: Trip | None) -> str | None:
    if network.nat is False:
        return None
    way_out = (str(trip) or None) if trip else pyroute2_links.way_out(ANYWHERE)
    return way_out or (pyroute2_links.way_out(ANYWHERE6) if network.has_ipv6_egress() else None)


def _warnings(lab: Lab, network: Network, now: NetworkFacts, trip: Trip | None) -> Iterator[str]:
    if trip and trip.link and (wrong := packet_routes.problem(lab, network, trip))[0]:
        yield "; fix: ".join(wrong)
    yield from uplink_routing.unavailable_uplinks(lab, network, network_facts.routing_facts_with_gateways(lab, network))
    if (circle := host_resolver.circular_upstreams(lab, network, network_facts.servers(lab)))[0]:
        yield "; fix: ".join(circle)
    if now.bridge is not None:
        yield from ("; fix: ".join(one) for one in host_resolver.problems(lab, network, now.resolver))


def _ways(lab: Lab, network: Network, now: NetworkFacts) -> Iterator[EgressStatus]:
    """Which way each guest of the network would leave, by the kernel's own word; nothing while the bridge is not up."""
    if now.bridge is None or not now.bridge.up or network.external:
        return
    for guest, ports in sorted(lab.ports().items()):
        for address in (port.address for port in ports if port.network == network.name and port.address):
            link, gateway = policy_routing.egress_of(ANYWHERE, address, network.bridge)
            fits = (one.name for one in lab.uplinks.values() if one.leads(link, gateway))
            yield EgressStatus(
                guest=guest,
                address=address,
                egress=(f"{link} via {gateway}" if gateway else link) or None,
                uplink=next(fits, None),
                told=lab.uplink_of(guest) or network.uplink,
            )


def foreign_firewall_findings(lab: Lab, where: Paths, found: list[NetworkStatus]) -> list[Finding]:
    """What somebody else's packet filter does to the networks that are up, each with its fix."""
    up = {one.name: lab.networks[one.name] for one in found if one.state in {"up", "degraded"}}
    if not up:
        return []
    now = doctor_facts.filter_facts(where)
    unseen = [problem("filter", one, "kvmrun doctor") for one in now.errors]
    return [*unseen, *doctor_firewall.dropped_packets(lab.replace(networks=up), now)]


def _state(lab: Lab, where: Paths, network: Network, now: NetworkFacts) -> tuple[str, str | None]:
    if network.external and now.bridge is not None and not now.bridge.up:
        return "down", f"{network.bridge} is down; it is not ours to set up: ip link set {network.bridge} up"
    if now.bridge is None and network.external:
        return "down", f"there is no {network.bridge}, and an external bridge is never made by us"
    if now.bridge is None and not (now.ports or now.dnsmasq or now.rules or network.name in lab.now.up):
        return "down", None
    try:
        missing = network_plan.up_steps(lab, network, where, now)
        missing = dnsmasq_plan.without_pending_names(lab, network, where, now, missing)
    except KvmrunError as error:
        return "refused", printable(f"{error.message}: {error.reason}")
    if network.name in lab.now.undefined:
        text = f"it is no longer defined: kvmrun net down {network.name} takes it away"
        if lab.has_broken_networks():
            text = "networks.toml has errors, and the network stays as it was brought up: kvmrun check tells them"
        return ("degraded" if missing else "up"), text
    wrong = [*dict.fromkeys(fault_texts.summary(lab, network, now, missing))]
    wrong += [f"fix: kvmrun net up {network.name}"] if missing else []
    wrong += ["fix: kvmrun repair"] if now.names == "stopped" else []
    wrong += [f"fix: kvmrun net restart {network.name}"] if now.names == "silent" else []
    wrong += ["; fix: ".join(one) for one in reach.problems(lab, network, now.reach)]
    wrong += [f"{doctor_networks.unguarded(now)}; fix: kvmrun repair"] if now.unguarded else []
    return ("degraded", "; ".join(wrong)) if wrong else ("up", None)


def _dnsmasq(network: Network, now: NetworkFacts) -> str:
    if not network.needs_dnsmasq():
        return "off"
    state = {"stopped": "stopped", "silent": "does not answer"}.get(now.names, "serving")
    return f"{state} (pid {now.dnsmasq})" if now.dnsmasq else "not running"


def _rules(lab: Lab, network: Network, now: NetworkFacts) -> str:
    if network.external or lab.firewall != "nftables":
        return "off" if network.external else f"left to {lab.firewall}"
    if not now.rules:
        return "missing"
    return "present" if now.rules == derive.digest(network_plan.rules_text(lab, network, now)) else "changed"


def _leases(path: str) -> tuple[LeaseStatus, ...]:
    found = islice(dnsmasq_leases.parse_leases(dnsmasq.read_file(path) or ""), 1000)
    return tuple(
        LeaseStatus(
            expires=one.expires,
            address=printable(one.address, 40),
            mac=printable(one.mac, 20),
            name="" if one.name == "*" else printable(one.name, 64),
        )
        for one in found
        if ":" in one.mac  # of DHCPv4, which is what is reserved
    )
