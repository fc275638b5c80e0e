"""Facts of the host that a network depends on. Loaded while QEMU starts if the bridge exists."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from kvmrun.errors import Unresponsive
from kvmrun.host import resolved, sysctl
from kvmrun.host.facts.guest_facts import read
from kvmrun.host.links import bridges, link_list, persistent_taps, raw_netlink, tap_device
from kvmrun.host.rundir import rundir
from kvmrun.model.guest.nic import PersistentTap, Port
from kvmrun.model.lab import Lab
from kvmrun.model.network import link_alias
from kvmrun.model.network.network import Network
from kvmrun.model.paths import Paths
from kvmrun.plan.host_facts import Bridge, Link, NetworkFacts, PortOwner, Route, RoutingFacts
from kvmrun.plan.network import (
    dnsmasq_leases,
    dnsmasq_plan,
    host_resolver,
    ip_forwarding,
    nft_guard,
    nft_network,
    record_paths,
    uplink_routing,
)
from kvmrun.plan.network.bridge_plan import is_ours
from kvmrun.plan.network.reach import Reach

_MOMENT = 0.5
"""How long the kernel may take, in seconds, to remove a tap that nobody holds."""

_NO_LINKS = {"all", "default", "lo"}


def network_facts(lab: Lab, network: Network, where: Paths) -> NetworkFacts:
    """Everything that `network` depends on. Slow lookups are made only where a plan needs them."""
    seen = _links() if where.root else link_list.Links([], part=True)
    found, occupant = bridges.find(lab, network, lambda: seen)
    made = persistent_taps.made(where, network.name) if where.root else {}
    here, leftovers = _taps(lab, network, where, seen, made)
    if network.external:
        return NetworkFacts(bridge=found, ports=here if found else {}, leftovers=leftovers, made=made)
    at, note = dnsmasq_plan.files(lab, network, where), dnsmasq_plan.note(where, network)
    files = {path: text for path in (at.config, at.hosts, at.reservations, note) if (text := read(path)) is not None}
    pid = _dnsmasq(lab, where, network)
    now = NetworkFacts(
        bridge=found,
        occupant=occupant,
        former=_former(lab, network, seen),
        own=tuple(sorted({*own_bridges(lab, seen)} - {network.bridge})),
        hostname=os.uname().nodename.partition(".")[0].lower() or "host",
        hosts_file=(read("/etc/hosts") or "") if network.dns and network.dns.hosts else "",
        resolv=resolved.name_server_file(),
        ports={name: _as_port(network, found, tap) for name, tap in here.items()},
        leftovers=leftovers,
        made=made,
        kept=_kept(lab, network, where, found),
        routes=routes() if found is None else (),
        files=files,
        dnsmasq=pid,
        leases=leases(at.leases) if network.dhcp else (),
        owners=_owners(lab, where) if network.needs_dnsmasq() and not pid else (),
        rules=_loaded(lab, network, where, nft_network.table_name(network.name), record_paths.rules_record),
        guard=_loaded(lab, network, where, nft_guard.kept_table(network.name), record_paths.guard_record),
        changed=sysctl.changed_settings(where),
        routing=sysctl.read("ipv4/conf/all/forwarding") == "1",
        uplinks=uplinks(),
        links=links(),
        ways=routing_facts(lab, network),
        reach=_reach(lab, network, found),
        resolver=resolved.resolver_facts(network, where, found),
    )
    now = now.replace(sysctls=_values([*now.changed, *ip_forwarding.asked(lab, network, now)]))
    return now.replace(sysctls={**now.sysctls, **_values(ip_forwarding.wanted_sysctls(lab, network, now))})


def _reach(lab: Lab, network: Network, found: Bridge | None, *, thorough: bool = False) -> Reach:
    """How the kernel routes. Only a bridge with its address is examined: its routes come with the address."""
    if network.external or found is None or found.renamed or not found.up:
        return Reach()
    if str(network.host_address()) not in found.addresses:
        return Reach()
    from kvmrun.host.links import kernel_routes

    return kernel_routes.look(lab, network, thorough=thorough)


def reported(lab: Lab, network: Network, where: Paths) -> NetworkFacts:
    """The same for who reports on the network: also the guests on it that are not guarded, and whether it is served."""
    now = network_facts(lab, network, where)
    if not where.root:
        return now
    from kvmrun.host.firewall import port_guard

    found = tuple(port_guard.unguarded(where, lab.now.running, network.name))
    reach = _reach(lab, network, now.bridge, thorough=True)
    resolver = resolved.with_rivals(network, now.bridge, now.resolver)
    return now.replace(unguarded=found, reach=reach, names=_names(network, now), resolver=resolver)


def _names(network: Network, now: NetworkFacts) -> Literal["", "stopped", "silent"]:
    """Whether the network's dnsmasq, which runs, is stopped or does not answer."""
    if not now.dnsmasq or now.bridge is None or not now.bridge.up:
        return ""
    from kvmrun.host.facts import doctor_probes
    from kvmrun.host.process import process

    if process.is_stopped(now.dnsmasq):
        return "stopped"
    asked = network.dns and str(network.host_address()) in now.bridge.addresses
    return "silent" if asked and not doctor_probes.serves(str(network.host_address().ip), str(network.domain)) else ""


