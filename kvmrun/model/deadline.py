"""When a command is to be over: one value, made from --timeout when the command begins, handed to all that waits.

What waits for the host (a lock, a program of the system) has no value handed down to it: it asks `remaining`. That is
a context variable, so that every thread and every asyncio task has the deadline of its own call.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from kvmrun.model.value import Value


class Deadline(Value):
    """The moment `limit` seconds after `began`; without a limit there is none, and every wait has its usual one."""

    limit: float | None = None
    began: float = 0.0

    @classmethod
    def begin(cls, limit: float | None) -> "Deadline":
        """The deadline of a command that begins now."""
        return cls(limit=limit, began=time.monotonic())

    def left(self, usual: float) -> float:
        """How many seconds a wait may take that takes `usual` seconds at most where no limit is given."""
        return usual if self.limit is None else max(0.0, min(usual, self._rest()))

    def granted(self, usual: float) -> float:
        """All the seconds that are left, `usual` ones where no limit is given: for what a limit may make longer."""
        return usual if self.limit is None else max(0.0, self._rest())

    def is_over(self) -> bool:
        return self.limit is not None and self._rest() <= 0

    def _rest(self) -> float:
        assert self.limit is not None
        return self.began + self.limit - time.monotonic()


NEVER = Deadline()
"""That of a command without --timeout."""
_UNDO = 2.0
"""How long taking back may take after the end of the time, in seconds, each step of it."""
_current = ContextVar("deadline", default=NEVER)
_undoing = ContextVar("undoing", default=False)


def current() -> Deadline:
    """The deadline of what this thread does: that of the innermost `within`."""
    return _current.get()


@contextmanager
def within(deadline: Deadline) -> Iterator[None]:
    """What this thread waits for inside the block is over by the deadline. One without a limit changes nothing."""
    before = _current.set(deadline if deadline.limit is not None else current())
    try:
        yield
    finally:
        _current.reset(before)


def remaining(usual: float) -> float:
    """How many seconds a wait of this thread may take, `usual` ones at most.

    After the end of the time only what is taken back is waited for, and not for long.
    """
    least = min(usual, _UNDO) if _undoing.get() else 0.0
    return max(least, current().left(usual))


@contextmanager
def undoing() -> Iterator[None]:
    """What this thread does inside the block takes back what was done."""
    before = _undoing.set(True)
    try:
        yield
    finally:
        _undoing.reset(before)
