"""Starting one guest: locked, observed, planned, applied, shaken hands with, resumed. Undone if anything fails."""

from kvmrun.commands import _network
from kvmrun.commands._until import Wait, Watch
from kvmrun.host import logs, observe, rundir
from kvmrun.host.apply import applied
from kvmrun.host.hand import Hand
from kvmrun.model.frozen import Frozen
from kvmrun.model.lab import Lab
from kvmrun.model.place import Directories, Place
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
    wait: Wait | None
    paused: bool
    watches: dict[str, Watch]


def plan(
    lab: Lab, where: Directories, place: Place, raw: tuple[str, ...]
) -> tuple[list[NetworkStep], tuple[GuestStep, ...]]:
    """What a start would do now, for its networks and for itself. Changes nothing."""
    networks = sorted({port.network for port in place.ports})
    before = [step for name in networks for step in _network.steps(lab, where, lab.networks[name])]
    return before, _steps(lab, where, place, raw)[1]


def start(job: Job, name: str, progress: Progress) -> None:
    """Start `name`, or say that it runs. Raises whatever was in the way, with nothing left behind."""
    place = job.places[name]
    with rundir.held(place.directory, name):
        if rundir.is_running(place.directory) and not _half_started(place):
            progress.tell(f"{name} is running already")
            _remember(job, name, job.wait.begin(place, running=True) if job.wait else None)
            return
        place, steps = _steps(job.lab, job.where, place, job.raw)
        _launch(job, place, steps, progress)


def _half_started(place: Place) -> bool:
    from kvmrun.commands._confirm import half_started

    return half_started(place)


def _steps(lab: Lab, where: Directories, place: Place, raw: tuple[str, ...]) -> tuple[Place, tuple[GuestStep, ...]]:
    """The guest's own steps, and its place with the account it really runs as."""
    guest = lab.guests[place.guest]
    facts = observe.host(guest, place, where)
    if guest.user and where.root:
        place = place.but(uid=facts.accounts.get(guest.user))
    return place, plan_up(guest, place, facts, raw)


def _launch(job: Job, place: Place, steps: tuple[GuestStep, ...], progress: Progress) -> None:
    guest = job.lab.guests[place.guest]
    record = record_of(guest, place, (*guest.args, *job.raw)).but(paused=job.paused)
    said = logs.position(place.log)
    hand = Hand()
    try:
        with applied(steps, hand, progress.detail):
            from kvmrun.commands._confirm import confirm  # loaded while QEMU starts, which takes it longer

            _remember(job, place.guest, confirm(place, hand, record, wait=job.wait, said=said))
    finally:
        hand.close()
    progress.tell(_told(place, "paused" if job.paused else "running", f"{guest.accel}, pid {hand.pid}"))


def _remember(job: Job, name: str, watch: Watch | None) -> None:
    if watch is not None:
        job.watches[name] = watch


def _told(place: Place, state: str, how: str) -> str:
    ports = ", ".join(f"{one.tap} on {one.bridge}, {one.mac}, {one.address or 'no address'}" for one in place.ports)
    return f"{place.guest} is {state} ({how}): {ports or 'no network'}"