def _former(lab: Lab, network: Network, links: link_list.Links) -> Bridge | None:
    up = lab.as_up(network)
    return bridges.find(lab, up, lambda: links)[0] if up.bridge != network.bridge else None


def own_bridges(lab: Lab, links: link_list.Links) -> Iterator[str]:
    """The existing bridges of the lab's networks. A definition alone does not make a link ours."""
    for one in map(lab.as_up, lab.networks.values()):
        if not one.external and links.named(one.bridge) and is_ours(lab, one, bridges.read(one.bridge)):
            yield str(one.bridge)


def _as_port(network: Network, found: Bridge | None, tap: Link) -> Link:
    """The tap by the name that its bridge is about to have again, where it was renamed."""
    return tap.replace(master=network.bridge) if found and found.renamed == tap.master != "" else tap


def _values(names: Iterable[str]) -> dict[str, str]:
    """The present values of those settings that can be read."""
    return {name: value for name in names if (value := sysctl.read(name)) is not None}


def _kept(lab: Lab, network: Network, where: Paths, found: Bridge | None) -> dict[str, PersistentTap]:
    """The persistent taps of the network: those of its NICs, and those of removed NICs that are still on its bridge."""
    here = persistent_taps.kept(where, _ports(lab, network))
    made = persistent_taps.made(where, network.name) if where.root else {}
    for name in found.ports if found else ():
        tap = tap_device.persistent_tap(name) if name not in here else None
        if (
            tap
            and name in made
            and link_alias.subject(tap.alias)
            and link_alias.lab_of(tap.alias) in {"", lab.identity}
        ):
            here[name] = tap
    return here


def leases(path: str) -> tuple[tuple[str, str], ...]:
    """The IPv4 addresses that dnsmasq has given out by that file, each with the MAC that has it."""
    found = dnsmasq_leases.parse_leases(read(path) or "")
    return tuple((one.address, one.mac) for one in found if one.address.count(".") == 3)


def routing_facts(lab: Lab, network: Network) -> RoutingFacts:
    """The source rules there are, and what stands in the tables of the uplinks that are chosen."""
    from kvmrun.host.links import policy_routing

    told = uplink_routing.involved(lab, network)
    return policy_routing.policy_state(
        [*(one.number() for one in told), uplink_routing.MAIN], [one.interface for one in told]
    )


def routing_facts_with_gateways(lab: Lab, network: Network) -> RoutingFacts:
    """The same, and which of the gateways do not answer: that takes a second where one does not."""
    from kvmrun.host.links import gateway_probe

    silent = gateway_probe.silent_gateways(uplink_routing.gateway_list(uplink_routing.used_uplinks(lab, network)))
    return routing_facts(lab, network).replace(silent=silent)


def _links() -> link_list.Links:
    try:
        return link_list.port_links()
    except raw_netlink.DumpInterrupted:
        raise Unresponsive("could not read the links", "try again", reason="they change again and again") from None


def _ports(lab: Lab, network: Network) -> list[tuple[str, Port]]:
    """The ports of the network, each with its guest."""
    return [(guest, one) for guest, all_ in lab.ports().items() for one in all_ if one.network == network.name]


