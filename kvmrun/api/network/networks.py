"""Bringing networks up, taking them down, and restarting them."""

from collections.abc import Iterable, Iterator
from typing import Literal

from kvmrun.api.lab import LabHandle
from kvmrun.api.network import guard_repair, network_use
from kvmrun.api.network.network_selection import definition_problems, select_networks
from kvmrun.api.report import Done, Report, Warned, details, discard
from kvmrun.errors import ConfigError, KvmrunError, Refused, UsageError
from kvmrun.host import resolved
from kvmrun.host.execute import bridge_rules_sync
from kvmrun.host.execute.undo import undo_on_error
from kvmrun.host.facts import leftover_networks, listening_ports, network_facts, root_capabilities
from kvmrun.host.facts.guest_runtime import account_ids
from kvmrun.host.links import bridges, link_list
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline, within
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.paths import Paths
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.plan import merge_records
from kvmrun.plan.network import bridge_plan, host_resolver, network_plan, port_forward, uplink_routing


class NetworkChange(Value):
    """What a network is now; `already` where nothing had to be done. The bridge is told of one that is up."""

    network: str
    state: Literal["up", "down"]
    already: bool
    bridge: str | None = None
    address: str | None = None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f": {self.bridge} {self.address}" if self.bridge else ""
        return f"network {self.network} is {self.state}{' already' if self.already else ''}{where}"


def network_up(
    lab: LabHandle,
    names: Iterable[str] | None = None,
    *,
    owner: str | None = None,
    timeout: float | None = None,
    report: Report = discard,
) -> list[NetworkChange]:
    """Bring networks up, one after the other; None means all that are defined.

    With `owner` every guest's tap is made now and belongs to that user, who starts guests without root. `timeout` is
    the limit of the whole call in seconds; without it every wait has its own, the longest 10 s for another command.

    Raises: Busy, Refused, Unresponsive, HostLacks or KvmrunError for what was in the way of a network, when those
    before it are up; NotPermitted for a root without its capabilities; UsageError for a user who does not exist;
    OtherLab for a network of another lab; ConfigError for all networks when those that are valid are up, and others
    are not.
    """
    deadline = Deadline.begin(timeout)
    _, wanted = _begin(lab, "up", names)
    uid = _uid(owner) if owner else None
    with within(deadline), bridge_rules_sync.followed_on_error(lab.in_force, lab.paths):
        made = [_up(lab, name, report, owner=uid) for name in wanted]
    return _all_valid(made, lab, names)


def network_down(
    lab: LabHandle,
    names: Iterable[str] | None = None,
    *,
    force: bool = False,
    timeout: float | None = None,
    report: Report = discard,
) -> list[NetworkChange]:
    """Take networks down, one after the other; None means all of the lab, also those no longer defined.

    What is left of a network that is neither defined nor recorded is removed too, by the mark that it carries. Without
    `force` a network that guests are attached to is refused. `timeout` in seconds as of `network_up`.

    Raises: what `network_up` raises.
    """
    deadline = Deadline.begin(timeout)
    here, wanted = _begin(lab, "down", names)
    now = here.in_force().now
    gone = {*now.undefined, *(here.definitions.networks.keys() - lab.definitions.networks.keys())}
    with within(deadline), bridge_rules_sync.followed_on_error(here.in_force, here.paths):
        made = [_down(here, name, report, force=force) for name in wanted]
        for name, other in now.networks_elsewhere.items() if names is None else ():
            if name in here.definitions.networks:
                report(Done(text=f"network {name} stays: the lab {printable(other)} has brought it up"))
        if gone & {*wanted}:
            _refresh(here, report)
        bridge_rules_sync.follow(here.in_force, here.paths)
    return _all_valid(made, lab, names)


def network_restart(
    lab: LabHandle,
    names: Iterable[str] | None = None,
    *,
    owner: str | None = None,
    timeout: float | None = None,
    report: Report = discard,
) -> list[NetworkChange]:
    """Take networks down under their guests and bring them up as they are defined now; None means all defined ones.

    A network that could not come up again is not taken down, or comes up as it was before. `owner` and `timeout` in
    seconds as of `network_up`.

    Raises: what `network_up` raises.
    """
    deadline = Deadline.begin(timeout)
    _, wanted = _begin(lab, "restart", names)
    uid = _uid(owner) if owner else None
    now = lab.in_force()
    made: list[NetworkChange] = []
    with within(deadline), bridge_rules_sync.followed_on_error(lab.in_force, lab.paths):
        for name in wanted:
            _refuse_in_the_way(lab.definitions, now, name)
            made.append(_down(lab, name, report, force=True))
            try:
                made.append(_up(lab, name, report, owner=uid))
            except (KvmrunError, OSError):
                if name in now.now.up:
                    _up_as_before(lab, now.as_up(now.networks[name]), report, owner=uid)
                raise
    return _all_valid(made, lab, names)


def _up_as_before(lab: LabHandle, network: Network, report: Report, *, owner: int | None) -> None:
    """Bring up what was taken down, for the guests on it, because its new definition cannot come up."""
    try:
        _up(lab.with_networks({network.name: network}), network.name, report, owner=owner)
    except (KvmrunError, OSError) as error:
        report(Warned(text=f"network {network.name} cannot come up as it was before either: {error}"))


