"""Networks for people: a few lines each, what is wrong first."""

import time
from collections.abc import Iterable, Iterator

from kvmrun.model.text import printable
from kvmrun.model.wire import NetworkStatus


def lines(found: Iterable[NetworkStatus], problems: Iterable[str]) -> Iterator[str]:
    """The status of every network, then what is wrong with the host as a whole."""
    for one in found:
        yield f"{one.name}: {one.state}"
        if one.problem:
            yield f"  problem  {printable(one.problem, 400)}"
        ports = ", ".join(f"{port.tap} ({port.guest or 'unknown'})" for port in one.ports)
        yield f"  bridge   {one.bridge} {one.address}"
        yield f"  ports    {printable(ports) or 'none'}"
        yield f"  dnsmasq  {one.dnsmasq}"
        if one.domain:
            server = one.address.partition("/")[0]
            yield f"  names    *.{one.domain} at {server}; for the host: {_resolver(one.bridge, server, one.domain)}"
        yield f"  rules    {one.rules}"
        yield f"  uplink   {printable(one.uplink or 'none')}"
        for lease in one.leases:
            left = "for good" if not lease.expires else f"{max(0, lease.expires - int(time.time())) // 60} min left"
            yield f"  lease    {lease.address:<15} {lease.mac}  {lease.name or '(no name)'}  {left}"
    for problem in problems:
        yield f"problem: {printable(problem, 1000)}"


def _resolver(bridge: str, server: str, domain: str) -> str:
    """What has systemd-resolved ask for the guests' names; offered, never done."""
    return f"resolvectl dns {bridge} {server}; resolvectl domain {bridge} '~{domain}'"
