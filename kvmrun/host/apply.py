"""Carrying out a plan: in order, taken back in reverse when something fails, up to the end of the `with`."""

from kvmrun.errors import KvmrunError, reason
from kvmrun.light import signal
from kvmrun.light.abc import Callable, Iterable, Iterator
from kvmrun.light.contextlib import ExitStack, contextmanager
from kvmrun.light.typing import TypeVar

S = TypeVar("S")
Undo = Callable[[], None]
Say = Callable[[str], None]


@contextmanager
def applied(plan: Iterable[S], hand: Callable[[S], Undo | None], say: Say) -> Iterator[None]:
    """Do every step of `plan`, then the body. If either fails, what was done is undone, last first.

    A hand that fails leaves nothing of its own step behind; its undo speaks only for its success.
    """
    with ExitStack() as undo:
        for step in plan:
            say(f"{step}")
            with _whole():
                if (back := _done(hand, step)) is not None:
                    undo.callback(_quietly, back, step, say)
        yield
        undo.pop_all()


@contextmanager
def _whole() -> Iterator[None]:
    """An interrupt waits until a step is done and its undo is known: in between, nobody would take it back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _done(hand: Callable[[S], Undo | None], step: S) -> Undo | None:
    """Do one step; what the kernel refuses on the way is named after the step."""
    try:
        return hand(step)
    except OSError as why:
        hint = "nothing was changed: try again once that is mended"
        raise KvmrunError(f"could not {step}", hint, why=reason(why)) from why


def _quietly(back: Undo, step: object, say: Say) -> None:
    """Run one undo; its failure is told and must not take the place of the first error."""
    try:
        back()
    except (OSError, KvmrunError) as why:
        say(f"could not undo: {step}: {why}")
