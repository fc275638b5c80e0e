"""What the facts of the uplinks mean: whether the world is reached, by which of them, and who has to be asked."""

from collections.abc import Iterator

from kvmrun.model.finding import Finding, ok, problem, warning
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network, Uplink
from kvmrun.plan.doctor.doctor_facts_model import HostNetworkFacts
from kvmrun.plan.doctor.doctor_firewall import has_shorewall
from kvmrun.plan.network import uplink_routing


def uplink_findings(lab: Lab, now: HostNetworkFacts) -> Iterator[Finding]:
    yield _way_out(lab, now)
    yield from (_uplink(lab, one, now) for one in lab.uplinks.values())
    yield from _beside(lab, now)
    yield from _names(now)


def is_dead(uplink: Uplink, now: HostNetworkFacts) -> bool:
    """Whether its gateway or the address to be probed was asked, and did not answer."""
    silent = (uplink.interface, str(uplink.gateway)) in now.silent
    return bool(now.links.get(str(uplink.interface))) and (silent or now.probes.get(str(uplink.name)) is False)


def is_alive(uplink: Uplink, now: HostNetworkFacts) -> bool:
    return bool(now.links.get(str(uplink.interface))) and not is_dead(uplink, now)


def provider_state(uplink: Uplink, now: HostNetworkFacts) -> str:
    """A provider of Shorewall in words: where it leads, whether it is enabled, and whether it answers."""
    via = f" via {uplink.gateway}" if uplink.gateway else ""
    state = "enabled" if uplink.name in now.enabled else "disabled"
    link = now.links.get(str(uplink.interface))
    answers = "its interface is down" if not link else "does not answer" if is_dead(uplink, now) else "answers"
    return f"{uplink.name}: {uplink.interface}{via}, {state}, {answers}"


def _uplink(lab: Lab, uplink: Uplink, now: HostNetworkFacts) -> Finding:
    """Whether a way out that the lab names can be taken. One that is absent is nobody's ruin: another is taken."""
    subject, link = f"uplink {uplink.name}", uplink.interface
    told = ", ".join(_told(lab, uplink))
    if not now.links.get(link):
        text = f"{link} is {'down' if link in now.links else 'not there'}"
        text += f"; {told} would leave by it, and another way is taken" if told else ""
        plug = f"plug it in, or take uplink.{uplink.name} out of networks.toml"
        return warning(subject, text, f"ip link set {link} up" if link in now.links else plug)
    if is_dead(uplink, now):
        return _dead(lab, uplink, told, now)
    if uplink.name in now.probes:
        return ok(subject, f"{uplink.probe} answers through {link}")
    if uplink.gateway:
        return ok(subject, f"{uplink.gateway} on {link} answers; what is behind it was not tried (no probe is given)")
    return ok(subject, f"{link} is up; whether the world is reached by it was not tried")


def _dead(lab: Lab, uplink: Uplink, told: str, now: HostNetworkFacts) -> Finding:
    subject, link = f"uplink {uplink.name}", uplink.interface
    alone = (link, str(uplink.gateway)) in now.silent
    silent = f"{uplink.gateway} on {link}" if alone else f"{uplink.probe} through {uplink.gateway} on {link}"
    alive = next((one for one in lab.uplinks.values() if one is not uplink and is_alive(one, now)), None)
    if uplink_routing.is_provider(lab, uplink) and uplink.name in now.enabled and alive:
        shared = sum(one.interface == link for one in lab.uplinks.values()) > 1
        text = f"{uplink.name} does not answer, {alive.name} does ({silent})"
        return problem(subject, text, _restore(lab, uplink, told) if shared else f"shorewall disable {link}")
    say = problem if told else warning
    text = f"{silent} does not answer" + (f", and {told} would leave by it" if told else "")
    return say(subject, text, _restore(lab, uplink, told))


def _told(lab: Lab, uplink: Uplink) -> list[str]:
    """The guests and networks that are told to take the uplink."""
    guests = [name for name, guest in lab.guests.items() if guest.uplink == uplink.name]
    return [*guests, *(f"network {name}" for name, network in lab.networks.items() if network.uplink == uplink.name)]


