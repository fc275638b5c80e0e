"""Networks for people: a few lines each, what is wrong first."""

import time
from collections.abc import Iterable, Iterator

from kvmrun.model.finding import Finding
from kvmrun.model.network.network_status import EgressStatus, NetworkStatus
from kvmrun.model.printable import printable
from kvmrun.ui.text import doctor_text
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.output import fold

_HIDDEN = "unknown: only root can read it"


def pasteable(one: NetworkStatus) -> NetworkStatus:
    """The status with commands that mean this lab, for people and for programs."""
    return one.replace(problem=one.problem and fix(one.problem), warnings=tuple(map(fix, one.warnings)))


def network_lines(found: Iterable[NetworkStatus], problems: Iterable[Finding]) -> Iterator[str]:
    """The status of every network, then what is wrong with the host as a whole."""
    for one in found:
        yield f"{one.name}: {one.state}"
        if one.problem:
            yield fold(f"  problem  {printable(one.problem, 400)}", 11)
        ports = ", ".join(f"{port.tap} ({port.guest or 'unknown'})" for port in one.ports)
        yield f"  bridge   {one.bridge} {one.address or 'is not there'}"
        yield fold(f"  ports    {printable(ports) or 'none'}", 11)
        yield f"  dnsmasq  {one.dnsmasq or _HIDDEN}"
        if one.domain and one.address:
            server = one.address.partition("/")[0]
            here = f"on this host by {one.resolver}" if one.resolver else "this host asks another server"
            yield f"  names    *.{one.domain} at {server}; {here}"
        yield f"  rules    {one.rules or _HIDDEN}"
        yield f"  uplink   {printable(one.uplink or 'none')}"
        for egress, guests in _ways(one.ways).items():
            yield fold(f"  egress   {printable(egress)}: {printable(', '.join(guests), 1000)}", 11)
        for provider in one.providers:
            yield fold(f"  provider {printable(provider, 200)}", 11)
        for warning in one.warnings:
            yield fold(f"  warning  {printable(warning, 400)}", 11)
        for lease in one.leases:
            left = "for good" if not lease.expires else f"{max(0, lease.expires - int(time.time())) // 60} min left"
            yield f"  lease    {lease.address:<15} {lease.mac}  {lease.name or '(no name)'}  {left}"
    for problem in problems:
        yield fold(f"problem: {printable(problem.text, 1000)}", 9)
        yield from doctor_text.fix_lines(problem, 9, color=False)


def _ways(ways: Iterable[EgressStatus]) -> dict[str, list[str]]:
    """The guests by the way they would leave, in words that say whether it is the one they are told to take."""
    found: dict[str, list[str]] = {}
    for way in ways:
        words = way.egress if way.egress else "none"
        words += f" ({way.uplink})" if way.uplink else ""
        words += f", not by {way.told} as told" if way.told and way.told != way.uplink else ""
        found.setdefault(words, []).append(f"{way.guest} ({way.address})")
    return found
