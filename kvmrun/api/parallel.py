"""One operation on many guests in parallel: a failure stops only the guests that depend on it."""

import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from kvmrun.errors import INTERRUPTED, Interrupted, KvmrunError, refused_by_host
from kvmrun.host.process import signals
from kvmrun.model.deadline import current, within
from kvmrun.model.value import EMPTY

_GLANCE = 0.1
"""How long the main thread sleeps between two looks, in seconds: a signal may be delivered to another thread."""
_ENDS = 64
"""How many guests are worked on in parallel while they end: the work is done by QEMU and the kernel."""


_working: "dict[int, _Queue]" = {}
"""The guest that each worker thread works on, by its number."""


def interrupted() -> bool:
    """Whether those that still wait for something should give up."""
    queue = _working.get(threading.get_ident())
    return bool(signals.number()) or (queue is not None and queue.interrupt is not None)


def each(
    names: Sequence[str],
    do: Callable[[str], None],
    before: Mapping[str, Collection[str]] = EMPTY,
    *,
    failed: Mapping[str, KvmrunError] = EMPTY,
    ends: bool = False,
) -> dict[str, KvmrunError]:
    """Call `do` for every name, a few a core at once; the errors by name. Bugs are raised at the end.

    A name with others `before` it has its turn when theirs is over, and fails with them. Those that have `failed`
    already are among the errors. What `ends` guests is done to nearly all at once, and to each whatever became of
    the others.

    A signal lets what was begun come to its end, begins nothing new, and then raises Interrupted.
    """
    if len(names) == 1 and not failed:
        return _one(names[0], do)
    queue = _Queue(names, before, failed, ends=ends)
    workers = min(len(names), _ENDS if ends else 4 * (os.cpu_count() or 1))
    with signals.note_signals():
        _run([threading.Thread(target=queue.work, args=(do,)) for _ in range(workers)], queue)
        if queue.bugs:
            raise queue.bugs[0]
        if signal := signals.raised():
            raise Interrupted(128 + signal, queue.errors | queue.untouched())
        if queue.interrupt is not None:
            raise Interrupted(INTERRUPTED, queue.errors | queue.untouched()) from queue.interrupt
    return queue.errors


class _Queue:
    """The names that are still to be processed. The condition `stirred` protects it and announces every end."""

    def __init__(
        self,
        names: Sequence[str],
        before: Mapping[str, Collection[str]],
        failed: Mapping[str, KvmrunError],
        *,
        ends: bool,
    ) -> None:
        self._left = dict.fromkeys(names)
        self._open = dict.fromkeys(names)
        self._before = before
        self.stirred = threading.Condition()
        self._ends = ends
        self.errors = dict(failed)
        self.bugs: list[BaseException] = []
        self.interrupt: KeyboardInterrupt | None = None
        self._deadline = current()
        self.working = 0

    def work(self, do: Callable[[str], None]) -> None:
        """What every thread does: take a name whose turn has come, until none is left."""
        _working[threading.get_ident()] = self
        with within(self._deadline):
            self._work(do)
        del _working[threading.get_ident()]
        with self.stirred:
            self.working -= 1
            self.stirred.notify_all()

    def _work(self, do: Callable[[str], None]) -> None:
        while (name := self._next()) is not None:
            try:
                found = _one(name, do)
            except BaseException as bug:  # carried to the caller's thread
                self.bugs.append(bug)
                found = {}
            with self.stirred:
                self.errors.update(found)
                self._open.pop(name)
                self.stirred.notify_all()

    def untouched(self) -> dict[str, KvmrunError]:
        """An error for each that was not begun."""
        return {name: KvmrunError(f"{name} was left as it was", reason="a signal came first") for name in self._open}

    def _next(self) -> str | None:
        with self.stirred:
            while self._left and not interrupted():
                if (name := next(filter(self._may, self._left), None)) is None:
                    self.stirred.wait()
                    continue
                self._left.pop(name)
                if not self._hold_up(name):
                    return name
            return None

    def _may(self, name: str) -> bool:
        """Whether all those before `name` have had their turn."""
        return not any(one in self._open for one in self._before.get(name, ()))

    def _hold_up(self, name: str) -> bool:
        """Let `name` fail with one that was before it, if one has failed and that matters."""
        failed = next((one for one in self._before.get(name, ()) if one in self.errors), None)
        if failed is None or self._ends:
            return False
        self.errors[name] = _held_up(name, failed, self.errors[failed])
        self._open.pop(name)
        self.stirred.notify_all()
        return True


def _held_up(name: str, other: str, error: KvmrunError) -> KvmrunError:
    """The error of a guest that was not begun, with the exit code of what held it up."""
    found = KvmrunError(
        f"{name} was not started", f"correct {other} first, then: kvmrun {name}", reason=f"it comes after {other}"
    )
    found.code = error.code
    return found


def _run(workers: Sequence[threading.Thread], queue: _Queue) -> None:
    """Start all and wait until the last has nothing left to do.

    Not by Thread.join(): before Python 3.13 one that an exception interrupts takes the thread for ended.
    """
    with queue.stirred:  # each waits for it first: one that works already holds up the start of the next
        for worker in workers:
            try:
                worker.start()
            except RuntimeError:  # no room for another thread: those that there are do it all
                if not queue.working:
                    raise
                break
            queue.working += 1
        while queue.working:
            try:
                queue.stirred.wait(_GLANCE)
            except KeyboardInterrupt as interrupt:  # by a handler that is not ours: nothing new is begun from now on
                queue.interrupt = interrupt


def _one(name: str, do: Callable[[str], None]) -> dict[str, KvmrunError]:
    try:
        do(name)
    except KvmrunError as error:
        return {name: error}
    except OSError as fault:
        return {name: refused_by_host(f"go on with {name}", fault)}
    return {}