def _restore(lab: Lab, uplink: Uplink, told: str) -> str:
    other = next((one.name for one in lab.uplinks.values() if one.name != uplink.name), "")
    meanwhile = f'; until then uplink = "{other}" for {told}' if other and told else ""
    return f"see to the router and its cable{meanwhile}"


def _way_out(lab: Lab, now: HostNetworkFacts) -> Finding:
    providers = [one for one in lab.uplinks.values() if uplink_routing.is_provider(lab, one)]
    if now.way_out:
        link, _, gateway = now.way_out.partition(" via ")
        if (link, gateway) not in now.silent:
            return ok("uplink", f"the route to the world leads through {now.way_out}")
        text = f"the world would be reached through {now.way_out}, which does not answer"
        route = f"ip route replace default via ROUTER dev {link}"
        others = [one for one in providers if is_alive(one, now)]
        fix = f"shorewall disable {link}" if others else f"see to the router and its cable, or: {route}"
        return problem("uplink", text, fix)
    masqueraded = [network for network in lab.networks.values() if network.nat is not False]
    if now.way_out6 and masqueraded:
        return _only_six([one for one in masqueraded if not one.has_ipv6_egress()], now)
    say = problem if masqueraded else warning
    return say("uplink", "this host has no way out: there is no default route", _route(lab, providers, now))


def _only_six(without: list[Network], now: HostNetworkFacts) -> Finding:
    """A host without an IPv4 default route; `without` are the networks for which IPv6 is not forwarded either."""
    if not without:
        return ok("uplink", f"this host has no IPv4 default route, and guests leave by IPv6 through {now.way_out6}")
    text = (
        f"this host has no IPv4 default route, and IPv6 is not forwarded for {', '.join(one.name for one in without)}"
    )
    prefix = "" if without[0].ipv6 else "a prefix in ipv6, and "
    return problem("uplink", text, f'{prefix}ipv6_egress = "nat" in network.{without[0].name}')


def _route(lab: Lab, providers: list[Uplink], now: HostNetworkFacts) -> str:
    """What gives this host a default route. Beside providers of Shorewall it is not ours to put one into table main."""
    if providers:
        ready = next((one for one in providers if is_alive(one, now)), None)
        return f"shorewall enable {ready.interface}" if ready and has_shorewall(now) else "shorewall start"
    known = [one for one in lab.uplinks.values() if one.gateway]
    best = next((one for one in known if is_alive(one, now)), known[0] if known else None)
    return (
        f"ip route add default via {best.gateway} dev {best.interface}" if best else "ip route add default via GATEWAY"
    )


def _beside(lab: Lab, now: HostNetworkFacts) -> Iterator[Finding]:
    """A default route in table main stands before those of Shorewall's providers, and takes everything."""
    if now.enabled and has_shorewall(now) and any(uplink_routing.is_provider(lab, one) for one in lab.uplinks.values()):
        for route in now.defaults:
            text = f"table main has a default route {route}, which goes before those of Shorewall's providers"
            yield problem(
                "uplink", text, "shorewall restart, and nothing else that puts a default route into table main"
            )


def _names(now: HostNetworkFacts) -> Iterator[Finding]:
    said = {
        "silent": "does not answer a question for a name of the world within 2 s: its upstream servers are silent",
        "failed": "cannot answer a question for a name of the world: its upstream servers fail",
    }
    for name, state in now.names.items():
        subject = f"network {name}"
        if state in said:
            fix = f'dns = {{ upstream = ["ADDRESS"] }} in network.{name} names a server that answers'
            yield problem(subject, f"the name server {said[state]}", fix)
        elif state == "refused":
            fix = f'dns = {{ upstream = ["ADDRESS"] }} in network.{name} names a server that answers'
            yield warning(subject, "a question for a name of the world is refused", fix)
        else:
            yield ok(subject, "a question for a name of the world is answered")
