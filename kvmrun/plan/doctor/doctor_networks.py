"""What the facts of the networks mean: whether guests reach each other and the world, and who is in the way."""

from collections.abc import Iterator

from kvmrun.errors import KvmrunError, Refused
from kvmrun.model.finding import Finding, ok, problem, warning
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.paths import Paths
from kvmrun.plan.doctor import doctor_firewall, doctor_uplinks, packet_routes
from kvmrun.plan.doctor.doctor_facts_model import HostNetworkFacts
from kvmrun.plan.host_facts import NetworkFacts, PortOwner
from kvmrun.plan.network import (
    bridge_plan,
    dnsmasq_plan,
    host_resolver,
    ip_forwarding,
    network_plan,
    port_forward,
    reach,
)
from kvmrun.plan.repair import fault_texts


def network_findings(lab: Lab, where: Paths, now: HostNetworkFacts) -> Iterator[Finding]:
    """Everything about the networks."""
    yield from (problem("host", f"could not be examined: {error}", "sudo kvmrun doctor") for error in now.errors)
    for name, wire in now.networks.items():
        yield from _network(lab, lab.networks[name], where, wire, now)
    yield from doctor_uplinks.uplink_findings(lab, now)
    yield _bridge_netfilter(now)
    yield from doctor_firewall.firewall_findings(lab, now)


def _network(lab: Lab, network: Network, where: Paths, wire: NetworkFacts, now: HostNetworkFacts) -> Iterator[Finding]:
    subject = f"network {network.name}"
    owners = _owners(subject, network, wire) if where.root else ()  # a user starts no server, and root's is one
    found = [*_overlap(subject, lab, network, wire, now), *owners, *_taps(subject, lab, where, wire, now)]
    yield from found
    yield from (problem(subject, *one) for one in reach.problems(lab, network, wire.reach))
    yield from (warning(subject, *one) for one in reach.shaped(wire.reach))
    if wire.names:
        text, fix = fault_texts.names(wire), "repair" if wire.names == "stopped" else f"net restart {network.name}"
        yield problem(subject, text, f"kvmrun {fix}")
    if wire.unguarded:
        yield problem(subject, unguarded(wire), "kvmrun repair")
    yield from _hidden(subject, network, now)
    if (circle := host_resolver.circular_upstreams(lab, network, now.servers))[0]:
        yield warning(subject, *circle)
    if wire.bridge is not None:
        yield from _forwarding(subject, lab, network, wire)
        yield from _resolution(subject, lab, network, wire, now)
    yield from _six(subject, network, wire, now)
    if trip := now.trips.get(network.name):
        yield from _trip(subject, lab, network, trip)
    if not found:
        yield _right(subject, lab, network, where, wire)


def _overlap(subject: str, lab: Lab, network: Network, wire: NetworkFacts, now: HostNetworkFacts) -> Iterator[Finding]:
    """The first route of the host that overlaps the subnet, unless it is known to take packets of the network."""
    known = {word for one in wire.reach.diversions for word in one.text.split()}
    others = network_plan.other_routes(lab, network, now.routes)
    others = [one for one in others if not {one.destination, one.destination.removesuffix("/32")} & known]
    try:
        if not network.external:
            bridge_plan.refuse_overlap(network, others)
    except Refused as error:
        yield problem(subject, f"{error.message}: {error.reason}", error.fix)


def _owners(subject: str, network: Network, wire: NetworkFacts) -> Iterator[Finding]:
    """Those who listen where the network's own server has to."""
    for port, wanted in ((53, network.dns), (67, network.dhcp)):
        others = [one for one in wire.owners if one.port == port and _is_in_the_way(network, one)]
        for one in {other.process: other for other in others}.values() if wanted else ():
            if one.lab:
                text = f"port {port} is taken by dnsmasq of the lab {one.lab}, on {one.address}"
                yield problem(subject, text, f"choose another subnet in network.{network.name}")
                continue
            otherwise = f"{'dns' if port == 53 else 'dhcp'} = false in network.{network.name}"
            text = f"port {port} is taken by {one.process} on {one.address}, where the network's own server has to be"
            yield problem(subject, text, f"{otherwise}; or have it leave that address: ss -lnp 'sport = :{port}'")


def _is_in_the_way(network: Network, owner: PortOwner) -> bool:
    wildcards = {"0.0.0.0", "::", "*"}  # noqa: S104 - others' wildcards
    here = owner.address in {*wildcards, str(network.host_address().ip)}
    return here and getattr(owner, "link", "") in {"", network.bridge}


