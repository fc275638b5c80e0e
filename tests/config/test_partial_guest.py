"""What is valid of a definition with errors."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kvmrun.config.guest.partial_guest import valid_part
from kvmrun.model.guest.guest import Guest

NAMES = st.sampled_from([*Guest.FIELDS, ".", "]", "[0]", "a.b", "", "nic[0].mac"]) | st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_any_table_has_a_valid_part_or_none(table: dict[str, Any]) -> None:
    found = valid_part("vm1", table, "/lab")
    assert found is None or found.name == "vm1"


def test_what_has_no_error_is_kept() -> None:
    table = {".": 1, "memroy": "1G", "cpus": 2, "limits": {"]": 1}, "nic": [{"mac": "52:54:00:00:00:01"}]}
    found = valid_part("vm1", table, "/lab")
    assert found is not None
    assert found.cpus == 2
    assert [nic.mac for nic in found.nic] == ["52:54:00:00:00:01"]
