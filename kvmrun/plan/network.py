"""A network up or down: the bridge as it should be, against the bridge as it is."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

from kvmrun.errors import Refused
from kvmrun.model import derive
from kvmrun.model.network import Network
from kvmrun.plan.facts import Bridge, Route
from kvmrun.plan.steps import AddAddress, MakeBridge, NetworkStep, RemoveAddress, RemoveBridge, SetBridge, SetUp

MARK = "kvmrun:"


def up(network: Network, seed: str, found: Bridge | None, routes: Iterable[Route]) -> tuple[NetworkStep, ...]:
    """The steps that make `network` right; none when it is. `routes` is asked only when the bridge is made.

    Raises Refused when the name belongs to somebody else's link, or the subnet to another route of the host.
    """
    if network.external:
        _accept_external(network, found)
        return ()
    if found is not None:
        _refuse_foreign(network, found)
        return tuple(_mend(network, seed, found))
    _refuse_overlap(network, routes)
    mac = derive.mac(seed, "bridge", network.bridge)
    return (
        MakeBridge(name=network.bridge, alias=mark(network)),
        SetBridge(name=network.bridge, mac=mac, mtu=network.mtu),
        AddAddress(link=network.bridge, address=str(network.host_address())),
        SetUp(link=network.bridge),
    )


def down(network: Network, found: Bridge | None, *, force: bool) -> tuple[NetworkStep, ...]:
    """The steps that take `network` away. Raises Refused while guests are attached, unless `force`."""
    if found is None or network.external:
        return ()
    _refuse_foreign(network, found)
    if found.ports and not force:
        ports = ", ".join(found.ports)
        hint = f"kvmrun stop the guests first, or kvmrun net down --force {network.name}"
        raise Refused(f"network {network.name} is in use", hint, why=f"{ports} on {network.bridge}")
    return (RemoveBridge(name=network.bridge),)


def mark(network: Network) -> str:
    """The alias that says a bridge is ours, and which network it is."""
    return f"{MARK}net:{network.name}"


def is_right(network: Network, seed: str, found: Bridge | None) -> bool:
    """Whether nothing would be done to bring `network` up."""
    return found is not None and not up(network, seed, found, ())


def _mend(network: Network, seed: str, found: Bridge) -> Iterator[NetworkStep]:
    mac = derive.mac(seed, "bridge", network.bridge)
    if (found.mac, found.mtu, found.stp, found.forward_delay) != (mac, network.mtu, False, 0):
        yield SetBridge(name=network.bridge, mac=mac, mtu=network.mtu)
    wanted = str(network.host_address())
    for address in found.addresses:
        if address != wanted:
            yield RemoveAddress(link=network.bridge, address=address)
    if wanted not in found.addresses:
        yield AddAddress(link=network.bridge, address=wanted)
    if not found.up:
        yield SetUp(link=network.bridge)


def _accept_external(network: Network, found: Bridge | None) -> None:
    if found is None:
        hint = f"make it, or set external = false in network.{network.name}"
        raise Refused(f"bridge {network.bridge} does not exist", hint, why="an external bridge is never made by us")
    if found.kind != "bridge":
        hint = f"name a bridge in network.{network.name}"
        raise Refused(f"{network.bridge} is not a bridge", hint, why=f"its kind is {found.kind or 'physical'}")


def _refuse_foreign(network: Network, found: Bridge) -> None:
    if found.kind == "bridge" and found.alias == mark(network):
        return
    kind = found.kind or "physical interface"
    why = f"it is a {kind} without our mark ({mark(network)})"
    if found.kind == "bridge" and found.alias.startswith(MARK):
        why = f"it is another network's: {found.alias}"
    hint = f"choose another bridge name in network.{network.name}, or set external = true to use it unchanged"
    raise Refused(f"{network.bridge} exists and is not ours", hint, why=why)


def _refuse_overlap(network: Network, routes: Iterable[Route]) -> None:
    for route in routes:
        if IPv4Network(route.destination).overlaps(network.subnet) and route.link != network.bridge:
            hint = f"choose another subnet in networks.toml, such as {_elsewhere(network.subnet, routes)}"
            why = f"the host has a route to {route.destination} through {route.link}"
            raise Refused(f"subnet {network.subnet} of network {network.name} overlaps another route", hint, why=why)


def _elsewhere(subnet: IPv4Network, routes: Iterable[Route]) -> str:
    taken = [IPv4Network(route.destination) for route in routes]
    for third in (*range(100, 255), *range(100)):
        free = IPv4Network(f"192.168.{third}.0/24")
        if not any(free.overlaps(one) for one in taken) and free != subnet:
            return str(free)
    return "10.77.0.0/24"
