"""The bridge of a network: as it should be, against what is there by that name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, ip_interface
from itertools import product

from kvmrun.errors import Refused
from kvmrun.model import derive
from kvmrun.model.lab import Lab
from kvmrun.model.network import link_alias
from kvmrun.model.network.network import Network
from kvmrun.model.printable import quoted
from kvmrun.plan.host_facts import Bridge, Route
from kvmrun.plan.steps.network_steps import (
    AddAddress,
    MakeBridge,
    MarkBridge,
    NetworkStep,
    RemoveAddress,
    RenameBridge,
    SetBridge,
    SetLinkUp,
)

SETTINGS: Mapping[int, tuple[str, int]] = {
    4: ("ageing time", 30000),
    7: ("VLAN filtering", 0),
    9: ("mask of forwarded groups", 0),
    22: ("multicast router", 1),
    23: ("multicast snooping", 1),
    25: ("multicast querier", 0),
}
"""Attributes IFLA_BR_* of a bridge: name and the kernel's default, which is what we want."""

CONF = (
    "ipv4/proxy_arp",
    "ipv4/rp_filter",
    "ipv4/accept_source_route",
    "ipv4/arp_filter",
    "ipv4/disable_xfrm",
    "ipv4/disable_policy",
    "ipv4/arp_ignore",
    "ipv4/arp_accept",
    "ipv4/accept_local",
    "ipv4/proxy_arp_pvlan",
    "ipv4/drop_unicast_in_l2_multicast",
    "ipv4/drop_gratuitous_arp",
    "ipv4/bc_forwarding",
)
"""Settings by which the bridge's own stack takes or answers packets: they are to be those of any new link."""
_DEAF = ("ipv4/arp_ignore", "8")
"""A value that no other firewall has a reason to set: the host answers no ARP request."""


def bridge_steps(
    lab: Lab, network: Network, found: Bridge | None, routes: Iterable[Route], *, occupant: Bridge | None = None
) -> Iterator[NetworkStep]:
    """The steps that make the bridge itself right; none when it is. `routes` is asked only when the bridge is made.

    Raises Refused when the name belongs to somebody else's link, or the subnet to another route of the host.
    """
    alias = link_alias.of_bridge(network.name, lab.identity)
    if found is None:
        refuse_overlap(network, routes)
        yield MakeBridge(name=network.bridge, alias=alias)
    else:
        refuse_foreign(lab, network, occupant or found)
        if found.renamed:
            yield RenameBridge(name=found.renamed, to=network.bridge)
        if found.alias != alias:
            yield MarkBridge(name=network.bridge, alias=alias)
    mac = lab.bridge_mac(network)
    differs = tuple(_attributes(lab, network, found)) if found else ()
    if found is None or differs:
        conf = tuple((name, found.usual[name]) for name in _conf(lab, found)) if found else ()
        yield SetBridge(name=network.bridge, mac=mac, mtu=network.mtu, differs=differs, conf=conf)


def bridge_differences(lab: Lab, network: Network, found: Bridge | None) -> list[str]:
    """What of the bridge is not as we set it, each to be read after its name; of an external one whether it serves."""
    if found is None:
        return ["is gone"]
    if found.kind != "bridge":
        return ["is no bridge"]
    down = [] if found.up else ["is down"]
    if network.external:
        return down
    if not is_ours(lab, network, found):
        return ["is not the bridge that was made for it"]
    return [
        *_identity(lab, network, found),
        *down,
        *_attributes(lab, network, found),
        *_addresses(network, found),
    ]


def _identity(lab: Lab, network: Network, found: Bridge) -> Iterator[str]:
    if found.renamed:
        yield f"is called {found.renamed} now"
    if not _is_marked(lab, network, found):
        yield "has lost its mark"


