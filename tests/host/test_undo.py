"""Plans carried out and taken back."""

import errno
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from kvmrun.errors import KvmrunError, Refused
from kvmrun.host.execute.undo import undo_on_error, undone_on_error


class Hand:
    """Notes what it does and undoes; fails at the steps it is told to."""

    def __init__(self, *, fails: str = "", undo_fails: str = "") -> None:
        self.done: list[str] = []
        self.fails = fails
        self.undo_fails = undo_fails

    def __call__(self, step: str) -> Callable[[], None] | None:
        if step == self.fails:
            raise OSError(errno.ENOSPC, "no room")
        self.done.append(step)
        return None if step == "silent" else lambda: self.back(step)

    def back(self, step: str) -> None:
        if step == self.undo_fails:
            raise Refused("not to be undone")
        self.done.append(f"-{step}")


def carry_out(plan: list[str], hand: Hand, body: Callable[[], None] = lambda: None) -> list[str]:
    """Everything that was said."""
    said: list[str] = []
    try:
        with undo_on_error(plan, hand, said.append):
            body()
    finally:
        hand.done.append("end")
    return said


def test_a_plan_that_succeeds_stays() -> None:
    hand = Hand()
    assert carry_out(["a", "silent", "b"], hand) == ["a", "silent", "b"]
    assert hand.done == ["a", "silent", "b", "end"]


def test_a_step_that_fails_takes_back_those_before_it_last_first() -> None:
    hand = Hand(fails="c")
    with pytest.raises(KvmrunError, match="could not c") as caught:
        carry_out(["a", "b", "silent", "c", "d"], hand)
    assert caught.value.reason == "No space left on device"
    assert hand.done == ["a", "b", "silent", "-b", "-a", "end"]


def test_a_body_that_fails_takes_everything_back() -> None:
    hand = Hand()

    def body() -> None:
        raise Refused("no")

    with pytest.raises(Refused, match="no"):
        carry_out(["a", "b"], hand, body)
    assert hand.done == ["a", "b", "-b", "-a", "end"]


def test_an_undo_that_fails_is_told_and_hides_nothing() -> None:
    hand = Hand(fails="c", undo_fails="b")
    said: list[str] = []
    with pytest.raises(KvmrunError, match="could not c"), undo_on_error(["a", "b", "c"], hand, said.append):
        pass
    assert said[-1].endswith(": b: not to be undone")
    assert hand.done == ["a", "b", "-a"]


def test_an_interrupt_waits_until_the_undo_of_its_step_is_known() -> None:
    hand = Hand()

    def interrupted(step: str) -> Callable[[], None] | None:
        if step == "b":
            signal.raise_signal(signal.SIGINT)
        return hand(step)

    with pytest.raises(KeyboardInterrupt), undo_on_error(["a", "b", "c"], interrupted, str):
        pass
    assert hand.done == ["a", "b", "-b", "-a"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("fails", [True, False])
def test_what_is_done_without_a_plan_is_taken_back_where_it_fails(fails: bool) -> None:
    hand = Hand(undo_fails="b")
    with suppress(OSError), undone_on_error() as undone_by:
        for step in ("a", "b", "c"):
            hand.done.append(step)
            undone_by(partial(hand.back, step))
        if fails:
            raise OSError(errno.ENOSPC, "no room")
    assert hand.done == ["a", "b", "c", *(["-c", "-a"] if fails else [])]
