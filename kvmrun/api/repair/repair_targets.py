"""Faults of guests, networks and links: found and repaired one after the other, each under its own lock."""

import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial

from kvmrun.api.guest_socket import monitor_of, socket_of
from kvmrun.api.lab import own_guests
from kvmrun.api.network import guard_repair
from kvmrun.api.repair import reattach
from kvmrun.host.disk import unnamed_file
from kvmrun.host.execute import bridge_rules_sync
from kvmrun.host.execute.guest_executor import GuestExecutor
from kvmrun.host.execute.undo import undo_on_error
from kvmrun.host.facts import leftover_networks, network_facts
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.firewall import port_guard
from kvmrun.host.firmware import running_tpm
from kvmrun.host.links import persistent_taps, tap_device
from kvmrun.host.process import log_reader, log_writer, process
from kvmrun.host.rundir import lock, records, rundir, socket_lookup
from kvmrun.model.guest.guest_state import is_half_started
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.lab import Lab
from kvmrun.model.machine.chardevs import MONITORS
from kvmrun.model.network.network import Network
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.scalars import GuestName
from kvmrun.model.value import Value
from kvmrun.monitor.qmp.query_many import query, query_many
from kvmrun.plan.network import nft_guard
from kvmrun.plan.repair import orphan_links, repair_plan
from kvmrun.plan.steps import guest_steps, network_steps, repair_steps

_LIMIT = 2.0
_ROUNDS = 4
"""How often a guest is examined: the repair of one fault can make another visible."""
Say = Callable[[str], None]


class RepairTarget(Value):
    """A guest, a network or all links. `look` finds its faults, and `repair` yields each once it is repaired."""

    name: str
    look: Callable[[], list[repair_plan.Fault]]
    repair: Callable[[], Iterator[repair_plan.Fault]]


def repair_targets(defined: Lab, where: Paths, say: Say) -> Iterator[RepairTarget]:
    """Everything to be looked at, in order: what guests have left is out of the way of networks, and those of links.

    What is another lab's is left to it.
    """
    lab = records.in_force(defined, where)
    for name in own_guests(where, _guests(where)):
        yield RepairTarget(
            name=name, look=partial(_look, lab, where, name), repair=partial(_repair, lab, where, name, say)
        )
    if where.root:
        for name in sorted(lab.networks):
            look = partial(_look_at_network, defined, where, name)
            yield RepairTarget(
                name=f"network {name}", look=look, repair=partial(_repair_network, defined, where, name, look, say)
            )
        for name, network in leftover_networks.find(lab).items():
            look = partial(_look_at_leftover, defined, where, network)
            yield RepairTarget(
                name=f"network {name}", look=look, repair=partial(_repair_network, defined, where, name, look, say)
            )
        orphans = partial(_orphans, defined, where)
        yield RepairTarget(name="links", look=orphans, repair=partial(_repair_orphans, lab, where, orphans, say))


def _guests(where: Paths) -> list[str]:
    """Every guest that has a directory below the run directory, or had one and runs."""
    return sorted({*rundir.guest_names(where.run), *socket_lookup.bound_monitors(where.run)})


def _look(lab: Lab, where: Paths, name: str) -> list[repair_plan.Fault]:
    """What is wrong with one guest now; nothing while another command is at work on it."""
    GuestName.parse(name)
    directory = where.guest(name)
    if lock.is_held(f"{directory}/op"):
        return []
    return _faults(lab, where, name)


def _faults(lab: Lab, where: Paths, name: str) -> list[repair_plan.Fault]:
    runtime = guest_runtimes(lab, where).get(name)
    found = _observe_guest(where, name)
    return list(repair_plan.guest_faults(found, lab.guests.get(name), runtime, f"{where.guest(name)}/record"))


def _repair(lab: Lab, where: Paths, name: str, say: Say) -> Iterator[repair_plan.Fault]:
    """Repair one guest; every fault once it is repaired. Raises what was in the way."""
    with rundir.locked(where.guest(name), name):
        for _ in range(_ROUNDS):
            faults = _faults(lab, where, name)
            for fault in faults:
                for step in fault.steps:
                    say(f"{step}")
                    _perform(step, lab, where)
                yield fault
            if not any(fault.steps for fault in faults) or not rundir.is_running(where.guest(name)):
                return


def _perform(step: repair_steps.RepairStep, lab: Lab, where: Paths) -> None:
    match step:
        case repair_steps.RemoveLeftovers():
            record = rundir.read_record(where.guest(step.guest))
            persistent_taps.drop_leftovers(where, step.guest, record.ports if record else ())
            port_guard.remove_guard(where.guest(step.guest), step.guest)
            running_tpm.end_leftover(where, step.guest)
            rundir.remove_leftovers(where.guest(step.guest))
        case repair_steps.KillHalfStarted():
            with rundir.qemu_pidfd(where.guest(step.guest)) as pidfd:
                if pidfd is not None:
                    process.kill(pidfd)
        case repair_steps.RelinkMonitor():
            reattach.link_monitor(where.guest(step.guest), step.source)
        case repair_steps.ReissueLock():
            reattach.reissue_lock(where.guest(step.guest), step.guest)
        case repair_steps.ReloadGuard():
            guard_repair.reload_if_missing(where.guest(step.guest), step.guest)
        case repair_steps.RestartLogger():
            from kvmrun.api.repair.replace_logger import restart_if_dead

            restart_if_dead(_place(lab, where, step.guest))
        case guest_steps.WriteRecord():
            GuestExecutor()(step)
        case network_steps.DropRules() if orphan := nft_guard.guest_of_part(step.table):
            _drop_guard(where, orphan)
        case _:
            from kvmrun.host.execute.network_executor import execute

            execute(where)(step)