def sentence(lab: Lab, network: Network, found: Bridge | None) -> str:
    """The differences in words, "" for none."""
    wrong = bridge_differences(lab, network, found)
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"{network.bridge} {', '.join(wrong[:3])}{more}" if wrong else ""


def _attributes(lab: Lab, network: Network, found: Bridge) -> Iterator[str]:
    if found.mac != lab.bridge_mac(network):
        yield f"has the MAC {found.mac}"
    if found.mtu != network.mtu:
        yield f"has the MTU {found.mtu}"
    if found.stp:
        yield "has spanning tree on"
    if found.forward_delay:
        yield f"has a forwarding delay of {found.forward_delay / 100:g} s"
    for number, (name, value) in SETTINGS.items():
        if (now := found.settings.get(number, value)) != value:
            yield f"has {name} {now}"
    if not found.arp:
        yield "takes part in no ARP"
    if not found.multicast:
        yield "takes no multicast"
    yield from (f"has {name.rpartition('/')[2]} = {found.conf[name]}" for name in _conf(lab, found))


def _conf(lab: Lab, found: Bridge) -> list[str]:
    """The settings that are not what they would be on a new link; what another firewall sets is left to it."""
    wrong = [name for name in CONF if found.conf.get(name) != found.usual.get(name, found.conf.get(name))]
    return [name for name in wrong if lab.firewall == "nftables" or (name, found.conf[name]) == _DEAF]


def _addresses(network: Network, found: Bridge) -> Iterator[str]:
    wanted, have = _wanted_addresses(network), set(found.addresses)
    yield from (f"has not the address {address}" for address in sorted(wanted - have))
    yield from (f"has the address {address}" for address in sorted(have - wanted))
    yield from (f"loses the address {address} after a time" for address in sorted(wanted & {*found.limited}))
    if network.ipv6 and not found.link_local:
        yield "has no link-local address"


def _wanted_addresses(network: Network) -> set[str]:
    return {str(network.host_address()), *([six] if (six := network.host_address6()) else [])}


def address_steps(network: Network, found: Bridge | None) -> Iterator[NetworkStep]:
    """The steps that give the bridge its addresses, no others, and set it up."""
    wanted = _wanted_addresses(network)
    have = set(found.addresses) if found else set()
    stale = have - wanted
    renamed = found is not None and bool(found.renamed)
    missing = wanted if renamed else wanted - have  # a renamed bridge may have been set down, and lost them
    missing |= wanted & set(found.limited if found else ())  # given once more, an address lasts for ever
    for address in sorted(stale):
        keeps = tuple(sorted(one for one in wanted & have - missing if _in_one_subnet(one, address)))
        yield RemoveAddress(link=network.bridge, address=address, keeps=keeps)
    yield from (AddAddress(link=network.bridge, address=address) for address in sorted(missing))
    if found is not None and network.ipv6 and not found.link_local:
        yield AddAddress(link=network.bridge, address=f"{IPv6Address(derive.link_local(found.mac))}/64")
    if found is None or not found.up or renamed:
        yield SetLinkUp(link=network.bridge)


def _in_one_subnet(one: str, other: str) -> bool:
    return ip_interface(one).network == ip_interface(other).network


def accept_external(network: Network, found: Bridge | None) -> None:
    """Accept the bridge of an external network as it is. Raises Refused where it does not exist, or is no bridge."""
    if found is None:
        fix = f"make it, or set external = false in network.{network.name}"
        raise Refused(f"bridge {network.bridge} does not exist", fix, reason="an external bridge is never made by us")
    if found.kind != "bridge":
        fix = f"name a bridge in network.{network.name}"
        raise Refused(f"{network.bridge} is not a bridge", fix, reason=f"its kind is {found.kind or 'physical'}")


