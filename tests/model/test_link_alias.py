"""The mark of a link says whose it is, and fits into the kernel's 255 bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmrun.model.network import link_alias

LABS = st.text("abc/:.- ü", min_size=1, max_size=300).map(lambda text: f"/{text}")


@given(LABS)
def test_a_mark_is_read_as_it_was_written(lab: str) -> None:
    tap, bridge = link_alias.of_tap("vm1", "eth0", lab), link_alias.of_bridge("lan", lab)
    assert (link_alias.subject(tap), link_alias.name(tap)) == ("vm1", "eth0")
    assert (link_alias.subject(bridge), link_alias.name(bridge)) == ("net", "lan")
    assert len(tap.encode()) <= 255
    assert link_alias.lab_of(tap) in {lab, link_alias.lab_of(link_alias.of_tap("vm2", "eth1", lab))}
    assert link_alias.lab_of(tap) != link_alias.lab_of(link_alias.of_tap("vm1", "eth0", f"{lab}x"))


def test_the_mark_of_another_lab_is_not_the_same_and_that_of_0_1_0_is() -> None:
    mine = link_alias.of_tap("vm1", "eth0", "/a")
    assert link_alias.is_same(mine, mine)
    assert link_alias.is_same("kvmrun:vm1:eth0", mine)
    assert not link_alias.is_same(link_alias.of_tap("vm1", "eth0", "/b"), mine)
    assert not link_alias.is_same(link_alias.of_tap("vm1", "eth0", "/a/b"), mine)


@pytest.mark.parametrize(
    "alias", ["", "my link", "kvmrun", "kvmrun:vm1", "kvmrun:vm2:eth0", "kvmrun:vm1:eth", "kvmrun:vm"]
)
def test_anything_else_is_not_ours(alias: str) -> None:
    assert not link_alias.is_same(alias, link_alias.of_tap("vm1", "eth0", "/a"))
    assert link_alias.lab_of(alias) == ""
