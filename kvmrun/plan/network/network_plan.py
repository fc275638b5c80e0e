"""A network up or down: bridge, kernel settings, packet filter, addresses and names, each only if it is not right."""

from collections.abc import Iterable, Iterator, Sequence

from kvmrun.errors import NotPermitted, Refused
from kvmrun.model import derive
from kvmrun.model.guest.nic import Port
from kvmrun.model.lab import Lab
from kvmrun.model.network import link_alias
from kvmrun.model.network.network import Network
from kvmrun.model.network.network_record import NetworkRecord
from kvmrun.model.paths import Paths
from kvmrun.plan import merge_records
from kvmrun.plan.host_facts import NetworkFacts, Route
from kvmrun.plan.network import (
    bridge_plan,
    dnsmasq_plan,
    host_resolver,
    ip_forwarding,
    nft_guard,
    nft_network,
    port_plan,
    reach,
    uplink_routing,
)
from kvmrun.plan.network.record_paths import guard_record, rules_record, taps_record
from kvmrun.plan.steps.guest_steps import PlugTap, RemoveTap
from kvmrun.plan.steps.network_steps import (
    DropRules,
    LoadRules,
    MakePersistentTap,
    NetworkStep,
    RecordBridge,
    RecordNetwork,
    RemoveBridge,
    RemoveFiles,
    RemovePersistentTap,
    RestoreSysctls,
    SetSysctl,
    StopDnsmasq,
)


def up_steps(
    lab: Lab, network: Network, where: Paths, now: NetworkFacts, owner: int | None = None
) -> tuple[NetworkStep, ...]:
    """The steps that make `network` right; none when it is. With `owner`, that uid gets taps of its own.

    Raises Refused for what is not ours to change, and for what guests that are attached would suffer from.
    """
    merge_records.refuse_elsewhere(lab, network.name)
    merge_records.refuse_pending(lab, network.name)
    return persistent_up_steps(lab, network, where, now, owner)


def persistent_up_steps(
    lab: Lab, network: Network, where: Paths, now: NetworkFacts, owner: int | None = None
) -> tuple[NetworkStep, ...]:
    """The same without regard to a definition that waits for guests to end: the network stays as it is in force."""
    if network.external:
        _refuse_own(lab, network)
        bridge_plan.accept_external(network, now.bridge)
        return (*_leftovers(now), *_plugs(lab, network, now, None)) if where.root else ()
    if not where.root:
        _refuse_user(lab, network, now)
        return ()
    _refuse_running(lab, network, now, owner)
    return (
        *_recorded(lab, network, where, now),
        *_former(lab, network, now),
        *bridge_plan.bridge_steps(
            lab, network, now.bridge, other_routes(lab, network, now.routes), occupant=now.occupant
        ),
        *_record_bridge(lab, network, where, now),
        *_release(lab, network, now),  # while the rules still keep strangers out
        *_rules(lab, network, where, now),  # before anything is forwarded
        *_sysctls(lab, network, now),  # before the addresses: a bridge without IPv6 takes none
        *bridge_plan.address_steps(network, now.bridge),
        *reach.steps(now.reach),
        *_leftovers(now),
        *(_kept_taps(lab, network, where, now, owner) if owner is not None else ()),
        *_kept_guard(lab, network, where, now, everybody=owner is not None),
        *_plugs(lab, network, now, owner),  # once it is guarded: who has a kept tap may send at any time
        *uplink_routing.up_steps(lab, network, now.ways),
        *dnsmasq_plan.steps(lab, network, where, now),
        *host_resolver.up_steps(network, where, now.resolver),
    )


def down_steps(lab: Lab, network: Network, where: Paths, now: NetworkFacts, *, force: bool) -> tuple[NetworkStep, ...]:
    """The steps that take `network` away, which is as it was brought up.

    Raises Refused while guests are attached, unless `force`, and for another lab's. A bridge that somebody has made in
    the place of ours stays.
    """
    merge_records.refuse_elsewhere(lab, network.name)
    if network.external:
        return ()
    idle = {tap.name: tap for tap in now.kept.values() if not tap.held}
    found = now.bridge if bridge_plan.is_ours(lab, network, now.bridge) else None
    if now.bridge is not None and found is None and network.name not in lab.now.up:
        bridge_plan.refuse_foreign(lab, network, now.bridge)
    if found is not None:
        others = [one for one in found.ports if one not in idle and one not in now.leftovers]
        guests = {port.tap: guest for guest, port in _ports(lab, network)}
        bridge_plan.refuse_in_use(network, guests, others, force=force)
    taps = taps_record(where, network)
    drop = [RemovePersistentTap(tap=tap.name, queues=tap.queues, record=taps) for tap in idle.values()]
    at = dnsmasq_plan.files(lab, network, where)
    note = () if now.dnsmasq else (dnsmasq_plan.note(where, network),)  # of one that ended by itself
    written = [path for path in (*note, at.config, at.hosts, at.reservations) if path in now.files]
    written += [where.network_record(network.name)] if network.name in lab.now.up else []
    steps: list[NetworkStep] = [*drop, *_leftovers(now)]
    if now.dnsmasq:
        steps.append(StopDnsmasq(network=network.name, config=at.config, uid=lab.dnsmasq_uid(network.name)))
    if found is not None or any(network.name in one.users for one in now.changed.values()):
        steps.append(RestoreSysctls(user=network.name))  # before the rules that keep strangers out
    if now.rules:
        steps.append(DropRules(table=nft_network.table_name(network.name), record=rules_record(where, network)))
    if now.guard and len(idle) == len(now.kept):  # a tap that is held stays with whoever has it, and guarded
        steps.append(DropRules(table=nft_guard.kept_table(network.name), record=guard_record(where, network)))
    steps += uplink_routing.down_steps(lab, network, now.ways)
    link = (found.renamed or network.bridge) if found is not None else ""
    steps += host_resolver.down_steps(network, where, now.resolver, link)
    steps += [RemoveBridge(name=link)] if link else []
    return (*steps, *([RemoveFiles(paths=tuple(written))] if written else []))


