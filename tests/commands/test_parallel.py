"""Many guests at once: side by side, one after the other where that is asked, each with its own error."""

import threading
import time

import pytest

from kvmrun.api.parallel import each
from kvmrun.errors import KvmrunError, Unresponsive


def test_those_nothing_orders_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=10)
    assert each(["a", "b"], lambda _: both.wait() and None) == {}


def test_a_chain_takes_its_turns() -> None:
    done: list[str] = []

    def do(name: str) -> None:
        time.sleep(0.02 if name == "c" else 0)
        done.append(name)

    assert each(["a", "b", "c", "d"], do, {"a": ("b",), "b": ("c",)}) == {}
    assert [name for name in done if name != "d"] == ["c", "b", "a"]


def test_a_failure_holds_up_those_after_it_with_its_code() -> None:
    done: list[str] = []

    def do(name: str) -> None:
        done.append(name)
        if name == "a":
            raise Unresponsive("a is silent")

    before = {"b": ("a",), "c": ("b",)}
    errors = each(["a", "b", "c", "d"], do, before)
    assert {name: (error.code, error.reason[-1:]) for name, error in errors.items()} == {
        "a": (7, ""),
        "b": (7, "a"),
        "c": (7, "b"),
    }
    assert sorted(done) == ["a", "d"]
    done.clear()
    assert set(each(["a", "b", "c", "d"], do, before, ends=True)) == {"a"}
    assert sorted(done) == ["a", "b", "c", "d"]


def test_what_failed_before_counts_also_for_a_single_one() -> None:
    errors = each(["b"], lambda _: None, {"b": ("a",)}, failed={"a": KvmrunError("a is invalid")})
    assert sorted(errors) == ["a", "b"]


def test_a_bug_is_raised_and_ends_nothing_else() -> None:
    done: list[str] = []

    def do(name: str) -> None:
        if name == "a":
            raise ZeroDivisionError
        done.append(name)

    with pytest.raises(ZeroDivisionError):
        each(["a", "b", "c"], do)
    assert sorted(done) == ["b", "c"]