def _taps(
    lab: Lab, network: Network, where: Paths, links: link_list.Links, made: Mapping[str, int]
) -> tuple[dict[str, Link], tuple[str, ...]]:
    """Our taps on this network, and those of them that outlived their guests without having been made persistent."""
    here: dict[str, Link] = {}
    leftovers: list[str] = []
    for guest, port in _ports(lab, network):
        found = links.tap(port.tap, port.alias(guest), port.tap_mac())
        if found is None or not _is_ours(where, guest, port, found):
            continue
        if port.tap not in made and not rundir.is_running(where.guest(guest)):
            leftovers += [found.name] if _is_persistent(found) else []
        elif found.master == network.bridge or not _is_bare(where, guest, port):
            here[port.tap] = found
    return here, tuple(leftovers)


def _is_persistent(found: Link) -> bool:
    """Whether a tap is there without its guest for longer than it takes the kernel to remove it."""
    deadline = time.monotonic() + _MOMENT
    while not found.persistent and tap_device.ifindex(found.name) == found.index:
        if time.monotonic() > deadline:
            return True
        time.sleep(0.01)
    return found.persistent


def _is_ours(where: Paths, guest: str, port: Port, found: Link) -> bool:
    """Whether the tap is the guest's: by its mark, or because its QEMU has it, whatever became of the mark."""
    if link_alias.is_same(found.alias, port.alias(guest)):
        return True
    record = rundir.read_record(where.guest(guest))
    return bool(record and record.pid and found.name in tap_device.held_taps(record.pid).values())


def _is_bare(where: Paths, guest: str, port: Port) -> bool:
    """Whether the guard of a running guest is missing: until it is restored, nothing that the guest sends may pass."""
    if port.guard == "none" or tap_device.persistent_tap(port.tap):
        return False
    from kvmrun.host.firewall import port_guard

    return guest in port_guard.missing_guards({guest: where.guest(guest)})


def routes() -> tuple[Route, ...]:
    from kvmrun.host.links import pyroute2_links

    return pyroute2_links.routes()


def uplinks() -> tuple[str, ...]:
    """The links of the default routes of the main table."""
    with open(f"/proc/{os.getpid()}/net/route", encoding="utf-8") as file:
        rows = [line.split() for line in file]
    return tuple(sorted({row[0] for row in rows[1:] if row[1] == row[7] == "00000000"}))


def links() -> tuple[str, ...]:
    """The links that packets could be routed through: what a port of a bridge takes in goes to the bridge.

    A bridge with a mark of kvmrun is left to the network that it belongs to, which may be another lab's.
    """
    found = os.listdir("/proc/sys/net/ipv4/conf")
    routed = (one for one in found if one not in _NO_LINKS and not os.path.exists(f"{tap_device.NET}/{one}/brport"))
    return tuple(sorted(one for one in routed if not tap_device.alias(one).startswith(link_alias.MARK)))


def _dnsmasq(lab: Lab, where: Paths, network: Network) -> int:
    """The pid of the network's dnsmasq, 0 when it does not run."""
    from kvmrun.host import dnsmasq

    config = dnsmasq_plan.files(lab, network, where).config
    return dnsmasq.running_pid(lab.dnsmasq_uid(network.name), config, dnsmasq_plan.note(where, network))


def servers(lab: Lab) -> tuple[str, ...]:
    """The name servers the host asks now: of those that systemd-resolved lists, the lab's own are asked for guests."""
    path = resolved.name_server_file()
    found = host_resolver.upstream_names((path and read(path)) or "")
    return found if path == "/etc/resolv.conf" else host_resolver.without_own(lab, found)


def _owners(lab: Lab, where: Paths) -> tuple[PortOwner, ...]:
    """The owners of the name server's ports, except the dnsmasq of this lab's networks, bound to their own bridges."""
    from kvmrun.host.facts import listening_ports

    return listening_ports.port_owners({53, 67}, {_dnsmasq(lab, where, one) for one in lab.networks.values()})


def _loaded(lab: Lab, network: Network, where: Paths, table: str, record_of: Callable[[Paths, Network], str]) -> str:
    """The digest of our rules in a table of the packet filter, "" when there are none.

    Where the run directory was lost, the table is known by its comment.
    """
    if os.path.lexists(record := record_of(where, network)):
        from kvmrun.host.firewall import nft

        return nft.loaded_digest(table, record)
    from kvmrun.host.firewall import nfnetlink

    comment = link_alias.of_table(network.name, lab.identity) if where.root else ""
    return "changed" if comment and nfnetlink.comment(table) == comment else ""
