"""How the kernel routes between host and guests, and which rules and routes of others precede its own.

The kernel makes two routes with an address of the bridge: one to the subnet, and one that delivers what is sent to the
address itself. Both can be deleted while the address stays. Rules and routes of others may go before them.
"""

from collections.abc import Iterator
from typing import Literal

from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.value import Value


class KernelRoute(Value):
    """One of the two routes of an address "IP/PREFIX" of the bridge `link`."""

    link: str
    address: str
    kind: Literal["subnet", "local"]

    def __str__(self) -> str:
        if self.kind == "local":
            return f"put back the local route of {self.address.partition('/')[0]} on {self.link}"
        return f"put back the route to the subnet of {self.address} on {self.link}"


class Neighbour(Value):
    """An entry on the bridge that somebody wrote down: `mac` is "" where the host is to answer for the address."""

    link: str
    address: str
    mac: str

    def __str__(self) -> str:
        if not self.mac:
            return f"remove from {self.link} the proxy entry for {self.address}"
        return f"remove from {self.link} the permanent entry that {self.address} is at {self.mac}"


class Diversion(Value):
    """A rule or a route of somebody else that takes what belongs to the network: as ip writes it.

    `lost` says that what it takes goes nowhere.
    """

    kind: Literal["rule", "route"]
    text: str
    lost: bool


class Reach(Value):
    """`missing` are routes of the kernel's own that are gone, `neighbours` entries that are wrong, `astray` addresses
    of the network that the kernel does not send to its bridge, each with where to instead, "" for nowhere.
    `queues` are queueing disciplines that somebody has put on the bridge or its ports, as (link, kind).
    """

    missing: tuple[KernelRoute, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    astray: tuple[tuple[str, str], ...] = ()
    diversions: tuple[Diversion, ...] = ()
    queues: tuple[tuple[str, str], ...] = ()


def steps(found: Reach) -> Iterator[KernelRoute | Neighbour]:
    """The steps that restore routes and neighbour entries of ours."""
    yield from found.missing
    yield from found.neighbours


def problems(lab: Lab, network: Network, found: Reach) -> Iterator[tuple[str, str]]:
    """What only a person can decide, each with its fix: a rule or a route of somebody else may be wanted."""
    for one in found.diversions:
        if one.kind == "rule" and not one.lost and lab.firewall == "shorewall":
            continue  # Shorewall's rtrules choose providers this way
        what = "drops" if one.lost else "goes before the routes of"
        yield f"the {one.kind} {one.text} {what} {network.subnet}", f"ip {one.kind} del {one.text}"
    if found.astray and not (found.missing or found.diversions):
        address, link = found.astray[0]
        where = f"to {link}" if link else "nowhere"
        yield f"{address} is routed {where}, not to {network.bridge}", f"ip route get {address}; ip rule; ip route"


def shaped(found: Reach) -> Iterator[tuple[str, str]]:
    """Queueing disciplines of somebody else, which may be wanted, each with the command that removes it."""
    for link, kind in found.queues:
        place = kind if kind in {"ingress", "clsact"} else "root"
        text = f"{link} has the queueing discipline {kind}, which may delay, drop or redirect what passes"
        yield text, f"tc qdisc del dev {link} {place}"


def wrong_neighbours(lab: Lab, network: Network, entries: tuple[Neighbour, ...]) -> tuple[Neighbour, ...]:
    """The entries that do not name the MAC of a guest at its address."""
    known = {(one.address, one.mac) for ports in lab.ports().values() for one in ports if one.network == network.name}
    return tuple(one for one in entries if (one.address, one.mac) not in known)
