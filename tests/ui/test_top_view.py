"""The live view as a terminal of some size has it: what is on which line, and what keys change."""

from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from kvmrun.model.guest.guest_status import Status
from kvmrun.model.guest.guest_usage import GuestUsage, HostUsage, UsageSnapshot
from kvmrun.ui.screen.fullscreen import Poller
from kvmrun.ui.screen.top_view import Top

LOAD = HostUsage(cpus=2, busy_s=1.0, total_s=10.0, memory_bytes=8 << 30, used_bytes=4 << 30)


class Told(Poller[UsageSnapshot]):
    """A feed that says what it is given, without a thread."""

    def __init__(self) -> None:
        self.waiting: list[UsageSnapshot] = []
        self.asked = 0

    def news(self) -> list[UsageSnapshot]:
        found, self.waiting = self.waiting, []
        return found

    def now(self) -> None:
        self.asked += 1


class Person:
    """Looks at a view and presses keys; `deeds` are what was done to guests."""

    def __init__(self) -> None:
        self.feed = Told()
        self.deeds: list[str] = []
        self.at = 0.0
        self.view = Top(self.feed, self._pausing, 2.0)

    def _pausing(self, name: str, state: str) -> tuple[str, Callable[[], str]] | None:
        return (f"pause {name}?", lambda: self._do(name)) if state == "running" else None

    def _do(self, name: str) -> str:
        self.deeds.append(name)
        return f"{name} is paused"

    def hear(self, *guests: GuestUsage) -> None:
        """A snapshot of these guests, a second later than the one before."""
        self.at += 1
        load = LOAD.replace(busy_s=LOAD.busy_s + self.at, total_s=LOAD.total_s + 2 * self.at)
        self.feed.waiting.append(UsageSnapshot(load=load, guests=tuple(one.replace(at=self.at) for one in guests)))
        self.view.take()

    def press(self, *keys: str) -> str:
        return [self.view.press(key) for key in keys][-1]

    def see(self, width: int = 80, height: int = 24) -> list[str]:
        console = Console(file=StringIO(), width=width, height=height, highlight=False)
        with console.capture() as drawn:
            console.print(self.view.draw(width, height), end="")
        return [line.rstrip() for line in drawn.get().rstrip("\n").split("\n")]

    def names(self) -> list[str]:
        """The guests on the screen, from above."""
        return [line.split()[0] for line in self.see()[2:-2] if line.strip()]


def guest(name: str, *, state: str = "running", pid: int | None = 7, cpu: float = 0.0, rss: int = 1) -> GuestUsage:
    status = Status(
        name=name, state=state, pid=pid, cpus=1, rss_bytes=rss << 20 if pid else None, memory_bytes=64 << 20
    )
    return GuestUsage(at=0.0, status=status, cpu_s=cpu if pid else None)


@pytest.fixture
def person() -> Person:
    return Person()


def test_before_the_first_look_there_is_a_word(person: Person) -> None:
    assert person.see() == ["looking …"]
    assert person.press("enter") == ""
    assert person.press("q") == "quit"


def test_the_busiest_is_first_and_the_order_is_a_key(person: Person) -> None:
    person.hear(guest("a", rss=9), guest("b"), guest("c"))
    person.hear(guest("a", rss=9), guest("b", cpu=0.9), guest("c", cpu=0.2))
    assert person.names() == ["b", "c", "a"]
    head, heads = person.see()[:2]
    assert head == "kvmrun top: 3 of 3 guests  every 2 s  host: CPU 50% of 2, RAM 4096M of 8192M"
    assert heads.split() == ["NAME", "STATE", "CPU%", "MEMORY", "READ", "WRITE", "IN", "OUT"]
    person.press("s")
    assert person.names() == ["a", "b", "c"]
    assert "s sort: memory" in person.see()[-1]
    person.press("<")
    assert person.names() == ["b", "c", "a"]
    person.press("A")
    assert person.names() == ["a", "b", "c"]


