"""What the facts of the networks mean: whether guests reach each other and the world, and who is in the way."""

from kvmrun.errors import KvmrunError, Refused
from kvmrun.light.abc import Iterator
from kvmrun.model.finding import Finding, ok, problem, warning
from kvmrun.model.lab import Lab
from kvmrun.model.network import Network, Uplink
from kvmrun.model.place import Directories
from kvmrun.plan import bridge, doctor_filter, forwards
from kvmrun.plan import network as plan
from kvmrun.plan.examined import Wires
from kvmrun.plan.facts import Owner, Wire


def wires(lab: Lab, where: Directories, now: Wires) -> Iterator[Finding]:
    """Everything about the networks."""
    yield from (problem("host", f"could not be looked at: {error}", "sudo kvmrun doctor") for error in now.errors)
    for name, wire in now.networks.items():
        yield from _network(lab, lab.networks[name], where, wire, now)
    yield _way_out(lab, now)
    yield from (_uplink(lab, one, now) for one in lab.uplinks.values())
    yield _bridge_netfilter(now)
    yield from doctor_filter.filters(lab, now)


def _network(lab: Lab, network: Network, where: Directories, wire: Wire, now: Wires) -> Iterator[Finding]:
    subject = f"network {network.name}"
    owners = _owners(subject, network, wire) if where.root else ()  # a user starts no server, and root's is one
    found = [*_overlap(subject, lab, network, now), *owners, *_taps(subject, lab, where, wire, now)]
    yield from found
    yield from _hidden(subject, network, now)
    if wire.bridge is not None:
        yield from _forwarding(subject, lab, network, wire)
    if not found:
        yield _right(subject, lab, network, where, wire)


def _overlap(subject: str, lab: Lab, network: Network, now: Wires) -> Iterator[Finding]:
    try:
        if not network.external:
            bridge.refuse_overlap(network, plan.other_routes(lab, network, now.routes))
    except Refused as error:
        yield problem(subject, f"{error.message}: {error.why}", error.hint)


def _owners(subject: str, network: Network, wire: Wire) -> Iterator[Finding]:
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


def _is_in_the_way(network: Network, owner: Owner) -> bool:
    wildcards = {"0.0.0.0", "::", "*"}  # noqa: S104 - others' wildcards
    here = owner.address in {*wildcards, str(network.host_address().ip)}
    return here and getattr(owner, "link", "") in {"", network.bridge}


def _taps(subject: str, lab: Lab, where: Directories, wire: Wire, now: Wires) -> Iterator[Finding]:
    """Without root a guest starts on a tap that was made for its user."""
    name = subject.removeprefix("network ")
    if where.root or wire.bridge is None or lab.networks[name].external:
        return
    here = [port for ports in lab.ports().values() for port in ports if port.network == name]
    mine = {tap.name for tap in wire.kept.values() if tap.owner == now.uid}
    if lack := [port.tap for port in here if port.tap not in mine]:
        text = f"is up, but these taps are not yours to use: {', '.join(lack)}"
        yield problem(subject, text, f"sudo kvmrun net up {name} --owner $USER")


def _forwarding(subject: str, lab: Lab, network: Network, wire: Wire) -> Iterator[Finding]:
    wanted = plan.settings(lab, network, wire)
    off = [
        name.split("/")[2]
        for name, value in wanted.items()
        if "ipv4" in name and wire.sysctls.get(name) == "0" != value
    ]
    if off:
        yield problem(subject, f"forwarding is off on {', '.join(off)}", f"kvmrun net up {network.name}")
    elif network.nat is not False and not network.external:
        yield ok(subject, "the host forwards between its guests and its uplinks")


def _right(subject: str, lab: Lab, network: Network, where: Directories, wire: Wire) -> Finding:
    """What `net up` would say and do."""
    try:
        steps = plan.up(lab, network, where, wire)
    except KvmrunError as error:
        text = f"{error.message.removeprefix(f'{subject} ')}{f': {error.why}' if error.why else ''}"
        return problem(subject, text, error.hint)
    if wire.bridge is None:
        return ok(subject, f"is down; the start of a guest brings {network.bridge} up on {network.subnet}")
    if steps:
        text = f"is not as it should be; to be done: {'; '.join(map(str, steps))}"
        return warning(subject, text, f"kvmrun net up {network.name}")
    return ok(subject, f"is up: {network.bridge} {network.host_address()}")


def _hidden(subject: str, network: Network, now: Wires) -> Iterator[Finding]:
    for text, mend in forwards.hidden(network, now.listeners):
        yield warning(subject, text, mend)


def _uplink(lab: Lab, uplink: Uplink, now: Wires) -> Finding:
    """Whether a way out that the lab names can be taken. One that is absent is nobody's ruin: another is taken."""
    subject, link = f"uplink {uplink.name}", uplink.interface
    told = ", ".join(_told(lab, uplink))
    if not now.links.get(link):
        text = f"{link} is {'down' if link in now.links else 'not there'}"
        text += f"; {told} would leave by it, and another way is taken" if told else ""
        plug = f"plug it in, or take uplink.{uplink.name} out of networks.toml"
        return warning(subject, text, f"ip link set {link} up" if link in now.links else plug)
    if (link, str(uplink.gateway)) in now.silent:
        say = problem if told else warning
        text = f"{uplink.gateway} on {link} does not answer"
        return say(subject, text + (f", and {told} would leave by it" if told else ""), _restore(lab, uplink, told))
    return ok(subject, f"{uplink.gateway} on {link} answers" if uplink.gateway else f"{link} is up")


def _told(lab: Lab, uplink: Uplink) -> list[str]:
    """The guests and networks that are told to take the uplink."""
    guests = [name for name, guest in lab.guests.items() if guest.uplink == uplink.name]
    return [*guests, *(f"network {name}" for name, network in lab.networks.items() if network.uplink == uplink.name)]


def _restore(lab: Lab, uplink: Uplink, told: str) -> str:
    other = next((one.name for one in lab.uplinks.values() if one.name != uplink.name), "")
    meanwhile = f'; until then uplink = "{other}" for {told}' if other and told else ""
    return f"see to the router and its wire{meanwhile}"


def _way_out(lab: Lab, now: Wires) -> Finding:
    if now.way_out:
        link, _, gateway = now.way_out.partition(" via ")
        if (link, gateway) not in now.silent:
            return ok("uplink", f"the world is reached through {now.way_out}")
        text = f"the world would be reached through {now.way_out}, which does not answer"
        return problem(
            "uplink", text, f"see to the router and its wire, or: ip route replace default via ROUTER dev {link}"
        )
    say = problem if any(network.nat is not False for network in lab.networks.values()) else warning
    known = next((one for one in lab.uplinks.values() if one.gateway), None)
    mend = (
        f"ip route add default via {known.gateway} dev {known.interface}"
        if known
        else "ip route add default via GATEWAY"
    )
    return say("uplink", "this host has no way out: there is no default route", mend)


def _bridge_netfilter(now: Wires) -> Finding:
    if not now.bridge_netfilter:
        return ok("bridge", "frames between guests do not pass the host's packet filter")
    text = "bridge netfilter is on: frames between guests pass the host's forward chains (Docker wants it so)"
    return warning("bridge", text, "sysctl -w net.bridge.bridge-nf-call-iptables=0")
