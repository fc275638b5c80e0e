"""The live state of guests, from the kernel, QEMU and the definitions: a row each, none waits for another."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial

from kvmrun.api.guest_socket import monitor_of, pid_finder
from kvmrun.api.status.seen_addresses import with_neighbours
from kvmrun.api.status.status_checks import (
    WELL,
    with_guard_problems,
    with_tap_problems,
    with_tpm_problems,
)
from kvmrun.errors import KvmrunError
from kvmrun.host.facts import network_health
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.links import tap_device
from kvmrun.host.process import log_reader, process
from kvmrun.host.rundir import records, rundir, socket_lookup
from kvmrun.model.deadline import remaining
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.guest_state import degraded_state, guest_state
from kvmrun.model.guest.guest_status import NicStatus, Status
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import Port
from kvmrun.model.lab import Lab
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.printable import printable
from kvmrun.monitor.guest_socket import GuestSocket
from kvmrun.monitor.qmp.query_many import Reply, query_many
from kvmrun.plan.network import nft_guard, nft_network

LIMIT = 2.0
"""How long one guest's monitor may be silent before its row says so, in seconds."""
_LEAST = 0.2
_USERS = "/run/user"
_QUESTIONS = ("query-status", "query-kvm", "query-uuid")


def guest_statuses(where: Paths, lab: Lab, names: Iterable[str] | None = None) -> list[Status]:
    """The status of `names`, by default of every guest that is defined or has a run directory that we may see."""
    return statuses_and_answers(where, lab, names)[0]


def statuses_and_answers(
    where: Paths, lab: Lab, names: Iterable[str] | None = None, more: tuple[str, ...] = ()
) -> tuple[list[Status], Mapping[str, Reply]]:
    """The same, and what each guest that runs answered, also to `more` questions."""
    found = visible_run_directories(where)
    known = {name: rundir.read_record(path) for name, path in found.items()}
    locked = {name for name, path in found.items() if rundir.is_locked(path)}
    ours = {name: one for name, one in known.items() if one is not None and found[name] == where.guest(name)}
    lab = records.in_force_as_read(lab, where, ours, locked)
    here = {name: path for name, path in found.items() if not _is_elsewhere(where, lab, ours.get(name))}
    wanted = sorted({*here, *lab.guests, *lab.invalid} if names is None else names)
    alive = [name for name in wanted if name in here and name in locked]
    runtimes = guest_runtimes(lab, where)
    suspected = [name for name in wanted if name not in lab.now.guests_elsewhere]
    astray = _running_without_lock(where, suspected, alive, runtimes, here)
    here |= {name: where.guest(name) for name in astray}
    pid_of = pid_finder(here, known)
    monitors = {name: monitor_of(here[name], name, pid=partial(pid_of, name)) for name in (*alive, *astray)}
    answers = query_many(monitors, (*_QUESTIONS, *more), limit=max(remaining(LIMIT), _LEAST))
    rows, guarded, plugged, now = [], {}, {}, process.uptime()
    for name in wanted:
        runtime, record = runtimes.get(name), known.get(name) if name in here else None
        if name in answers:
            if record and here[name] == where.guest(name) and any(port.guard != "none" for port in record.ports):
                guarded[name] = here[name]
            record = _current(lab, record)
            row = _running_row(monitors[name], pid_of(name), record, answers[name], now)
            if record and record.ports and row.state in WELL and row.pid:
                plugged[name] = record.ports
            if here[name] == where.guest(name):  # a user's log is not ours to judge
                row = _mark_lost_lock(row) if name in astray else _mark_dead_logger(row, where)
            row = row if row.pid or not where.root else _mark_invisible(row)
            rows.append(row if record or not runtime else row.replace(nics=_nics(runtime.ports)))
        else:
            row = _stopped_row(name, lab, lab.guests.get(name), runtime, record)
            rows.append(row if where.root else _mark_foreign_holder(row))
        rows[-1] = rows[-1].replace(lab=_lab_of(where, lab, name, record))
    rows = with_neighbours(rows, _bridges(lab, known, runtimes, answers))
    rows = with_tpm_problems(with_tap_problems(rows, where, plugged, runtimes), where, ours)
    return _with_networks(with_guard_problems(rows, guarded if where.root else {}), where, lab), answers


