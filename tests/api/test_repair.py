"""What repair tells of faults, one after the other, and of what stops it between two."""

from collections.abc import Iterator

from kvmrun.api.repair.repair import _outcomes
from kvmrun.api.repair.repair_targets import RepairTarget
from kvmrun.errors import KvmrunError
from kvmrun.plan.repair.repair_plan import Fault
from kvmrun.plan.steps.repair_steps import RemoveLeftovers


def told(repaired: int) -> list[tuple[str, str]]:
    """(text, state) of each result where the repair ends after that many of two faults."""
    faults = [Fault(subject="vm1", text=text, steps=(RemoveLeftovers(guest="vm1"),)) for text in ("one", "two")]

    def repair() -> Iterator[Fault]:
        yield from faults[:repaired]
        raise KvmrunError("no")

    target = RepairTarget(name="vm1", look=lambda: faults, repair=repair)
    return [(one.text, one.state) for one in _outcomes(target, dry=False)]


def test_a_failure_is_told_of_the_fault_that_was_being_repaired() -> None:
    assert told(0) == [("one", "not repaired")]
    assert told(1) == [("one", "repaired"), ("two", "not repaired")]
    assert told(2)[:2] == [("one", "repaired"), ("two", "repaired")]
    assert told(2)[2][0] not in {"one", "two"}
