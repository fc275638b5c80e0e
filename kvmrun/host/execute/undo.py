"""Carrying out a plan: in order, taken back in reverse when something fails, up to the end of the `with`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from kvmrun.errors import KvmrunError, host_reason
from kvmrun.host.process.signals import defer_signals
from kvmrun.model.deadline import undoing

S = TypeVar("S")
Undo = Callable[[], None]
UndoneBy = Callable[[Undo], None]
Say = Callable[[str], None]


@contextmanager
def undo_on_error(plan: Iterable[S], executor: Callable[[S], Undo | None], say: Say) -> Iterator[None]:
    """Do every step of `plan`, then the body. If either fails, what was done is undone, last first.

    An executor that fails leaves nothing of its own step behind; its undo speaks only for its success.
    """
    with ExitStack() as undo:
        for step in plan:
            say(f"{step}")
            with defer_signals():  # between a step and its undo being known, nobody would take the step back
                if (back := _done(executor, step)) is not None:
                    undo.callback(_quietly, back, step, say)
        yield
        undo.pop_all()


@contextmanager
def undone_on_error() -> Iterator[UndoneBy]:
    """The body hands over what takes back each thing that it does; if it fails, all that is done, last first.

    For what needs no plan. An undo that fails must not take the place of the first error.
    """
    with ExitStack() as undo:

        def undone_by(back: Undo) -> None:
            undo.callback(_quietly, back, "", lambda _: None)

        yield undone_by
        undo.pop_all()


def _done(executor: Callable[[S], Undo | None], step: S) -> Undo | None:
    """Do one step; what the kernel refuses on the way is named after the step."""
    try:
        return executor(step)
    except OSError as error:
        fix = "nothing was changed: correct that, then try again"
        raise KvmrunError(f"could not {step}", fix, reason=host_reason(error)) from error


def _quietly(back: Undo, step: object, say: Say) -> None:
    """Run one undo; its failure is told and must not take the place of the first error."""
    try:
        with undoing():
            back()
    except (OSError, KvmrunError) as error:
        say(f"could not undo: {step}: {error}")