def _place(lab: Lab, where: Paths, name: str) -> GuestRuntime:
    known = guest_runtimes(lab, where).get(name)
    return known or GuestRuntime(guest=name, uuid="", directory=where.guest(name), log=where.log(name), ports=())


def _observe_guest(where: Paths, name: str) -> repair_plan.GuestFacts:
    """One guest as it is now."""
    directory = where.guest(name)
    record = rundir.read_record(directory)
    pid = rundir.qemu_pid(directory, record.pid if record else 0)
    locked = rundir.is_locked(directory)
    found = repair_plan.GuestFacts(name=name, pid=pid, locked=locked, record=record, boot=process.boot_id())
    if not (pid or locked):
        return found
    command = socket_lookup.command_line(pid)
    uuid = next((word for flag, word in itertools.pairwise(command) if flag == "-uuid"), "")
    first = query(monitor_of(directory, name, pid=lambda: pid), "query-uuid", "query-status", limit=_LIMIT)
    unheard = first.silence == "gone"
    others = MONITORS[1:] if unheard else ()
    told = {"q": first} | query_many(
        {one: socket_of(directory, name, one) for one in others}, ("query-uuid",), limit=_LIMIT
    )
    used = process.process_usage(pid)
    return found.replace(
        started=used.started if used else 0,
        monitors=tuple(one for one, answer in told.items() if answer.field("query-uuid", "UUID") == uuid),
        unheard=unheard,
        unbegun=is_half_started(first.replies, record),
        guarded=not _lacks_guard(where, name, record),
        logger=_logger(where, name, used),
        tpm_ended=bool(record and record.tpm) and not running_tpm.is_running(where, name),
        command=tuple(command),
        taps=tap_device.held_taps(pid),
        temporary=unnamed_file.holds_temporary_image(pid),
    )


def _lacks_guard(where: Paths, name: str, record: Record | None) -> bool:
    if not (where.root and record and any(port.guard != "none" for port in record.ports)):
        return False
    return name in port_guard.missing_guards({name: where.guest(name)})


def _logger(where: Paths, name: str, used: process.Usage | None) -> str:
    if used is None or process.uptime() - used.started / process.TICKS < log_reader.BEGINS:
        return ""
    if not os.path.exists(f"{where.guest(name)}/c"):
        return ""
    return (
        "stalled"
        if log_writer.is_stalled(where.log(name))
        else ""
        if log_reader.has_writer(where.log(name))
        else "dead"
    )


def _look_at_network(defined: Lab, where: Paths, name: str) -> list[repair_plan.Fault]:
    """What is wrong with one network now."""
    lab = records.in_force(defined, where)
    if name not in lab.networks:  # it was taken down meanwhile, and is no longer defined
        return []
    network = lab.networks[name]
    busy = any(port.network == name for record in lab.now.running.values() for port in record.ports)
    return list(repair_plan.network_faults(lab, network, where, network_facts.reported(lab, network, where), used=busy))


def _look_at_leftover(defined: Lab, where: Paths, network: Network) -> list[repair_plan.Fault]:
    """What is left of a network that is neither defined nor recorded."""
    lab = records.in_force(defined, where)
    return list(repair_plan.leftover_faults(lab, network, where, leftover_networks.facts(lab, network, where)))


def _repair_network(
    defined: Lab, where: Paths, name: str, look: Callable[[], list[repair_plan.Fault]], say: Say
) -> Iterator[repair_plan.Fault]:
    """Repair one network; every fault once it is repaired. The steps of a fault are undone when one of them fails."""
    from kvmrun.host.execute.network_executor import execute

    with rundir.locked(where.network(name), f"network {name}"):
        for fault in look():
            with undo_on_error(fault.steps, execute(where), say):  # type: ignore[arg-type]
                pass
            yield fault
    bridge_rules_sync.follow(partial(records.in_force, defined, where), where)


def _orphans(defined: Lab, where: Paths) -> list[repair_plan.Fault]:
    """Links and tables with our mark that belong to nobody."""
    from kvmrun.host.firewall import nfnetlink
    from kvmrun.host.links import pyroute2_links

    lab = records.in_force(defined, where)
    marked = [_with_holder(one) for one in pyroute2_links.marked()]
    return list(orphan_links.orphan_faults(lab, marked, _guests(where), nfnetlink.existing_parts("netdev")))


def _with_holder(one: orphan_links.OwnedLink) -> orphan_links.OwnedLink:
    kept = tap_device.persistent_tap(one.name)
    return one.replace(kept=True, held=kept.held, queues=kept.queues) if kept else one


def _repair_orphans(
    lab: Lab, where: Paths, look: Callable[[], list[repair_plan.Fault]], say: Say
) -> Iterator[repair_plan.Fault]:
    for fault in look():
        for step in fault.steps:
            say(f"{step}")
            _perform(step, lab, where)
        yield fault


def _drop_guard(where: Paths, name: str) -> None:
    """Under the guest's lock: a start may have begun meanwhile."""
    with rundir.locked(where.guest(name), name):
        if not rundir.is_running(where.guest(name)):
            port_guard.force_remove_guard(where.guest(name), name)
