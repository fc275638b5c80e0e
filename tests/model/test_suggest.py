"""The distance between two words, and which of several is the nearest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmrun.model.suggest import closest, distance

WORDS = st.text("abc", max_size=6)


@pytest.mark.parametrize(
    ("one", "other", "errors"),
    [("stop", "stop", 0), ("sotp", "stop", 1), ("stp", "stop", 1), ("stopp", "stop", 1), ("resize", "reset", 3)],
)
def test_a_distance_counts_typing_errors(one: str, other: str, errors: int) -> None:
    assert distance(one, other) == errors


@given(WORDS, WORDS)
def test_a_distance_is_the_same_both_ways_and_0_only_for_the_same(one: str, other: str) -> None:
    found = distance(one, other)
    assert found == distance(other, one)
    assert (found == 0) == (one == other)
    assert abs(len(one) - len(other)) <= found <= max(len(one), len(other))


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("vm9", ["vm1", "web"], "vm1"), ("mem", ["memory", "cpus"], "memory"), ("unfreeze", ["zebra"], ""),
        ("", ["a"], ""), ("x" * 100_000, ["xx"], ""), ("ursa-vm", ["ursa-vm1", "other"], "ursa-vm1"),
    ],
)  # fmt: skip
def test_the_nearest_is_near(word: str, known: list[str], found: str) -> None:
    assert closest(word, known) == found
