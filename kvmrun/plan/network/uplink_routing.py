"""Which way out a network or a guest takes: source rules to an uplink's routing table, and that table's default route.

The order of the rules: first the main table without its default routes, so that guests still reach each other, the
host and whatever else has a route of its own; then answers to what came in to a forwarded port, by the uplink it came
in by; then guests; then networks. Two halves of the world (/1, as VPNs add
them) count as a default route. The rules do not name the bridge: a strict reverse path filter on the uplink asks the
same question without it. An uplink that is not there has an empty table, and the packet goes on to the next rule.
"""

from collections.abc import Iterable, Iterator, Mapping

from kvmrun.errors import Refused
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network, Uplink
from kvmrun.model.value import Value
from kvmrun.plan.host_facts import PolicyRule, RoutingFacts

_SPECIFIC, _ANSWERS, _GUESTS, _NETWORKS = 1000, 1050, 1100, 1200
MARKS = 0x7F000000
"""The bits of marks that are ours: they say by which uplink a connection to a forwarded port came in."""
MAIN = 254


class AddRule(Value):
    rule: PolicyRule

    def __str__(self) -> str:
        return f"route by source: {self.rule}"


class RemoveRule(Value):
    rule: PolicyRule

    def __str__(self) -> str:
        return f"no longer route by source: {self.rule}"


class AddDefaultRoute(Value):
    """The default route of a table that nobody else uses; or one to `destination`, in the table it is given."""

    table: int
    link: str
    gateway: str
    destination: str = ""

    def __str__(self) -> str:
        if self.destination:
            return f"route {self.destination} via {self.gateway} on {self.link}"
        return f"route table {self.table} by default via {self.gateway} on {self.link}"


class RemoveDefaultRoute(Value):
    """Remove a route of our own from a table."""

    table: int
    link: str
    gateway: str
    destination: str = ""

    def __str__(self) -> str:
        if self.destination:
            return f"no longer route {self.destination} via {self.gateway}"
        return f"remove the default route via {self.gateway} from table {self.table}"


WayStep = AddRule | RemoveRule | AddDefaultRoute | RemoveDefaultRoute


def uplink_by_source(lab: Lab, network: Network) -> Mapping[str, str]:
    """Who on `network` is told which uplink: the network by its subnet, guests by their addresses."""
    found: dict[str, str] = {}
    for name, ports in lab.ports().items():
        uplink = lab.uplink_of(name)
        if uplink in lab.uplinks:
            found |= {one.address: uplink for one in ports if one.network == network.name and one.address}
    if network.uplink and not network.external:
        found[str(network.subnet)] = network.uplink
    return {} if network.external else found


def used_uplinks(lab: Lab, network: Network) -> list[Uplink]:
    """The uplinks somebody on `network` is told to use."""
    return [lab.uplinks[name] for name in sorted(set(uplink_by_source(lab, network).values()))]


def answering(lab: Lab, network: Network) -> dict[str, int]:
    """The uplinks by which answers of forwarded ports leave that came in there, by name, each with its mark.

    Of two uplinks on one link it is not told by which of them a packet came.
    """
    if lab.firewall != "nftables" or network.external or not network.forward:
        return {}
    known: dict[tuple[str, str], str] = {}  # one that was renamed under a guest that runs is there by both names
    for name, one in lab.uplinks.items():
        known.setdefault((str(one.interface), str(one.gateway)), name)
    links, names = [interface for interface, _ in known], sorted(known.values())
    return {
        name: number << 24
        for number, name in enumerate(names, 1)
        if number < 128 and links.count(lab.uplinks[name].interface) == 1 and (lab.uplinks[name].gateway is not None)
    }


def involved(lab: Lab, network: Network) -> list[Uplink]:
    """The uplinks whose tables matter to `network`."""
    named = {one.name for one in used_uplinks(lab, network)}
    return [lab.uplinks[name] for name in sorted(named | answering(lab, network).keys())]


def rules(lab: Lab, network: Network) -> list[PolicyRule]:
    """The rules `network` wants, in the order of their priorities.

    None to a provider of Shorewall: one of ours would stand before the marks by which it sends an answer back where
    the request came in. Its `rtrules` have a line instead, which comes after them.
    """
    told = {
        source: name
        for source, name in uplink_by_source(lab, network).items()
        if not is_provider(lab, lab.uplinks[name])
    }
    marks = answering(lab, network)
    if not (told or marks):
        return []
    subnet = str(network.subnet)
    wanted = [PolicyRule(priority=_SPECIFIC, source=subnet, table=MAIN, specific=True)]
    for name, mark in marks.items():
        wanted.append(PolicyRule(priority=_ANSWERS, source=subnet, table=lab.uplinks[name].number(), mark=mark))
    for source, uplink in sorted(told.items()):
        table = lab.uplinks[uplink].number()
        whole = source == subnet
        wanted.append(
            PolicyRule(
                priority=_NETWORKS if whole else _GUESTS, source=source if whole else f"{source}/32", table=table
            )
        )
    return sorted(wanted, key=lambda rule: rule.priority)


def up_steps(lab: Lab, network: Network, now: RoutingFacts) -> Iterator[WayStep]:
    """What is still to be done. Raises Refused for an uplink whose table others use for another way."""
    wanted = rules(lab, network)
    mine = _mine(lab, network, now)
    yield from (RemoveRule(rule=rule) for rule in mine if rule not in wanted)
    yield from _unused(now, wanted, mine)
    needed = {one.name for one in used_uplinks(lab, network)}
    for uplink in involved(lab, network):
        if is_provider(lab, uplink):
            continue
        try:
            yield from _default(uplink, now)
        except Refused:
            if uplink.name in needed:
                raise
    yield from (AddRule(rule=rule) for rule in wanted if rule not in mine)
    yield from _behind(lab, network, now)