def record(lab: Lab, network: Network, where: Paths) -> NetworkRecord:
    """The network as it is about to be brought up."""
    told = {str(one.name): one for one in uplink_routing.involved(lab, network)}
    told |= {str(name): lab.uplinks[name] for name in (network.nat if isinstance(network.nat, tuple) else ())}
    return NetworkRecord(
        lab=lab.identity,
        network=network,
        uplinks=told,
        firewall=lab.firewall,
        mac=lab.bridge_mac(network),
        uid=lab.dnsmasq_uid(network.name),
        log_uid=dnsmasq_plan.log_account(lab, network),
        config=dnsmasq_plan.files(lab, network, where).config,
    )


def _recorded(lab: Lab, network: Network, where: Paths, now: NetworkFacts) -> Iterator[RecordNetwork]:
    wanted = record(lab, network, where).replace(device=now.bridge.device if now.bridge else "")
    if lab.identity and lab.now.up.get(network.name) != wanted:
        yield RecordNetwork(path=where.network_record(network.name), record=wanted)


def _record_bridge(lab: Lab, network: Network, where: Paths, now: NetworkFacts) -> Iterator[RecordBridge]:
    if lab.identity and now.bridge is None:
        yield RecordBridge(path=where.network_record(network.name), record=record(lab, network, where))


def other_routes(lab: Lab, network: Network, routes: Iterable[Route]) -> list[Route]:
    """The routes but that of the network itself, by the bridge it was brought up with."""
    return [route for route in routes if route.link != lab.as_up(network).bridge]


def _former(lab: Lab, network: Network, now: NetworkFacts) -> Iterator[NetworkStep]:
    """The bridge the network had before its definition named another one goes; nobody is attached to it."""
    if now.former is not None and bridge_plan.is_ours(lab, lab.as_up(network), now.former):
        yield RemoveBridge(name=now.former.renamed or lab.as_up(network).bridge)


def _leftovers(now: NetworkFacts) -> Iterator[RemoveTap]:
    """Taps that outlived their guests: whoever has such a one speaks without a guard."""
    yield from (RemoveTap(tap=tap) for tap in now.leftovers)


def _kept_taps(
    lab: Lab, network: Network, where: Paths, now: NetworkFacts, owner: int
) -> Iterator[MakePersistentTap | RemovePersistentTap]:
    """A tap for every NIC on the network. One kept for somebody else changes hands, unless it is in use."""
    record = taps_record(where, network)
    for guest, one in _ports(lab, network):
        if _is_made(one, now, owner):
            if kept := now.kept.get(one.tap):
                yield RemovePersistentTap(tap=one.tap, queues=kept.queues, record=record)
            yield MakePersistentTap(tap=one.tap, queues=one.queues, owner=owner, alias=one.alias(guest), record=record)


def _is_made(one: Port, now: NetworkFacts, owner: int | None) -> bool:
    """Whether the tap of a port is made now, for `owner` to have."""
    kept = now.kept.get(one.tap)
    return owner is not None and not (kept and (kept.owner == owner or kept.held))


def _plugs(lab: Lab, network: Network, now: NetworkFacts, owner: int | None) -> Iterator[PlugTap]:
    """Every tap that is to be a port of the bridge and is not, or is not all that it should be."""
    forwards = now.bridge is not None and now.bridge.up and not now.bridge.stp
    for guest, one in _ports(lab, network):
        if _is_made(one, now, owner):
            yield port_plan.wanted_port(guest, one, owner)
        elif one.tap in now.ports:
            want = port_plan.wanted_port(guest, one, now.made.get(one.tap))
            held = one.tap not in now.kept  # whether a persistent one should have a carrier is not known
            if wrong := port_plan.port_differences(want, now.ports[one.tap], held=held, forwards=forwards):
                yield want.replace(differs=tuple(found.text for found in wrong))


def _ports(lab: Lab, network: Network) -> Iterator[tuple[str, Port]]:
    """The guests' ports on the network, each with its guest, in order."""
    for guest, ports in sorted(lab.ports().items()):
        yield from ((guest, one) for one in ports if one.network == network.name)


