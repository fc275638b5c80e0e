"""The mark of a link says whose it is, and fits into the kernel's 255 bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmrun.model import mark

LABS = st.text("abc/:.- ü", min_size=1, max_size=300).map(lambda text: f"/{text}")


@given(LABS)
def test_a_mark_is_read_as_it_was_written(lab: str) -> None:
    tap, bridge = mark.of_tap("vm1", "eth0", lab), mark.of_bridge("lan", lab)
    assert (mark.subject(tap), mark.name(tap)) == ("vm1", "eth0")
    assert (mark.subject(bridge), mark.name(bridge)) == ("net", "lan")
    assert len(tap.encode()) <= 255
    assert mark.lab_of(tap) in {lab, mark.lab_of(mark.of_tap("vm2", "eth1", lab))}
    assert mark.lab_of(tap) != mark.lab_of(mark.of_tap("vm1", "eth0", f"{lab}x"))


def test_the_mark_of_another_lab_is_not_the_same_and_that_of_0_1_0_is() -> None:
    mine = mark.of_tap("vm1", "eth0", "/a")
    assert mark.is_same(mine, mine)
    assert mark.is_same("kvmrun:vm1:eth0", mine)
    assert not mark.is_same(mark.of_tap("vm1", "eth0", "/b"), mine)
    assert not mark.is_same(mark.of_tap("vm1", "eth0", "/a/b"), mine)


@pytest.mark.parametrize(
    "alias", ["", "my link", "kvmrun", "kvmrun:vm1", "kvmrun:vm2:eth0", "kvmrun:vm1:eth", "kvmrun:vm"]
)
def test_anything_else_is_not_ours(alias: str) -> None:
    assert not mark.is_same(alias, mark.of_tap("vm1", "eth0", "/a"))
    assert mark.lab_of(alias) == ""