def _is_elsewhere(where: Paths, lab: Lab, record: Record | None) -> bool:
    """Whether a guest of this run directory belongs to another lab, be it there or not."""
    return record is not None and record.lab not in {"", where.lab} and record.name not in lab.now.running


def _current(lab: Lab, record: Record | None) -> Record | None:
    """The record with the ports as they are now: its network may have been begun anew since the start."""
    if record is None or record.name not in lab.now.running:
        return record
    return record.replace(ports=lab.ports()[record.name])


def _bridges(
    lab: Lab, known: Mapping[str, Record | None], runtimes: Mapping[str, GuestRuntime], names: Iterable[str]
) -> dict[str, str]:
    """The bridge of each tap of these guests."""
    sources = (_current(lab, known.get(name)) or runtimes.get(name) for name in names)
    return {port.tap: port.bridge for source in sources if source for port in source.ports}


def _lab_of(where: Paths, lab: Lab, name: str, record: Record | None) -> str | None:
    """The lab of a row: this one, unless only a record tells of the guest, which may tell of none."""
    if name in lab.guests or name in lab.invalid or name in lab.now.running:
        return where.lab or None
    return (record.lab if record else "") or None


def _running_without_lock(
    where: Paths, wanted: list[str], alive: list[str], runtimes: Mapping[str, GuestRuntime], here: Mapping[str, str]
) -> set[str]:
    """Those that run though no lock says so: looked for only where something is left of a guest, or nothing can be."""
    resting = set(wanted) - set(alive)
    taps = {name: runtime.ports for name, runtime in runtimes.items() if name in resting and name not in here}
    suspects = {
        name for name, ports in taps.items() if not ports or any(tap_device.ifindex(port.tap) for port in ports)
    }
    suspects |= {name for name in resting if here.get(name) == where.guest(name)}
    return set(socket_lookup.find_running_guests(where.run, suspects)) if suspects else set()


def _mark_lost_lock(row: Status) -> Status:
    """The row of a guest whose lock, or whole run directory, was moved or removed."""
    if row.state == "unresponsive":
        return row.replace(
            problem="its lock and its monitor were removed; kvmrun repair reconnects to it, or says why it cannot"
        )
    return row.replace(state=degraded_state(row.state), problem="its lock was removed; kvmrun repair gives it another")


def _mark_invisible(row: Status) -> Status:
    """The row of a guest whose QEMU root cannot find, where that is for want of a capability."""
    from kvmrun.host.facts import root_capabilities

    lost = root_capabilities.missing_capabilities()
    return row.replace(problem=f"its QEMU cannot be seen: root lacks {lost} here") if lost else row


def visible_run_directories(where: Paths) -> dict[str, str]:
    """The run directory of every guest we may see; for root also those that users started."""
    found: dict[str, str] = {}
    for run in _of_users() if where.root else []:
        with suppress(KvmrunError):  # whatever a user made of it, it is the user's own row
            found |= {name: f"{run}/vm/{name}" for name in rundir.guest_names(run)}
    return found | {name: where.guest(name) for name in rundir.guest_names(where.run)}


def _of_users() -> list[str]:
    """The run directories of users who started guests of their own."""
    try:
        return [run for user in sorted(os.listdir(_USERS)) if os.path.isdir(run := f"{_USERS}/{user}/kvmrun")]
    except OSError:
        return []


def _mark_foreign_holder(row: Status) -> Status:
    """A guest that does not run as ours may run as somebody else's: its tap has a holder then."""
    held = [nic.tap for nic in row.nics if tap_device.has_carrier(nic.tap)]
    if row.state != "stopped" or not held:
        return row
    return row.replace(state="unknown", problem=f"somebody else holds its tap {held[0]}; only root may look")


def _with_networks(rows: list[Status], where: Paths, lab: Lab) -> list[Status]:
    """The rows, with what is wrong with the networks of guests that are well."""
    used = {nic.network for row in rows if row.state in WELL and row.pid for nic in row.nics}
    if not (where.root and used):
        return rows
    wrong = {name: problem for name in used & lab.networks.keys() if (problem := _network_problem(where, lab, name))}
    return [_degraded(row, wrong) if row.state in WELL and row.pid and wrong else row for row in rows]


def _network_problem(where: Paths, lab: Lab, name: str) -> str:
    from kvmrun.api.status import port_checks

    return port_checks.bridge_problem(lab, lab.networks[name]) or network_health.network_problem(
        where.network(name),
        lab.dnsmasq_uid(name),
        {"rules": nft_network.table_name(name), "guard": nft_guard.kept_table(name)},
    )


