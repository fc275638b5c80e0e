"""Starting one guest: locked, observed, planned, applied, shaken hands with, resumed. Undone if anything fails."""

from kvmrun.commands import _network
from kvmrun.commands._wait import Wait, Watch
from kvmrun.host import logs, observe, process, rundir
from kvmrun.host.apply import applied
from kvmrun.host.hand import Hand
from kvmrun.model.frozen import Frozen
from kvmrun.model.lab import Lab
from kvmrun.model.place import Directories, Place
from kvmrun.monitor import handshake
from kvmrun.monitor.probe import ask
from kvmrun.plan.died import explain
from kvmrun.plan.steps import GuestStep, NetworkStep
from kvmrun.plan.up import record as record_of
from kvmrun.plan.up import up as plan_up
from kvmrun.ui.progress import Progress


class Job(Frozen):
    """What the starts of one command share. `watches` gathers what is still to be waited for, by guest."""

    lab: Lab
    where: Directories
    places: dict[str, Place]
    raw: tuple[str, ...]
    wait: Wait
    watches: dict[str, Watch | None]


def plan(
    lab: Lab, where: Directories, place: Place, raw: tuple[str, ...]
) -> tuple[list[NetworkStep], tuple[GuestStep, ...]]:
    """What a start would do now, for its networks and for itself. Changes nothing."""
    networks = sorted({port.network for port in place.ports})
    before = [step for name in networks for step in _network.steps(lab, lab.networks[name])]
    return before, _steps(lab, where, place, raw)[1]


def start(job: Job, name: str, progress: Progress) -> None:
    """Start `name`, or say that it runs. Raises whatever was in the way, with nothing left behind."""
    place = job.places[name]
    with rundir.held(place.directory, name):
        if rundir.is_running(place.directory) and not _half_started(place):
            progress.tell(f"{name} is running already")
            job.watches[name] = job.wait.begin(place, running=True)
            return
        place, steps = _steps(job.lab, job.where, place, job.raw)
        _launch(job, place, steps, progress)


def _steps(lab: Lab, where: Directories, place: Place, raw: tuple[str, ...]) -> tuple[Place, tuple[GuestStep, ...]]:
    """The guest's own steps, and its place with the account it really runs as."""
    guest = lab.guests[place.guest]
    facts = observe.host(guest, place, where)
    if guest.user and where.root:
        place = place.but(uid=facts.accounts.get(guest.user))
    return place, plan_up(guest, place, facts, raw)


def _launch(job: Job, place: Place, steps: tuple[GuestStep, ...], progress: Progress) -> None:
    guest = job.lab.guests[place.guest]
    since = logs.position(place.log)
    hand = Hand()
    try:
        with applied(steps, hand, progress.detail):
            handshake.check(place.socket("q"), uuid=place.uuid, accel=guest.accel)
            used = process.usage(hand.pid)
            record = record_of(guest, place, (*guest.args, *job.raw))
            record = record.but(pid=hand.pid, started=used.started if used else 0, boot=process.boot_id())
            rundir.write_record(place.socket("record"), record)
            watch = job.wait.begin(place, running=False)
            handshake.resume(place.socket("q"))
            job.watches[place.guest] = watch
    except handshake.Gone:
        status = hand.reap()
        raise explain(guest.name, status, logs.since(place.log, since)) from None
    finally:
        hand.close()
    progress.tell(_told(place, guest.accel, hand.pid))


def _half_started(place: Place) -> bool:
    """End a QEMU that an interrupted start left paused before its first instruction: it is begun again."""
    reply = ask({"": place.socket("q")}, ("query-status",), limit=2.0)[""].replies.get("query-status")
    if not isinstance(reply, dict) or reply.get("status") != "prelaunch":
        return False
    with process.opened(place.socket("life")) as pidfd:
        return pidfd is None or process.kill(pidfd)


def _told(place: Place, accel: str, pid: int) -> str:
    ports = ", ".join(f"{one.tap} on {one.bridge}, {one.mac}, {one.address or 'no address'}" for one in place.ports)
    return f"{place.guest} is running ({accel}, pid {pid}): {ports or 'no network'}"
