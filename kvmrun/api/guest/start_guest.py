"""Starting one guest: lock, observe, plan, apply, verify, resume. Everything is undone if a step fails."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Literal

from kvmrun.api.guest.wait_types import Wait, Watch
from kvmrun.api.lab import refuse_other, refuse_other_image
from kvmrun.api.network.network_hold import NetworkHold
from kvmrun.api.report import Done, Report, details
from kvmrun.errors import KvmrunError, Refused
from kvmrun.host.execute.guest_executor import GuestExecutor
from kvmrun.host.execute.undo import undo_on_error
from kvmrun.host.facts import guest_facts
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.files import ownership
from kvmrun.host.links import tap_device
from kvmrun.host.process import log_reader
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import NEVER, Deadline
from kvmrun.model.guest.nic import Port
from kvmrun.model.lab import Lab
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.value import Value
from kvmrun.plan import merge_records
from kvmrun.plan.guest import image_plan
from kvmrun.plan.guest.start_plan import launch_record as record_of
from kvmrun.plan.guest.start_plan import split_at_launch
from kvmrun.plan.guest.start_plan import start_steps as plan_up
from kvmrun.plan.steps.guest_steps import GuestStep

_THROWAWAY = "; what it writes to its drives is lost when QEMU ends"


class Started(Value):
    """A guest that runs now, or is paused as asked; of one that ran already only the ports are told."""

    guest: str
    state: Literal["running", "paused", "running already"]
    ports: tuple[Port, ...]
    accel: Literal["kvm", "tcg"] | None = None
    pid: int | None = None
    display: str | None = None
    throwaway: bool = False

    def __str__(self) -> str:
        if self.pid is None:
            return f"{self.guest} is {self.state}"
        ports = ", ".join(f"{one.tap} on {one.bridge}, {one.mac}, {one.address or 'no address'}" for one in self.ports)
        screen = f"; its display is VNC at {self.display}" if self.display else ""
        screen += _THROWAWAY if self.throwaway else ""
        return f"{self.guest} is {self.state} ({self.accel}, pid {self.pid}): {ports or 'no network'}{screen}"


class Job(Value):
    """What the starts of one call share. `watches` gathers what is left to wait for, `started` the results."""

    lab: Lab
    where: Paths
    runtimes: dict[str, GuestRuntime]
    raw: tuple[str, ...]
    waits: Mapping[str, Wait]
    paused: bool
    watches: dict[str, Watch]
    started: dict[str, Started]
    networks: NetworkHold
    others: guest_facts.RunningGuests
    deadline: Deadline = NEVER


def start(job: Job, name: str, report: Report) -> None:
    """Start `name`, or say that it runs. Raises whatever was in the way, with nothing left behind."""
    runtime = job.runtimes[name]
    with rundir.locked(runtime.directory, name, limit=job.deadline.left(rundir.OP_LIMIT)):
        refuse_other(job.where, name)
        if rundir.is_running(runtime.directory) and not _killed_half_started(runtime) and not _has_let_go(runtime):
            _refuse_halted(runtime, job.deadline.left(2.0))
            throwaway = _is_throwaway(runtime, wanted=job.lab.guests[name].throwaway)
            news = ", and has a new logger" if _replaced_dead_logger(runtime) else ""
            news += ", and is guarded again" if job.where.root and _reloaded_lost_guard(runtime) else ""
            news += _THROWAWAY if throwaway else ""
            job.started[name] = Started(guest=name, state="running already", ports=runtime.ports, throwaway=throwaway)
            report(Done(guest=name, text=f"{name} is running already{news}"))
            _keep_watch(job, name, _begin_watch(job, name, runtime))
        else:
            lab = _afresh(job.lab, name)
            runtime = guest_runtimes(lab, job.where)[name]
            tap_device.wait_until_released([port.tap for port in runtime.ports])
            steps, notes = plan(lab, job.where, runtime, job.raw, job.others)
            _launch(job, runtime, steps, report)
            for note in notes:
                report(Done(guest=name, text=f"  {note}"))
    job.networks.ready()  # also of a guest that ran already; not while others wait for its lock


def _afresh(lab: Lab, name: str) -> Lab:
    """The lab with the guest as it is defined: one that ran when the command began has ended."""
    return lab.replace(now=lab.now.without(name)) if name in lab.now.running else lab


def _has_let_go(runtime: GuestRuntime) -> bool:
    """Whether it has let go of its lock, and of all else in a moment. Raises Refused when it runs on without it."""
    deadline = time.monotonic() + rundir.MIDST
    while not rundir.is_locked(runtime.directory):
        if not rundir.is_running(runtime.directory):
            return True
        if time.monotonic() > deadline:
            fix, reason = "kvmrun repair", "its lock file was removed"
            raise Refused(f"{runtime.guest} is running already, without its lock", fix, reason=reason)
        time.sleep(0.01)
    return False


def _is_throwaway(runtime: GuestRuntime, *, wanted: bool) -> bool:
    """Whether nothing is written to the images of a guest that runs. Raises Refused where that was asked for."""
    record = rundir.read_record(runtime.directory)
    if record is not None and record.throwaway:
        return True
    if wanted:
        name = runtime.guest
        raise Refused(f"{name} is running already, and writes to its images", f"kvmrun restart {name} --throwaway")
    return False


def _begin_watch(job: Job, name: str, runtime: GuestRuntime) -> Watch | None:
    return job.waits[name].begin(runtime, running=True) if name in job.waits else None


def _replaced_dead_logger(runtime: GuestRuntime) -> bool:
    from kvmrun.host.process import log_writer

    if log_reader.has_writer(runtime.log) and not log_writer.is_stalled(runtime.log):
        return False
    from kvmrun.api.repair.replace_logger import restart_if_dead

    return restart_if_dead(runtime)


def _reloaded_lost_guard(runtime: GuestRuntime) -> bool:
    from kvmrun.api.network.guard_repair import reload_if_missing

    return reload_if_missing(runtime.directory, runtime.guest)


def _refuse_halted(runtime: GuestRuntime, limit: float) -> None:
    """Raises Refused where QEMU is there, and its processor does not run and will not by itself."""
    from kvmrun.api.guest_socket import monitor_of
    from kvmrun.model.guest.guest_state import HALTED, halted, qemu_state
    from kvmrun.monitor.qmp.query_many import query

    answer = query(monitor_of(runtime.directory, runtime.guest), "query-status", limit=limit)
    if (state := qemu_state(answer.replies)) in HALTED:
        reason, fix = halted(runtime.guest, state)
        raise Refused(f"{runtime.guest} was started, and does not run", fix, reason=f"QEMU reports {state}: {reason}")


def _killed_half_started(runtime: GuestRuntime) -> bool:
    from kvmrun.api.guest.start_verify import kill_half_started

    return kill_half_started(runtime)


def plan(
    lab: Lab, where: Paths, runtime: GuestRuntime, raw: tuple[str, ...], others: guest_facts.RunningGuests
) -> tuple[tuple[GuestStep, ...], list[str]]:
    """The guest's own steps, and what does not hold of its definition."""
    guest = lab.guests[runtime.guest]
    merge_records.refuse_taken(lab, guest.name)
    refuse_other_image(where, guest)
    facts = guest_facts.start_facts(guest, runtime, where, others).replace(uplink=lab.uplinks.get(guest.uplink or ""))
    if guest.seed is not None:
        from kvmrun.host.seed.seed_facts import seed_facts  # only a guest with a seed needs it

        facts = facts.replace(seed=seed_facts(guest, runtime, where, lab.networks))
    notes = [
        f"{key} = {found} does not hold: {wanted}" for key, found, wanted in image_plan.image_notes(guest, facts.files)
    ]
    return plan_up(guest, runtime, facts, raw), notes