def test_the_selection_follows_its_guest(person: Person) -> None:
    person.hear(guest("a"), guest("b"))
    person.hear(guest("a"), guest("b"))
    person.see()
    person.press("down")
    assert (person.view.selected, person.press("enter")) == ("b", "console")
    person.hear(guest("a"), guest("b", cpu=0.5))
    assert person.see()[-2].startswith("b: ")
    person.hear(guest("a", cpu=0.9), guest("b", cpu=0.5))
    assert person.see()[-2].startswith("b: ")
    for key, wanted in (("home", "a"), ("page down", "b"), ("up", "a"), ("up", "a"), ("end", "b"), ("j", "b")):
        person.press(key)
        assert person.view.selected == wanted, key


def test_a_guest_is_paused_only_after_a_question(person: Person) -> None:
    person.hear(guest("a"), guest("b", state="unresponsive"))
    person.see()
    person.press("p")
    assert person.see()[-2] == "pause a? (y/n)"
    person.press("n")
    assert (person.deeds, person.see()[-2][:2]) == ([], "a:")
    person.press("p", "q")
    assert person.deeds == []
    person.press("p", "y")
    assert (person.deeds, person.see()[-2], person.feed.asked) == (["a"], "a is paused", 1)
    person.press("down", "p")
    assert person.see()[-2] == "b is unresponsive"


def test_those_at_rest_are_shown_when_asked_for(person: Person) -> None:
    person.hear(guest("a", state="stopped", pid=None), guest("b", state="paused"))
    assert person.names() == ["b"]
    person.press("a")
    assert person.names() == ["a", "b"]


def test_an_end_is_told(person: Person) -> None:
    person.hear(guest("a"), guest("b"))
    person.hear(guest("a"), guest("b", state="stopped", pid=None))
    assert (person.names(), person.see()[-2]) == (["a"], "b has ended")
    person.press("k")
    assert person.see()[-2].startswith("a: ")


def test_a_display_that_is_held_stays_as_it_is(person: Person) -> None:
    person.hear(guest("a"))
    person.press(" ")
    person.hear(guest("a"), guest("b"))
    assert (person.names(), "HELD" in person.see()[0]) == (["a"], True)
    person.press(" ")
    person.hear(guest("a"), guest("b"))
    assert person.names() == ["a", "b"]


def test_help_covers_the_guests_until_a_key(person: Person) -> None:
    person.hear(guest("a"))
    person.press("?")
    assert "bytes a second" in "".join(person.see())
    assert person.press("q") == ""
    assert person.names() == ["a"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 132, 200])
@pytest.mark.parametrize("height", [3, 10, 24])
def test_it_fits_any_terminal(person: Person, width: int, height: int) -> None:
    many = [guest(f"a-guest-with-a-long-name-{number:02}", state="unresponsive") for number in range(40)]
    person.hear(*many)
    person.hear(*many)
    for key in ("end", "?", "x", "v"):
        person.press(key)
        lines = person.see(width, height)
        assert max(map(len, lines)) <= width
        assert len(lines) <= max(height, 5)
    assert lines[-1].startswith("q quit")
    if height > 4 and width >= 40:
        assert any(line.startswith("a-guest") for line in lines[2:-2])


def test_the_selected_one_is_always_in_sight(person: Person) -> None:
    person.hear(*(guest(f"vm{number:02}") for number in range(40)))
    person.see()
    for _ in range(39):
        person.press("down")
        assert person.view.selected in person.names()
    person.press("home")
    assert person.names()[0] == "vm00"


def test_at_80_columns_nothing_of_an_ordinary_guest_is_cut(person: Person) -> None:
    person.hear(guest("ursa-vm1"))
    person.hear(guest("ursa-vm1", cpu=1.0))
    head, heads, row, *_, about, keys = person.see()
    assert "…" not in head + heads + row + about + keys
    assert row.split() == ["ursa-vm1", "running", "100", "█", "1M/64M", "-", "-", "-", "-"]
