"""Frozen values: made whole, never changed, equal by what they hold."""

import pytest

from kvmrun.model.guest.nic import Nic
from kvmrun.model.value import Value


class Point(Value):
    x: int
    y: int = 0


class Far(Point):
    z: int = 9


@pytest.mark.parametrize("given", [{}, {"y": 1}, {"x": 1, "w": 2}])
def test_a_missing_or_unknown_field_is_an_error(given: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(**given)


def test_a_value_cannot_be_changed() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError, match="frozen"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del point.x
    assert (point.x, point.replace(x=2).x) == (1, 2)


def test_values_are_equal_by_kind_and_fields() -> None:
    assert Point(x=1) == Point(x=1, y=0)
    assert len({Point(x=1), Point(x=1, y=0), Point(x=2)}) == 2
    assert Far(x=1) != Point(x=1)
    assert Far(x=1).as_dict() == {"x": 1, "y": 0, "z": 9}


def test_a_value_tells_itself() -> None:
    assert repr(Point(x=1)) == "Point(x=1, y=0)"
    assert "queues=1" in repr(Nic())
