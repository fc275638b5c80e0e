"""Many small cases in one test: an item of pytest's costs a thousand times what most of them do."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

T = TypeVar("T")


def each(cases: Iterable[T], check: Callable[[T], object]) -> None:
    """Check all of them; the test fails with every case that failed, and when there is none."""
    failed, count = [], 0
    for count, case in enumerate(cases, 1):  # noqa: B007 - told when there is none
        try:
            check(case)
        except (Exception, pytest.fail.Exception) as why:
            failed.append(f"{case}: {type(why).__name__}: {why}")
    assert count
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)
