"""Who comes after whom: no circles, the same backwards, and only of those that take part."""

from hypothesis import given
from hypothesis import strategies as st

from kvmrun.model.guest import start_order

names = st.sampled_from("abcdef")
orders = st.dictionaries(names, st.lists(names, max_size=3).map(tuple))


def test_only_those_that_take_part() -> None:
    before = {"a": ("b", "c", "b"), "b": ("c",)}
    assert start_order.restrict(before, ["a", "b", "x"]) == {"a": ("b",), "b": (), "x": ()}


def test_backwards() -> None:
    assert start_order.inverted({"a": ("b", "c"), "b": ("c",), "c": ()}) == {"a": (), "b": ("a",), "c": ("a", "b")}


def test_a_circle_is_told_as_a_way() -> None:
    before = {"a": ("b",), "b": ("c",), "c": ("a",), "d": ("a",), "e": ("e",)}
    assert start_order.find_cycle(before, "a") == ("a", "b", "c", "a")
    assert start_order.find_cycle(before, "e") == ("e", "e")
    assert start_order.find_cycle(before, "d") == ()


@given(orders)
def test_what_is_untangled_has_no_circle_and_backwards_twice_is_forwards(before: start_order.Before) -> None:
    clear = start_order.without_cycles(start_order.restrict(before, before))
    assert not any(start_order.find_cycle(clear, name) for name in clear)
    twice = start_order.inverted(start_order.inverted(clear))
    assert {name: set(others) for name, others in twice.items()} == {
        name: set(others) for name, others in clear.items()
    }


@given(orders)
def test_those_in_a_circle_are_found_in_one_pass(before: start_order.Before) -> None:
    assert start_order.find_cycles(before) == {
        name for name in {*before, *"abcdef"} if start_order.find_cycle(before, name)
    }


def test_a_long_chain_takes_no_long_time() -> None:
    chain = {f"{n}": (f"{n + 1}",) for n in range(20_000)}
    assert start_order.without_cycles(chain) == chain
    assert start_order.inverted(chain)["1"] == ("0",)