def _taps(subject: str, lab: Lab, where: Paths, wire: NetworkFacts, now: HostNetworkFacts) -> Iterator[Finding]:
    """Without root a guest starts on a tap that was made for its user."""
    name = subject.removeprefix("network ")
    if where.root or wire.bridge is None or lab.networks[name].external:
        return
    here = [port for ports in lab.ports().values() for port in ports if port.network == name]
    mine = {tap.name for tap in wire.kept.values() if tap.owner == now.uid}
    if lack := [port.tap for port in here if port.tap not in mine]:
        text = f"is up, but these taps are not yours to use: {', '.join(lack)}"
        yield problem(subject, text, f"sudo kvmrun net up {name} --owner $USER")


def _forwarding(subject: str, lab: Lab, network: Network, wire: NetworkFacts) -> Iterator[Finding]:
    wanted = ip_forwarding.wanted_sysctls(lab, network, wire)
    off = [
        name.split("/")[2]
        for name, value in wanted.items()
        if name.startswith("ipv4/") and name.endswith("/forwarding") and wire.sysctls.get(name) == "0" != value
    ]
    off = [one for one in off if one != "default"] + ["links to come" for one in off if one == "default"]
    if wanted.get(ip_forwarding.DEFAULT6) == "1" and wire.sysctls.get(ip_forwarding.DEFAULT6) == "0":
        off.append("all links for IPv6")
    if off:
        yield problem(subject, f"forwarding is off on {', '.join(off)}", f"kvmrun net up {network.name}")
    elif network.nat is not False and not network.external:
        yield ok(subject, "the host forwards between its guests and its uplinks")


def _resolution(
    subject: str, lab: Lab, network: Network, wire: NetworkFacts, now: HostNetworkFacts
) -> Iterator[Finding]:
    """Whether names of guests resolve on this host. Where nothing is to make them, there are other ways in."""
    yield from (warning(subject, *one) for one in host_resolver.problems(lab, network, wire.resolver))
    if network.external or not network.dns:
        return
    if by := host_resolver.resolver(network, wire.resolver, now.servers):
        yield ok(subject, f"names below {network.domain} resolve on this host by {by}")
    elif wire.resolver.state == "absent" or not network.dns.host_resolution:
        server = network.host_address().ip
        yield ok(subject, f"names below {network.domain} are known to {server}; kvmrun ssh needs no name server")


def _trip(subject: str, lab: Lab, network: Network, trip: packet_routes.Trip) -> Iterator[Finding]:
    """What the kernel says of a guest's packet and its answer; that there is no uplink at all is told elsewhere."""
    text, fix = packet_routes.problem(lab, network, trip)
    if trip.link:
        yield problem(subject, text, fix) if text else ok(subject, f"guests leave by {trip}, and answers come back")


def _right(subject: str, lab: Lab, network: Network, where: Paths, wire: NetworkFacts) -> Finding:
    """What `net up` would say and do."""
    try:
        steps = network_plan.up_steps(lab, network, where, wire)
        steps = dnsmasq_plan.without_pending_names(lab, network, where, wire, steps)
    except KvmrunError as error:
        text = f"{error.message.removeprefix(f'{subject} ')}{f': {error.reason}' if error.reason else ''}"
        return problem(subject, text, error.fix)
    if wire.bridge is None:
        return ok(subject, f"is down; the start of a guest brings {network.bridge} up on {network.subnet}")
    if steps:
        text = f"differs from its definition: {'; '.join(fault_texts.summary(lab, network, wire, steps))}"
        return warning(subject, text, f"kvmrun net up {network.name}")
    return ok(subject, f"is up: {network.bridge} {network.host_address()}")


def unguarded(wire: NetworkFacts) -> str:
    """A sentence about the guests whose guard is off; the packet filter lets everything through that they send."""
    names = ", ".join(wire.unguarded)
    return (
        f"what {names} {'sends' if len(wire.unguarded) == 1 else 'send'} is not filtered: the packet filter was changed"
    )


def _six(subject: str, network: Network, wire: NetworkFacts, now: HostNetworkFacts) -> Iterator[Finding]:
    """Whether IPv6 leads out of a network that is up and promises its guests that it does."""
    if wire.bridge is None or not network.has_ipv6_egress():
        return
    if now.way_out6:
        yield ok(subject, f"IPv6 of guests leaves by {now.way_out6}")
    else:
        text = f"guests have addresses of {network.ipv6}, and this host has no IPv6 route to the world"
        yield warning(subject, text, f'ipv6_egress = "none" in network.{network.name} until it has one')


def _hidden(subject: str, network: Network, now: HostNetworkFacts) -> Iterator[Finding]:
    for text, fix in port_forward.hidden_listeners(network, now.listeners):
        yield warning(subject, text, fix)


def _bridge_netfilter(now: HostNetworkFacts) -> Finding:
    if not now.bridge_netfilter:
        return ok("bridge", "frames between guests do not pass the host's packet filter")
    text = "bridge netfilter is on: frames between guests pass the host's forward chains (Docker wants it so)"
    return warning("bridge", text, "sysctl -w net.bridge.bridge-nf-call-iptables=0")
