"""A lab as configuration of Shorewall 5.2: a zone a network, masquerading, port forwards, and several providers."""

from collections.abc import Iterable, Iterator, Mapping

from kvmrun.export.shorewall_file import Entry, entry, file_text
from kvmrun.export.shorewall_zones import ShorewallView, provider, shorewall_view
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network

KIND = "shorewall"
OLDEST = (5, 2)
_PRIORITY = 11001
"""Of a rule by source: after the rules by mark at 10000, which send an answer back where the request came in."""


def shorewall_files(
    lab: Lab, links: Iterable[str], own: Mapping[str, str], macs: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The files by name. `links` lead out where the lab names no uplink; by the uplink's name, `own` has the host's
    address on its interface, and `macs` the MAC of its gateway. Raises Refused for what Shorewall could not do.
    """
    found = view(lab, links, own, macs or {})
    tables = {
        "shorewall.conf": ("what differs from Shorewall's own defaults: merge it into yours", _settings(found)),
        "zones": ("one zone for the host, one for what is outside, one a network", zones(found, lab)),
        "interfaces": ("which zone is behind which interface", interfaces(found)),
        "policy": ("what happens where no rule says otherwise; the first line that fits", policy(found)),
        "snat": ("guests leave with the address of the interface they leave by", snat(found, lab)),
        "rules": ("exceptions to the policy, for new connections", rules(found, lab)),
        "stoppedrules": ("what still passes while Shorewall is stopped", stopped(found)),
    }
    if found.providers:
        tables["providers"] = ("the ways out, each with a routing table of its own", providers(found))
        tables["rtrules"] = ("who leaves by which provider; the rest by the one that has balance", rtrules(found))
    return {name: file_text(KIND, name, about, entries) for name, (about, entries) in tables.items()}


def view(lab: Lab, links: Iterable[str], own: Mapping[str, str], macs: Mapping[str, str]) -> ShorewallView:
    """The lab as Shorewall is told of it; a MAC that the lab gives goes before one that was seen."""
    given = {str(one.name): str(one.gateway_mac) for one in lab.uplinks.values() if one.gateway_mac}
    return shorewall_view(lab, links, own).replace(macs={**macs, **given})


def _settings(found: ShorewallView) -> Iterator[Entry]:
    yield entry("a configuration that is not enabled does not start", "STARTUP_ENABLED=Yes")
    yield entry("the host routes for its guests", "IP_FORWARDING=On")
    yield entry("replies may come by another way than the kernel expects: sfilter stands in", "ROUTE_FILTER=No")
    yield entry(
        "stopped, the host itself still reaches everything, and open connections go on", "ADMINISABSENTMINDED=Yes"
    )
    if found.providers:
        yield entry(
            "table main first, without a default route; then the rules, then table balance", "USE_DEFAULT_RT=Yes"
        )
        yield entry("every provider keeps its own connections", "TRACK_PROVIDERS=Yes")
        yield entry(
            "the default route that was there before comes back when Shorewall stops", "RESTORE_DEFAULT_ROUTE=Yes"
        )
        yield entry("marks are set before the routing decision", "MARK_IN_FORWARD_CHAIN=No")
    for network in found.networks:
        if network.ipv6:
            yield entry(f"{network.name} has IPv6, which this leaves alone: shorewall6 has files of its own", "")


def zones(found: ShorewallView, lab: Lab) -> Iterator[Entry]:
    yield entry("this host", "fw", "firewall")
    yield entry("everything beyond the uplinks", found.outside, "ipv4")
    for name, zone in found.zones.items():
        yield entry(f"guests of network {name}", zone, "ipv4")
    for network in lab.networks.values():
        if network.external:
            yield entry(f"network {network.name} is not here: its bridge is external, and its zone yours to write", "")


def interfaces(found: ShorewallView) -> Iterator[Entry]:
    yield entry("", "?FORMAT 2")
    ours = ",".join(subnet for network in found.networks for subnet in network.sources())
    for link in found.links:
        absent = "a wire that providers share must be there" if found.is_shared(link) else "it may be absent"
        options = ["dhcp", "tcpflags", "nosmurfs", "logmartians", "arp_ignore=1"]
        options += [] if found.is_shared(link) else ["optional"]
        options += [f"sfilter=({ours})"] if ours else []
        yield entry(f"an uplink; nobody out there has our addresses; {absent}", found.outside, link, ",".join(options))
    for network in found.networks:
        zone = found.zones[network.name]
        reason = "guests do not reach each other" if network.isolate else "guests reach each other through the host too"
        options = ["routeback=0" if network.isolate else "routeback", "tcpflags", "nosmurfs"]
        options += ["dhcp"] if network.dhcp else []
        yield entry(f"the bridge of {network.name}; {reason}", zone, network.bridge, ",".join(options))


def policy(found: ShorewallView) -> Iterator[Entry]:
    yield entry("the host reaches everything", "$FW", "all", "ACCEPT")
    for network in found.networks:
        zone = found.zones[network.name]
        if network.isolate:
            yield entry(f"guests of {network.name} are kept apart", zone, zone, "DROP")
        yield entry(f"guests of {network.name} reach the host, each other and the world", zone, "all", "ACCEPT")
        if network.policy == "open":
            yield entry(
                f"and the world reaches them: policy is open in network.{network.name}", found.outside, zone, "ACCEPT"
            )
    yield entry("no transit from uplink to uplink", found.outside, found.outside, "NONE")
    yield entry("nothing else comes in but replies", found.outside, "all", "DROP", "info")
    yield entry("the rest is refused, and logged", "all", "all", "REJECT", "info")


def snat(found: ShorewallView, lab: Lab) -> Iterator[Entry]:
    yield entry("", "?FORMAT 2")
    for network in found.networks:
        for link in _ways(network, found, lab):
            yield entry(f"guests of {network.name} by {link}", "MASQUERADE", ",".join(network.sources()), link)


def _ways(network: Network, found: ShorewallView, lab: Lab) -> tuple[str, ...]:
    if isinstance(network.nat, tuple):
        return tuple(dict.fromkeys(str(lab.uplinks[name].interface) for name in network.nat))
    return found.links if network.nat else ()


def rules(found: ShorewallView, lab: Lab) -> Iterator[Entry]:
    yield entry("", "?SECTION NEW")
    yield entry("a connection begins at its beginning", "Invalid(DROP)", found.outside, "all", "tcp")
    yield entry("reach this host from outside? Then this line without its #", "#SSH(ACCEPT)", found.outside, "$FW")
    for network in found.networks:
        zone = found.zones[network.name]
        if network.dns:
            yield entry(f"names for {network.name}, also under a stricter policy", "DNS(ACCEPT)", zone, "$FW")
        yield entry(f"{network.name} may ping the host", "Ping(ACCEPT)", zone, "$FW")
        yield from _forwards(network, found, lab)


def _forwards(network: Network, found: ShorewallView, lab: Lab) -> Iterator[Entry]:
    """From outside by any address of the host; from the host and other networks by its addresses on the bridges."""
    zone, ports = found.zones[network.name], lab.ports()
    others = ",".join(["$FW", *(name for name in found.zones.values() if name != zone)])
    hosts = ",".join(str(one.host_address().ip) for one in found.networks)
    for one in network.forward:
        address = next((port.address for port in ports.get(one.guest, ()) if port.network == network.name), None)
        if address is None:
            continue
        to = f"{zone}:{address}:{one.to}"
        yield entry(f"{one}", "DNAT", found.outside, to, one.protocol, str(one.port))
        yield entry("and from here", "DNAT", others, to, one.protocol, str(one.port), "-", hosts)


def stopped(found: ShorewallView) -> Iterator[Entry]:
    for network in found.networks:
        yield entry(
            f"guests of {network.name} have addresses and names, and reach the host", "ACCEPT", network.bridge, "$FW"
        )
        if not network.isolate:
            yield entry("and they reach each other, but nobody else", "ACCEPT", network.bridge, network.bridge)


def providers(found: ShorewallView) -> Iterator[Entry]:
    for number, one in enumerate(found.providers, 1):
        shared = found.shares(one)
        options = ["track", *(["loose"] if shared else [])]
        options += ["balance"] if number == 1 else [] if shared else ["fallback"]
        link = f"{one.interface}:{found.own[one.name]}" if shared else str(one.interface)
        known = f",{found.macs[one.name]}" if shared and one.name in found.macs else ""
        gateway = f"{one.gateway}{known}" if one.gateway else "detect"
        reason = "taken by all who are not told otherwise" if number == 1 else "taken by those who are sent there"
        reason += "; its gateway must answer when Shorewall starts" if shared and not known else ""
        table = str(one.table)
        yield entry(reason, provider(one.name), table, str(number), "-", link, gateway, ",".join(options))


def rtrules(found: ShorewallView) -> Iterator[Entry]:
    for number, (source, uplink, who) in enumerate(found.chosen):
        yield entry(f"{who} leaves by {uplink}", source, "-", provider(uplink), str(_PRIORITY + number))
    if not found.chosen:
        first = provider(found.providers[-1].name)
        yield entry(
            "nobody asks for one; a guest with uplink = … gets a line such as", f"#192.168.0.2\t-\t{first}\t11001"
        )
