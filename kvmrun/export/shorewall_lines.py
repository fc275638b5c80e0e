"""What a lab needs of a configuration of Shorewall that somebody wrote: the lines that are not there yet, by file."""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network

from kvmrun.export import shorewall_export
from kvmrun.export.shorewall_file import Entry, entry
from kvmrun.export.shorewall_zones import ShorewallView
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.value import Value

FILES = ("zones", "interfaces", "policy", "snat", "masq", "rules", "providers", "rtrules", "stoppedrules")


class _Interface(Value):
    """A line of the file `interfaces`: `name` is what other files call it, `link` the interface itself."""

    zone: str
    name: str
    link: str
    options: tuple[str, ...]


def missing_lines(lab: Lab, found: ShorewallView, present: Mapping[str, str]) -> dict[str, str]:
    """The lines to add, by file, each below what it is for. `present` are the files that are there, by name."""
    interfaces = _interfaces(present.get("interfaces", ""))
    zones = {name: zone for name in found.zones if (zone := _zone(interfaces, _network(found, name).bridge))}
    outside = next((zone for link in found.links if (zone := _zone(interfaces, link))), found.outside)
    fresh = {name: zone for name, zone in found.zones.items() if name not in zones}
    found = found.replace(zones={**found.zones, **zones}, outside=outside)
    tables: dict[str, Iterable[Entry]] = {
        "zones": [
            one for one in shorewall_export.zones(found, lab) if one.columns[:1] and one.columns[0] in fresh.values()
        ],
        "interfaces": [line for one in found.networks for line in _options(one, found, interfaces)],
        "policy": [one for one in shorewall_export.policy(found) if {*one.columns[:2]} & {*fresh.values()}],
        "snat": [one for one in shorewall_export.snat(found, lab) if not _is_masqueraded(one, present, interfaces)],
        "rules": [one for one in shorewall_export.rules(found, lab) if _concerns(one, found)],
        "providers": () if "providers" in present else shorewall_export.providers(found),
        "rtrules": shorewall_export.rtrules(found) if found.chosen else (),
        "stoppedrules": shorewall_export.stopped(found),
    }
    names = {one.link: one.name for one in interfaces}
    named = {file: [_renamed(one, names) for one in entries] for file, entries in tables.items()}
    left = {file: [one for one in entries if not _has(present.get(file, ""), one)] for file, entries in named.items()}
    return {name: "\n".join(map(str, entries)) for name, entries in left.items() if entries}


def _network(found: ShorewallView, name: str) -> Network:
    return next(one for one in found.networks if one.name == name)


def _rows(text: str) -> list[list[str]]:
    """The lines of a file in columns, without comments and directives; a line may go on after a backslash."""
    whole = re.sub(r"\\\n\s*", "", text)
    lines = (line.partition("#")[0].split() for line in whole.splitlines())
    return [line for line in lines if line and not line[0].startswith("?")]


def _interfaces(text: str) -> list[_Interface]:
    """In the older form there is a column between interface and options."""
    at = 2 if re.search(r"^\s*\?FORMAT\s+2", text, re.MULTILINE) else 3
    found = []
    for row in (row for row in _rows(text) if len(row) > 1):
        options = tuple(row[at].split(",")) if len(row) > at else ()
        link = next((one.partition("=")[2] for one in options if one.startswith("physical=")), row[1])
        found.append(_Interface(zone=row[0], name=row[1], link=link, options=options))
    return found


def _renamed(one: Entry, names: Mapping[str, str]) -> Entry:
    """The line with the names that the files have for interfaces."""
    return one.replace(columns=tuple(names.get(column, column) for column in one.columns))


def _zone(interfaces: Iterable[_Interface], link: str) -> str:
    return next((one.zone for one in interfaces if _fits(one.link, link) and one.zone != "-"), "")


def _fits(pattern: str, link: str) -> bool:
    return link.startswith(pattern[:-1]) if pattern.endswith("+") else pattern == link


def _options(network: Network, found: ShorewallView, interfaces: Iterable[_Interface]) -> Iterable[Entry]:
    """The line of the bridge, with the options that it lacks."""
    own = next((one for one in shorewall_export.interfaces(found) if one.columns[1:2] == (network.bridge,)), entry(""))
    there = next((one for one in interfaces if _fits(one.link, network.bridge)), None)
    if there is None:
        yield entry(own.reason, *own.columns[:3])
        return
    wanted = ["routeback=0" if network.isolate else "routeback", *(["dhcp"] if network.dhcp else [])]
    names = {one.partition("=")[0] for one in there.options}
    if lacking := [one for one in wanted if one.partition("=")[0] not in names]:
        options = ",".join([*(one for one in there.options if one != "-"), *lacking])
        reason = f"in place of the line of {there.name}: it lacks {', '.join(lacking)}"
        yield entry(reason, there.zone, there.name, options)


def _is_masqueraded(wanted: Entry, present: Mapping[str, str], interfaces: Iterable[_Interface]) -> bool:
    """Whether a line masquerades these guests already; in the older file, masq, the interface stands first."""
    if wanted.columns[0] != "MASQUERADE":
        return bool(present.get("snat"))
    _, subnet, link = wanted.columns
    names = {link, *(one.name for one in interfaces if one.link == link)}
    rows = [(row[1:2], row[2:3]) for row in _rows(present.get("snat", "")) if row[0].startswith(("MASQ", "SNAT"))]
    rows += [(row[1:2], row[:1]) for row in _rows(present.get("masq", ""))]
    return any(
        bool(names & {one.partition(":")[0] for out in to for one in out.split(",")}) and _covers(source, subnet)
        for source, to in rows
    )


def _covers(source: Iterable[str], subnet: str) -> bool:
    """Whether one of the networks named there has the subnet in it."""
    for one in ",".join(source).split(","):
        try:
            if IPv4Network(subnet).subnet_of(IPv4Network(one)):
                return True
        except ValueError:  # an interface, a set or a variable
            continue
    return False


def _concerns(one: Entry, found: ShorewallView) -> bool:
    """Whether a rule is about guests: the others are the owner's to write."""
    zones = {*found.zones.values()}
    return any(column.partition(":")[0] in zones for column in one.columns[1:3])


def _has(text: str, one: Entry) -> bool:
    wanted = [column for column in one.columns if column]
    return not wanted or wanted in _rows(text)