def _behind(lab: Lab, network: Network, now: RoutingFacts) -> Iterator[WayStep]:
    """The routes to what is behind guests of the network; they go with its bridge."""
    ports = lab.ports()
    addresses = {
        name: one.address for name, here in ports.items() for one in here if one.network == network.name and one.address
    }
    named = {str(one.subnet): addresses.get(one.via, one.via) for one in network.routes}
    wanted = {to: via for to, via in named.items() if via[:1].isdigit() and "." in via}  # a guest with errors has none
    there = [one for one in now.routes.get(MAIN, ()) if one.ours and one.destination and one.link == network.bridge]
    for one in there:
        if wanted.get(one.destination) != one.gateway:
            yield RemoveDefaultRoute(table=MAIN, link=one.link, gateway=one.gateway, destination=one.destination)
    present = {(one.destination, one.gateway) for one in there}
    for destination, gateway in wanted.items():
        if (destination, gateway) not in present:
            yield AddDefaultRoute(table=MAIN, link=network.bridge, gateway=gateway, destination=destination)


def down_steps(lab: Lab, network: Network, now: RoutingFacts) -> Iterator[WayStep]:
    """What takes the network's rules away, and the default routes that only they led to."""
    mine = _mine(lab, network, now)
    yield from (RemoveRule(rule=rule) for rule in mine)
    yield from _unused(now, [], mine)


def gateway_list(uplinks: Iterable[Uplink]) -> list[tuple[str, str]]:
    """Where the uplinks lead, as (link, address), as far as they say."""
    return [(str(one.interface), str(one.gateway)) for one in uplinks if one.gateway]


def unavailable_uplinks(lab: Lab, network: Network, now: RoutingFacts) -> list[str]:
    """A sentence for each uplink that somebody is told to use and cannot now."""
    found = []
    for uplink in used_uplinks(lab, network):
        told = ", ".join(
            source for source, name in sorted(uplink_by_source(lab, network).items()) if name == uplink.name
        )
        if uplink.interface not in now.links:
            found.append(
                f"uplink {uplink.name} of {told}: {uplink.interface} is not there or down; another way is taken"
            )
        elif not _fits(uplink, now) and (uplink.gateway is None or is_provider(lab, uplink)):
            whose = ", which Shorewall makes" if is_provider(lab, uplink) else ""
            none = f"table {uplink.number()} has no default route{whose}"
            found.append(f"uplink {uplink.name} of {told}: {none}; another way is taken")
        elif (uplink.interface, str(uplink.gateway)) in now.silent:
            lost = "does not answer; what is sent there is lost"
            found.append(f"uplink {uplink.name} of {told}: {uplink.gateway} on {uplink.interface} {lost}")
    return found


def is_provider(lab: Lab, uplink: Uplink) -> bool:
    """Whether the uplink's table is a provider's of Shorewall, which puts its routes there."""
    return lab.firewall == "shorewall" and uplink.table is not None


def _mine(lab: Lab, network: Network, now: RoutingFacts) -> list[PolicyRule]:
    """Those of our rules that are about this network, also as it was brought up."""
    subnets = (network.subnet, lab.as_up(network).subnet)
    return [rule for rule in now.rules if any(rule.within(one) for one in subnets)]


def _unused(now: RoutingFacts, wanted: list[PolicyRule], mine: list[PolicyRule]) -> Iterator[RemoveDefaultRoute]:
    """Our default routes in tables that no rule of ours leads to once `mine` are `wanted`."""
    left = {rule.table for rule in (*wanted, *(rule for rule in now.rules if rule not in mine))}
    for table in sorted({rule.table for rule in mine} - left):
        yield from _removals(table, now)


def _removals(table: int, now: RoutingFacts) -> Iterator[RemoveDefaultRoute]:
    for route in now.routes.get(table, ()):
        if route.ours and not route.destination:
            yield RemoveDefaultRoute(table=table, link=route.link, gateway=route.gateway)


def _default(uplink: Uplink, now: RoutingFacts) -> Iterator[WayStep]:
    """The default route of the uplink's table, if it lacks one and the table is nobody else's."""
    number, routes = uplink.number(), now.routes.get(uplink.number(), ())
    if uplink.interface not in now.links or _fits(uplink, now):
        return
    if others := [route for route in routes if not route.ours]:
        fix = f"choose another table in uplink.{uplink.name}, or leave table out"
        reason = f"it routes {others[0].destination or 'by default'} through {others[0].link or 'several links'}"
        raise Refused(f"table {number} of uplink {uplink.name} is taken", fix, reason=reason)
    yield from _removals(number, now)
    if uplink.gateway:
        yield AddDefaultRoute(table=number, link=uplink.interface, gateway=str(uplink.gateway))


def _fits(uplink: Uplink, now: RoutingFacts) -> bool:
    """Whether the uplink's table leads out by it already."""
    gateways = {str(uplink.gateway)} if uplink.gateway else None
    return any(
        not route.destination and route.link == uplink.interface and (gateways is None or route.gateway in gateways)
        for route in now.routes.get(uplink.number(), ())
    )
