"""A record is a hint: it survives its round trip, and anything else is no record."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import JSON_VALUES, PORT, RECORD
from support.table import each

from kvmrun.model.guest.launch_record import Record, record_from_json

FULL = RECORD.replace(
    uuid="6b76",
    accel="kvm",
    ports=(PORT.replace(queues=2),),
    raw=("-S",),
    started=9,
    boot="b",
    display="127.0.0.1:5901",
    throwaway=True,
)
TEXT = json.dumps(FULL.to_json())


def data(**changes: Any) -> dict[str, Any]:
    return {**json.loads(TEXT), **changes}


def port(**changes: Any) -> list[dict[str, Any]]:
    return [{**json.loads(TEXT)["ports"][0], **changes}]


def test_a_record_is_read_as_it_was_written() -> None:
    assert record_from_json(json.loads(TEXT)) == FULL
    assert json.loads(TEXT)["schema"] == 1


def test_a_record_cut_short_is_no_record() -> None:
    def check(length: int) -> None:
        with pytest.raises(ValueError, match=r"."):
            json.loads(TEXT[:length])

    each(range(len(TEXT)), check)


@pytest.mark.parametrize("missing", ["name", "uuid", "accel", "cpus", "memory", "ports"])
def test_a_record_without_what_it_needs_is_no_record(missing: str) -> None:
    assert record_from_json({key: value for key, value in data().items() if key != missing}) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 5},
        {"uuid": None},
        {"accel": ["kvm"]},
        {"cpus": "2"},
        {"cpus": True},
        {"memory": 1.5},
        {"pid": -1},
        {"started": None},
        {"boot": 3},
        {"raw": "-S"},
        {"raw": [1]},
        {"raw": None},
        {"ports": 5},
        {"ports": "eth0"},
        {"ports": [1]},
        {"ports": {"a": 1}},
        {"ports": [{}]},
        {"ports": port(tap=5)},
        {"ports": port(address=[])},
        {"ports": port(queues="2")},
        {"ports": port(mtu=None)},
        {"ports": port(model=1)},
    ],
    ids=str,
)
def test_a_wrong_type_anywhere_is_no_record(changes: dict[str, Any]) -> None:
    assert record_from_json(data(**changes)) is None


def test_what_a_later_version_wrote_is_passed_over() -> None:
    assert record_from_json(data(schema=2, colour="blue", ports=port(vlan=5))) == FULL


@given(JSON_VALUES)
def test_any_json_is_a_record_or_none(tree: object) -> None:
    assert record_from_json(tree) is None


@given(st.sampled_from(sorted(Record.FIELDS)), JSON_VALUES)
def test_any_value_anywhere_is_a_record_or_none(field: str, value: object) -> None:
    found = record_from_json(data(**{field: value}))
    assert found is None or found.to_json() == {**FULL.to_json(), field: found.to_json()[field]}