def _begin(lab: LabHandle, verb: str, names: Iterable[str] | None) -> tuple[LabHandle, list[str]]:
    """The lab, with what is left of networks where they are to go, and the networks that are meant.

    Raises: NotPermitted for a root without its capabilities; what `select_networks` raises.
    """
    now = lab.in_force()
    if verb == "down" and lab.paths.root and (names is None or not {*names} <= now.networks.keys()):
        left = leftover_networks.find(now)
        lab = lab.with_networks(left)
        now = now.replace(networks={**now.networks, **left})
    wanted = select_networks(now, verb, names)
    root_capabilities.require_capabilities()
    return lab, wanted


def _all_valid(made: list[NetworkChange], lab: LabHandle, names: Iterable[str] | None) -> list[NetworkChange]:
    """The changes. Raises ConfigError where all networks were meant and some are not valid."""
    if names is None and (wrong := definition_problems(lab.definitions)):
        raise ConfigError("networks.toml has errors", f"edit {lab.paths.vms}/networks.toml", lines=wrong)
    return made


def _up(lab: LabHandle, name: str, report: Report, *, owner: int | None) -> NetworkChange:
    guard_repair.update_guards(lab.in_force(), lab.paths, [name])
    guard_repair.restore_guards(lab.paths, name, report)  # before their taps are plugged in again, where they are loose
    before = network_use.pending_steps(lab.in_force(), lab.paths, name, owner)
    with network_use.hold_networks(lab.in_force, lab.paths, [name], details(report), owner=owner):
        bridge_rules_sync.follow(lab.in_force, lab.paths)
        now = lab.in_force()
        network = now.networks[name]
        warnings = [
            *uplink_routing.unavailable_uplinks(now, network, network_facts.routing_facts_with_gateways(now, network))
        ]
        if (circle := host_resolver.circular_upstreams(now, network, network_facts.servers(now)))[0]:
            warnings.append("; fix: ".join(circle))
        warnings += [*_resolution_warnings(now, network, lab.paths)]
        if network.forward:
            owners = listening_ports.port_owners({one.port for one in network.forward})
            warnings += [f"{text}; fix: {fix}" for text, fix in port_forward.hidden_listeners(network, owners)]
    change = NetworkChange(
        network=name,
        state="up",
        already=not before,
        bridge=network.bridge,
        address=f"{network.host_address()}",
        warnings=tuple(warnings),
    )
    report(Done(text=f"{change}"))
    for warning in warnings:
        report(Done(text=f"warning: {warning}"))
    return change


def _resolution_warnings(lab: Lab, network: Network, where: Paths) -> Iterator[str]:
    """Why names of the network do not resolve on this host, although they should."""
    found, _ = bridges.find(lab, network, link_list.port_links)
    now = resolved.with_rivals(network, found, resolved.resolver_facts(network, where, found))
    if text := host_resolver.sentence(network, now):
        yield f"{text}; fix: kvmrun net up {network.name}; or host_resolution = false in network.{network.name}.dns"
    yield from ("; fix: ".join(one) for one in host_resolver.problems(lab, network, now))


def _uid(user: str) -> int:
    found = account_ids([user])
    if user not in found:
        raise UsageError(f"there is no user {printable(user)}", "--owner takes the name of an account")
    return found[user]


def _down(handle: LabHandle, name: str, report: Report, *, force: bool) -> NetworkChange:
    from kvmrun.host.execute.network_executor import execute  # brings pyroute2

    where = handle.paths
    with rundir.locked(where.network(name), f"network {name}"):
        lab = handle.in_force()
        merge_records.refuse_elsewhere(lab, name)
        network = lab.as_up(lab.networks[name])
        look = network_facts.network_facts if name in lab.now.up else leftover_networks.facts
        now = look(lab, network, where)
        steps = network_plan.down_steps(lab, network, where, now, force=force)
        with undo_on_error(steps, execute(where), details(report)):
            pass
    change = NetworkChange(network=name, state="down", already=not steps)
    report(Done(text=f"{change}"))
    if now.bridge and not network.external and (now.occupant or not bridge_plan.is_ours(lab, network, now.bridge)):
        report(Done(text=f"{network.bridge} stays: it is not the bridge that was made for the network"))
    return change


def _refuse_in_the_way(lab: Lab, now: Lab, name: str) -> None:
    """Raises Refused where the network could not come up again as it is defined: then it is not taken down."""
    network = lab.networks.get(name)
    if network is None:
        return
    here = bridges.read(network.bridge)
    if network.external:
        bridge_plan.accept_external(network, here)
        if name in now.now.up and bridge_plan.is_ours(now, now.as_up(network), here):
            fix = f"name the bridge of another program in network.{name}"
            reason = f"{network.bridge} was made for it and is removed with it"
            raise Refused(f"network {name} cannot become external", fix, reason=reason)
        return
    if here:
        bridge_plan.refuse_foreign(now, network, here)
    found, _ = bridges.find(now, now.as_up(network), link_list.port_links)
    routes = [one for one in network_facts.routes() if found is None or one.link != found.renamed]
    bridge_plan.refuse_overlap(network, network_plan.other_routes(now, network, routes))


def _refresh(lab: LabHandle, report: Report) -> None:
    """Update the networks that stay up after others were removed: their rules name all bridges of the lab."""
    now = lab.in_force().now
    for name in sorted(now.up.keys() & lab.definitions.networks.keys() - now.pending.keys()):
        with network_use.hold_networks(lab.in_force, lab.paths, [name], details(report)):
            pass