def _kept_guard(
    lab: Lab, network: Network, where: Paths, now: NetworkFacts, *, everybody: bool
) -> Iterator[LoadRules | DropRules]:
    """The guard of taps that are kept, here and not with their guests: a user may not load rules."""
    named = {nft_guard.chain_name(guest, port): port for guest, ports in sorted(lab.ports().items()) for port in ports}
    here = {name: port for name, port in named.items() if port.network == network.name and port.guard != "none"}
    kept = {name: port for name, port in here.items() if everybody or port.tap in now.kept}
    table, record = nft_guard.kept_table(network.name), guard_record(where, network)
    text = nft_guard.guard_text(table, kept, link_alias.of_table(network.name, lab.identity))
    if kept and now.guard != derive.digest(text):
        yield LoadRules(table=table, text=text, digest=derive.digest(text), record=record)
    elif now.guard and not kept:
        yield DropRules(table=table, record=record)


def _refuse_own(lab: Lab, network: Network) -> None:
    """Raises Refused where an external network is to use what kvmrun has made for it: that goes first."""
    if network.name in lab.now.up:
        reason = f"kvmrun has made {lab.as_up(network).bridge}, and networks.toml calls it external now"
        raise Refused(f"network {network.name} is still up", f"kvmrun net down {network.name}", reason=reason)


def _refuse_user(lab: Lab, network: Network, now: NetworkFacts) -> None:
    """Without root a network is used as it is: it must be there, and ours."""
    if now.bridge is None:
        fix = "sudo kvmrun net up --owner $USER"
        raise NotPermitted(f"network {network.name} is down, and only root may bring it up", fix)
    bridge_plan.refuse_foreign(lab, network, now.bridge)


def _refuse_running(lab: Lab, network: Network, now: NetworkFacts, owner: int | None) -> None:
    """Raises Refused where guests run with the taps that are to be made persistent: theirs end with them."""
    made = ((guest, one.tap) for guest, one in _ports(lab, network) if _is_made(one, now, owner))
    held = {guest: tap for guest, tap in made if tap in now.ports and tap not in now.kept}
    if held:
        names, taps = " ".join(held), ", ".join(held.values())
        fix = f"kvmrun stop {names}, then repeat this command"
        reason = f"QEMU holds {taps}, and a persistent tap of that name can be created only after the guest has ended"
        raise Refused(
            f"{' and '.join(held)} run{'s' if len(held) == 1 else ''} without a persistent tap", fix, reason=reason
        )


def rules_text(lab: Lab, network: Network, now: NetworkFacts) -> str:
    addresses = {guest: _address(ports, network) for guest, ports in lab.ports().items()}
    around = nft_network.Surroundings(
        strangers=tuple(ip_forwarding.foreign_links(lab, network, now)),
        routers=tuple(port.mac for _, port in _ports(lab, network) if port.forwarding),
        mac=lab.bridge_mac(network),
        comment=link_alias.of_table(network.name, lab.identity),
        answers=tuple(
            (str(lab.uplinks[name].interface), mark) for name, mark in uplink_routing.answering(lab, network).items()
        ),
        servers=tuple(sorted(str(one.host_address().ip) for one in lab.networks.values() if one.needs_dnsmasq())),
    )
    return nft_network.network_text(network, ip_forwarding.own_bridges(network, now), lab.uplinks, addresses, around)


def _release(lab: Lab, network: Network, now: NetworkFacts) -> Iterator[RestoreSysctls]:
    """Put back what is not needed any more: forwarding, after a network that was masqueraded and no longer is."""
    if gone := ip_forwarding.unneeded(lab, network, now):
        yield RestoreSysctls(user=network.name, names=tuple(sorted(gone)))


def _sysctls(lab: Lab, network: Network, now: NetworkFacts) -> Iterator[SetSysctl]:
    """A setting that cannot be read is skipped (an uplink that is absent), but for those of a bridge not made yet.

    One that another network has changed is needed here too: who needs it last puts it back.
    """
    for name, value in ip_forwarding.wanted_sysctls(lab, network, now).items():
        fresh = now.bridge is None and f"/{network.bridge}/" in name
        shared = name in now.changed and name in now.sysctls and network.name not in now.changed[name].users
        if fresh or shared or now.sysctls.get(name, value) != value:
            yield SetSysctl(name=name, value=value, user=network.name)


def _rules(lab: Lab, network: Network, where: Paths, now: NetworkFacts) -> Iterator[LoadRules | DropRules]:
    record = rules_record(where, network)
    if lab.firewall != "nftables":
        if now.rules:
            yield DropRules(table=nft_network.table_name(network.name), record=record)
        return
    text = rules_text(lab, network, now)
    if now.rules != derive.digest(text):
        yield LoadRules(
            table=nft_network.table_name(network.name), text=text, digest=derive.digest(text), record=record
        )


def _address(ports: Sequence[Port], network: Network) -> str:
    return next((port.address for port in ports if port.network == network.name and port.address), "")