def _launch(job: Job, runtime: GuestRuntime, steps: tuple[GuestStep, ...], report: Report) -> None:
    guest = job.lab.guests[runtime.guest]
    ownership.begin_log(job.where, runtime.guest)
    ownership.begin_guest_state(job.where, runtime.guest)
    ownership.claim_images(job.where, guest)
    said, uplink = log_reader.end_offset(runtime.log), job.lab.uplinks.get(guest.uplink or "")
    record = record_of(guest, runtime, (*guest.args, *job.raw), uplink).replace(paused=job.paused, said=said)
    now, then = split_at_launch(steps)
    executor = GuestExecutor(job.deadline, title=log_reader.title(runtime.log, guest.accel))
    with ExitStack() as calm:
        try:
            with undo_on_error(now, executor, details(report)):
                from kvmrun.api.guest.start_verify import explain_failure, verify_and_resume

                job.networks.ready()
                try:
                    with undo_on_error(then, executor, details(report)):
                        _keep_watch(
                            job,
                            runtime.guest,
                            verify_and_resume(runtime, executor, record, wait=job.waits.get(runtime.guest)),
                        )
                        calm.enter_context(defer_signals())  # an interrupt before this undoes it all; later ones wait
                        job.networks.keep()
                except KvmrunError as error:
                    raise explain_failure(runtime, executor, record, error) from None
        finally:
            executor.close()
        if executor.note:
            report(Done(guest=runtime.guest, text=executor.note))
        job.started[runtime.guest] = started = Started(
            guest=runtime.guest,
            state="paused" if job.paused else "running",
            accel=guest.accel,
            pid=executor.pid,
            ports=runtime.ports,
            display=guest.shown_at(runtime) or None,
            throwaway=guest.throwaway,
        )
        report(Done(guest=runtime.guest, text=f"{started}"))


def _keep_watch(job: Job, name: str, watch: Watch | None) -> None:
    if watch is not None:
        job.watches[name] = watch
