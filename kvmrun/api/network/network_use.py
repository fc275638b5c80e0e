"""Networks that guests are about to use: brought up first, and locked while they are used."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from kvmrun.errors import Busy, KvmrunError
from kvmrun.host.execute.undo import undo_on_error
from kvmrun.host.facts import network_facts
from kvmrun.host.links import tap_device
from kvmrun.host.rundir import lock, rundir
from kvmrun.model.deadline import remaining
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths
from kvmrun.plan import merge_records
from kvmrun.plan.network import network_plan
from kvmrun.plan.steps.network_steps import NetworkStep

Say = Callable[[str], None]
_MOMENT = 0.05
"""How long to try, in seconds, to be alone with a network: the run directory may be made and removed meanwhile."""
_BUSY = 0.5
"""How long, in seconds, others may have a network without being taken for users of it."""
_FIRST = 0.02
"""The shortest pause, in seconds, before looking again whether another command has repaired a network meanwhile."""


Look = Callable[[], Lab]
"""Gives the lab as it holds now, by the records there are at that moment."""


def pending_steps(lab: Lab, where: Paths, name: str, owner: int | None = None) -> tuple[NetworkStep, ...]:
    """What is still to be done for a network, from the host as it is now; `lab` is as it holds now."""
    network = lab.networks[name]
    merge_records.refuse_elsewhere(lab, name)
    return network_plan.up_steps(lab, network, where, network_facts.network_facts(lab, network, where), owner)


@contextmanager
def hold_networks(
    look: Look, where: Paths, names: Iterable[str], say: Say, *, owner: int | None = None
) -> Iterator[bool]:
    """Bring the networks up that need it and keep others from taking them down until the body ends.

    What was done for them here is undone if the body raises. The value is whether anything was: then the rules of the
    lab's other networks have to follow.
    """
    changed = False
    with ExitStack() as stack:
        for name in sorted(names):
            changed = stack.enter_context(_hold_network(look, where, name, say, owner=owner)) or changed
        yield changed


@contextmanager
def followed(look: Look, where: Paths, names: Iterable[str], say: Say) -> Iterator[None]:
    """The same for who does nothing else with networks: the rules of the others have followed when the body begins."""
    from kvmrun.host.execute import bridge_rules_sync

    changed = False
    try:
        with hold_networks(look, where, names, say) as changed:
            if changed:
                bridge_rules_sync.follow(look, where)
            yield
    except BaseException:
        if changed:  # and undone
            with suppress(KvmrunError, OSError):
                bridge_rules_sync.follow(look, where)
        raise


@contextmanager
def _hold_network(look: Look, where: Paths, name: str, say: Say, *, owner: int | None) -> Iterator[bool]:
    """One network; the value is whether anything had to be done for it."""
    directory, what = where.network(name), f"network {name}"
    deadline = time.monotonic() + remaining(rundir.OP_LIMIT)
    pause = _FIRST * (1 + os.getpid() % 8)  # those who begin together do not look again together
    while True:
        if tap_device.ifindex(
            look().networks[name].bridge
        ):  # looking at one that is down takes pyroute2, too much for all who wait
            with rundir.locked(directory, what, shared=True):
                if not pending_steps(look(), where, name, owner):
                    yield False
                    return
        with ExitStack() as stack:
            try:
                fd = stack.enter_context(rundir.locked(directory, what, limit=_MOMENT))
            except Busy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, 1.0)
                continue
            if todo := pending_steps(look(), where, name, owner):
                stack.enter_context(undo_on_error(todo, _undo_if_unused(where, fd), say))
            lock.take_lock(fd, shared=True)
            yield bool(todo)
            return


def _undo_if_unused(where: Paths, fd: int) -> Callable[[NetworkStep], Callable[[], None] | None]:
    """Performs steps of a network, whose undo does nothing once another command has begun to use the network."""
    from kvmrun.host.execute.network_executor import execute

    do = execute(where)
    decided: list[bool] = []

    def is_alone() -> bool:
        """Whether nobody else uses the network, decided once for the whole undo."""
        if not decided:
            decided.append(_is_alone(fd))
        return decided[0]

    def alone(step: NetworkStep) -> Callable[[], None] | None:
        back = do(step)
        return (lambda: back() if is_alone() else None) if back else None

    return alone


def _is_alone(fd: int) -> bool:
    """Whether nobody else uses the network; one whose rules only follow those of another is busy for a moment."""
    try:
        lock.wait_for_lock(fd, "the network", limit=_BUSY)
    except Busy:
        return False
    return True
