"""The time of one call: that of the thread that makes it and of those that work for it, and of no other."""

import threading

from kvmrun.api.parallel import each
from kvmrun.model.deadline import NEVER, Deadline, current, remaining, within

OVER = Deadline(limit=1.0, began=0.0)
NAMES = ["vm1", "vm2", "vm3"]


def test_a_thread_has_the_limit_of_its_own_call() -> None:
    before = current()
    found: list[float] = []
    with within(OVER):
        other = threading.Thread(target=lambda: found.append(remaining(5)))
        other.start()
        other.join()
        assert remaining(5) == 0
    assert found == [5]
    assert current() == before


def test_what_has_no_limit_leaves_the_one_there_is() -> None:
    with within(OVER), within(NEVER):
        assert remaining(5) == 0
    assert remaining(5) == 5


def test_those_who_work_for_a_call_have_its_limit() -> None:
    found: list[float] = []
    with within(OVER):
        each(NAMES, lambda _: found.append(remaining(5)))
    each(NAMES, lambda _: found.append(remaining(5)))
    assert found == [0, 0, 0, 5, 5, 5]