def is_ours(lab: Lab, network: Network, found: Bridge | None) -> bool:
    """Whether a link is the bridge of this network: by its mark, or by what was recorded when it was made.

    Anybody with the right to do so can write a mark; which device the kernel made for a network nobody can change. A
    record of an older version does not tell the device: then name and MAC do, of a bridge without any mark.
    """
    if found is None or found.kind != "bridge" or lab.now.devices.get(found.device, network.name) != network.name:
        return False
    if _is_marked(lab, network, found):
        return True
    record = lab.now.up.get(network.name)
    if record is None or record.network.bridge != network.bridge:
        return False
    if record.device:
        return found.device == record.device and (not found.renamed or found.mac == record.mac)
    return not (found.alias or found.renamed) and found.mac == record.mac


def _is_marked(lab: Lab, network: Network, found: Bridge) -> bool:
    """Whether the mark is that of this network, also as the lab wrote it before its directory was moved."""
    record = lab.now.up.get(network.name)
    labs = [lab.identity, *([record.lab] if record else [])]
    return any(link_alias.is_same(found.alias, link_alias.of_bridge(network.name, one)) for one in labs)


def refuse_foreign(lab: Lab, network: Network, found: Bridge) -> None:
    """Raises Refused for a link that is not the network's own bridge."""
    if is_ours(lab, network, found):
        return
    if found.kind == "bridge" and (other := link_alias.lab_of(found.alias)) not in {"", lab.identity}:
        name = link_alias.name(found.alias)
        fix = f"choose another bridge name in network.{network.name}, or kvmrun -C {quoted(other)} net down {name}"
        raise Refused(
            f"{network.bridge} is another lab's", fix, reason=f"it is the bridge of network {name} of {other}"
        )
    kind = found.kind or "physical interface"
    reason = f"it is a {kind} without our mark ({link_alias.of_bridge(network.name, lab.identity)})"
    if found.kind == "bridge" and found.alias.startswith(link_alias.MARK):
        reason = f"it is another network's: {found.alias}"
    fix = f"choose another bridge name in network.{network.name}, or set external = true to use it unchanged"
    if network.name in lab.now.up:
        fix = f"kvmrun net down {network.name}, which leaves {network.bridge} alone; then {fix}"
    raise Refused(f"{network.bridge} exists and is not ours", fix, reason=reason)


def refuse_overlap(network: Network, routes: Iterable[Route]) -> None:
    """Raises Refused where the subnet of a network overlaps a route of the host."""
    for route in routes:
        if IPv4Network(route.destination).overlaps(network.subnet) and route.link != network.bridge:
            fix = f"choose another subnet in networks.toml, such as {free_subnet(routes, network.subnet)}"
            whose = f", a bridge of the lab {route.lab}" if route.lab else ""
            reason = f"the host has a route to {route.destination} through {route.link}{whose}"
            raise Refused(
                f"subnet {network.subnet} of network {network.name} overlaps another route", fix, reason=reason
            )


def free_subnet(routes: Iterable[Route], *used: IPv4Network) -> str:
    """A private subnet to which the host has no route, and which is not in use otherwise."""
    taken = [*(IPv4Network(route.destination) for route in routes), *used]
    for prefix, third in product(("192.168", "172.31", "10.77"), (*range(100, 255), *range(100))):
        free = IPv4Network(f"{prefix}.{third}.0/24")
        if not any(free.overlaps(one) for one in taken):
            return str(free)
    return "10.77.0.0/24"


def refuse_in_use(network: Network, guests: Mapping[str, str], ports: Sequence[str], *, force: bool) -> None:
    """Raises Refused where ports are attached to the bridge; `guests` are the names of guests by their taps."""
    if ports and not force:
        attached = [f"{guests[port]} ({port})" if port in guests else port for port in ports]
        first = "".join(f" {name}" for name in sorted({guests[port] for port in ports if port in guests}))
        fix = f"{f'kvmrun stop{first}, or ' if first else ''}kvmrun net down --force {network.name}"
        raise Refused(f"network {network.name} is in use", fix, reason=f"{', '.join(attached)} on {network.bridge}")
