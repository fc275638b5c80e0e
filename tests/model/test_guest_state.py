"""The state of a guest, by what its QEMU replied."""

import pytest
from support.builders import RECORD

from kvmrun.model.guest.guest_state import HALTED, guest_state, is_half_started, qemu_state
from kvmrun.model.guest.launch_record import Record

PAUSED = RECORD.replace(paused=True)


def replies(state: object, uuid: str = "u") -> dict[str, object]:
    return {"query-status": {"status": state}, "query-uuid": {"UUID": uuid}}


@pytest.mark.parametrize(
    ("state", "record", "expected", "has_problem"),
    [
        ("running", RECORD, "running", False),
        ("running", None, "running", False),
        ("paused", RECORD, "paused", False),
        ("prelaunch", RECORD, "prelaunch", True),
        ("prelaunch", None, "prelaunch", True),
        ("prelaunch", PAUSED, "paused", False),
        ("prelaunch", PAUSED.replace(pid=0), "prelaunch", True),
        ("io-error", RECORD, "io-error", True),
        ("postmigrate", RECORD, "postmigrate", False),
        ("\x1b[2J", RECORD, "\\x1b[2J", False),
        *((state, RECORD, state, True) for state in HALTED),
    ],
)
def test_what_qemu_replied(state: str, record: Record | None, expected: str, has_problem: bool) -> None:
    found, problem = guest_state("vm1", "", replies(state), record, limit=2)
    assert (found, problem is not None) == (expected, has_problem)
    assert is_half_started(replies(state), record) == (expected == "prelaunch")


@pytest.mark.parametrize("reply", [None, [], "running", {}, {"status": None}, {"running": True}])
def test_no_state_is_unknown(reply: object) -> None:
    assert qemu_state({"query-status": reply}) == ""
    assert guest_state("vm1", "", {"query-status": reply}, None, limit=2) == ("unknown", None)


@pytest.mark.parametrize(
    ("silence", "expected"),
    [("busy", "running"), ("stranger", "unresponsive"), ("gone", "unresponsive"), ("silent", "unresponsive")],
)
def test_no_answer_has_a_reason(silence: str, expected: str) -> None:
    found, problem = guest_state("vm1", silence, {}, RECORD, limit=2)
    assert found == expected
    assert problem


def test_another_uuid_is_a_problem() -> None:
    assert guest_state("vm1", "", replies("running", "other"), RECORD, limit=2)[1]
