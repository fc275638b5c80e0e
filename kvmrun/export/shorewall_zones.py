"""What Shorewall is told of a lab, drawn from the lab once: zones, ways out and providers."""

import re
from collections.abc import Iterable, Mapping

from kvmrun.errors import Refused
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network, Uplink
from kvmrun.model.value import EMPTY, Value

OUTSIDE = "net"
_RESERVED = frozenset({"fw", OUTSIDE, "all", "any", "none"})
_LONGEST = 5
"""Of a zone's name, so that it fits into a log prefix whatever LOGFORMAT is."""
_NO_PROVIDER = frozenset({"local", "main", "default", "balance", "unspec"})


class ShorewallView(Value):
    """A lab as a firewall sees it.

    `zones` are by network, `links` those that lead out, `providers` the uplinks with a routing table. By the
    uplink's name, `own` has the host's address towards the gateway and `macs` the gateway's MAC. `chosen` is who asked
    for an uplink, as (source, uplink, who); `outside` the zone beyond the uplinks.
    """

    networks: tuple[Network, ...]
    zones: Mapping[str, str]
    links: tuple[str, ...]
    providers: tuple[Uplink, ...]
    own: Mapping[str, str]
    chosen: tuple[tuple[str, str, str], ...]
    macs: Mapping[str, str] = EMPTY
    outside: str = OUTSIDE

    def shares(self, uplink: Uplink) -> bool:
        """Whether another provider is reached through the same interface."""
        return sum(one.interface == uplink.interface for one in self.providers) > 1

    def is_shared(self, link: str) -> bool:
        return any(one.interface == link and self.shares(one) for one in self.providers)


def shorewall_view(lab: Lab, links: Iterable[str], own: Mapping[str, str]) -> ShorewallView:
    """`links` lead out where the lab names no uplink. Raises Refused for what Shorewall could not do."""
    named = tuple(dict.fromkeys(str(one.interface) for one in lab.uplinks.values())) or tuple(links)
    if not named:
        fix = 'add to networks.toml: [uplink.net] and interface = "eth0"'
        raise Refused("no uplink of this host is known", fix, reason="the lab names no uplink, the host has no route")
    networks = tuple(one for one in lab.networks.values() if not one.external)
    chosen = tuple(_chosen(lab, networks))
    tables = tuple(one for one in lab.uplinks.values() if one.table is not None)
    found = ShorewallView(
        networks=networks,
        zones=_zones(networks),
        links=named,
        providers=tables if len(lab.uplinks) > 1 or chosen else (),
        own=own,
        chosen=chosen,
    )
    _refuse_unable(found)
    return found


def provider(name: str) -> str:
    """The name of an uplink as a provider's; Shorewall keeps those of the kernel's own tables for itself."""
    return f"{name}_" if name in _NO_PROVIDER else name


def _zones(networks: Iterable[Network]) -> dict[str, str]:
    zones: dict[str, str] = {}
    for network in networks:
        numbered = (f"{network.name[: _LONGEST - 2]}{number}" for number in range(1, 100))
        others = (f"z{network.name[: _LONGEST - 3]}{number}" for number in range(1, 100))
        names = (network.name[:_LONGEST], *numbered, *others)
        zones[network.name] = next(name for name in names if _is_free(name) and name not in zones.values())
    return zones


def _is_free(zone: str) -> bool:
    # Shorewall's rules take every word that begins with "any" for the wildcard, whatever follows
    return zone not in _RESERVED and not re.match(r"any|all2|.*2all$", zone)


def _chosen(lab: Lab, networks: Iterable[Network]) -> Iterable[tuple[str, str, str]]:
    """Guests that ask for an uplink, then networks: the rules are looked at in this order."""
    here = {network.name for network in networks}
    for name, ports in lab.ports().items():
        if uplink := getattr(lab.guests[name], "uplink", None):
            yield from ((port.address, uplink, name) for port in ports if port.address and port.network in here)
    for network in networks:
        if uplink := getattr(network, "uplink", None):
            yield str(network.subnet), uplink, f"network {network.name}"


def _refuse_unable(found: ShorewallView) -> None:
    for one in found.providers:
        if found.shares(one) and one.gateway is None:
            fix = f'add gateway = "…" to uplink.{one.name} in networks.toml'
            raise Refused(f"uplink {one.name} shares {one.interface} and has no gateway", fix)
        if found.shares(one) and one.name not in found.own:
            fix = f"bring {one.interface} up, with an address, and export again"
            reason = (
                f"Shorewall wants the host's own address there, and {one.interface} has none that reaches {one.gateway}"
            )
            raise Refused(f"uplink {one.name} cannot be reached", fix, reason=reason)
    known = {str(one.name) for one in found.providers}
    for _, uplink, who in found.chosen:
        if uplink not in known:
            fix = f"add table = 101 (or another number) to uplink.{uplink} in networks.toml"
            raise Refused(
                f"{who} asks for uplink {uplink}, which is not a provider", fix, reason="it has no routing table"
            )