def _degraded(row: Status, wrong: dict[str, str]) -> Status:
    found = [f"network {nic.network}: {wrong[nic.network]}" for nic in row.nics if nic.network in wrong]
    return (
        row.replace(state=degraded_state(row.state), problem=f"{found[0]}; kvmrun net up restores it") if found else row
    )


def hidden_guests_note(where: Paths) -> str:
    """What a user who is not root cannot see, in a sentence; "" when everything is seen."""
    if where.root or where.run == "/run/kvmrun":
        return ""
    try:
        rundir.guest_names("/run/kvmrun")
    except Exception:
        return "guests that root started are not shown: /run/kvmrun is root's alone"
    return ""


def _stopped_row(
    name: str, lab: Lab, guest: Guest | None, runtime: GuestRuntime | None, record: Record | None
) -> Status:
    if guest is None or runtime is None:
        if name in lab.invalid:
            first = next((f"{one}" for one in lab.problems if one.file == f"{name}.toml"), "see kvmrun check")
            return Status(name=name, state="invalid", problem=printable(first, 200))
        nics = _nics(record.ports if record else ())
        problem = "it has ended and has no definition; kvmrun repair removes what it left"
        return Status(name=name, state="stale", nics=nics, problem=problem)
    other = lab.now.guests_elsewhere.get(name)
    return Status(
        name=name,
        state="stopped",
        problem=printable(f"the lab {other} runs a guest of this name", 200) if other else None,
        accel=guest.accel,
        cpus=guest.cpus,
        memory_bytes=int(guest.memory),
        uuid=runtime.uuid,
        nics=_nics(runtime.ports),
        raw_args=bool(guest.args),
    )


def _running_row(monitor: GuestSocket, pid: int, record: Record | None, answer: Reply, now: float) -> Status:
    name = monitor.guest
    used = process.process_usage(pid) if pid else None
    ports = record.ports if record else ()
    state, problem = guest_state(name, answer.silence, answer.replies, record, limit=LIMIT)
    if answer.silence == "silent":
        from kvmrun.host.rundir import socket_clients  # only for a guest that is silent

        who = socket_clients.connected_clients(monitor.path)
        problem = f"its monitor did not answer in {LIMIT:g} s: {who} is connected to it" if who else problem
    seconds = now - used.started / process.TICKS if used else 0.0
    kvm = answer.replies.get("query-kvm")
    accel = ("kvm" if kvm.get("enabled") else "tcg") if isinstance(kvm, dict) else (record.accel if record else None)
    return Status(
        name=name,
        state=state,
        accel=accel,
        pid=pid or None,
        uptime_s=int(seconds) if used else None,
        cpus=record.cpus if record else None,
        cpu_percent=round(100 * used.cpu / process.TICKS / seconds, 1) if used and seconds > 0 else None,
        memory_bytes=record.memory if record else None,
        rss_bytes=used.rss if used else None,
        uuid=record.uuid if record else None,
        nics=_nics(ports),
        display=(record.display if record else "") or None,
        raw_args=bool(record and record.raw),
        throwaway=bool(record and record.throwaway),
        problem=problem,
    )


def _mark_dead_logger(row: Status, where: Paths) -> Status:
    """The row, with a logger that died as its problem. One that has just been started may not be there yet.

    One that does not read on makes QEMU wait: that is why its monitor is silent.
    """
    if row.state == "unresponsive":
        from kvmrun.host.process import log_writer

        if log_writer.is_stalled(where.log(row.name)):
            return row.replace(problem="its logger does not read on, and QEMU waits for it; kvmrun repair replaces it")
    if (
        row.problem
        or row.uptime_s is None
        or row.uptime_s < log_reader.BEGINS
        or log_reader.has_writer(where.log(row.name))
    ):
        return row
    return row.replace(problem=f"its logger died; kvmrun log {row.name} --restart starts another")


def _nics(ports: tuple[Port, ...]) -> tuple[NicStatus, ...]:
    return tuple(
        NicStatus(
            name=one.name,
            network=one.network,
            tap=one.tap,
            mac=one.mac,
            address=one.address,
            address_source="reservation" if one.address else None,
        )
        for one in ports
    )
