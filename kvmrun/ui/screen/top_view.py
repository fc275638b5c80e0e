"""The live view of what guests use: who is shown, in which order, and what keys do. top_drawing draws it."""

from collections import deque
from collections.abc import Callable, Mapping

from rich.console import RenderableType

from kvmrun.model.guest.guest_usage import UsageRates, UsageSnapshot
from kvmrun.ui.screen import top_drawing, top_text
from kvmrun.ui.screen.fullscreen import Poller
from kvmrun.ui.screen.top_drawing import GuestRow

_HISTORY = 120
_ORDERS: Mapping[str, Callable[[GuestRow], float]] = {
    "cpu": lambda line: round(line.rates.cpu_percent or 0.0),  # as shown: those at rest stay where they are
    "memory": lambda line: line.sample.status.rss_bytes or 0,
    "disk": lambda line: sum(line.rates.disk or ()),
    "network": lambda line: sum(line.rates.network or ()),
    "name": lambda _: 0.0,
}
"""What guests are sorted by: those with the most first, equal ones by name."""
_DIRECT = {"C": "cpu", "P": "cpu", "M": "memory", "D": "disk", "N": "network", "A": "name"}


_Doing = tuple[str, Callable[[], str]]
"""Something to be done to a guest: a question that y answers, then the deed, which says what came of it."""


class Top:
    """The view. `pausing` gives what the key p does to a guest that is in some state, None where it does nothing."""

    def __init__(self, feed: Poller[UsageSnapshot], pausing: Callable[[str, str], _Doing | None], every: float) -> None:
        self.selected = ""
        self.note = ""
        self._feed = feed
        self._pausing = pausing
        self._every = every
        self._last: UsageSnapshot | None = None
        self._shown: UsageSnapshot | None = None
        self._busy: float | None = None
        self._past: dict[str, deque[UsageRates]] = {}
        self._lines: list[GuestRow] = []
        self._order = "cpu"
        self._held = self._everybody = self._details = self._helping = False
        self._asked: _Doing | None = None
        self._first = self._room = 0

    def take(self) -> None:
        """The next snapshots; while the display is held they only become the past."""
        for now in self._feed.news():
            rates = now.rates(self._last)
            self._past = {name: deque([*self._past.get(name, ()), found], _HISTORY) for name, found in rates.items()}
            self._tell_ends(now)
            if not (self._held and self._lines):
                self._busy = now.load.cpu_percent(self._last.load) if self._last else None
                self._shown = now
                self._lines = [
                    GuestRow(sample=one, rates=rates[name], past=tuple(self._past[name]))
                    for one in now.guests
                    for name in (one.status.name,)
                ]
            self._last = now

    def draw(self, width: int, height: int) -> RenderableType:
        """Head, guests, a line about the selected one, keys."""
        if self._shown is None:
            return "looking …"
        lines = self._sorted()
        names = [line.name for line in lines]
        if self.selected not in names:
            self.selected = names[0] if names else ""
        self._room = max(1, height - top_drawing.AROUND)
        rows = top_drawing.rows(lines, details=self._details)
        self._first = top_drawing.scrolled(rows, self.selected, self._first, self._room)
        return top_drawing.draw(
            top_drawing.TopFrame(
                head=self._head(len(lines)),
                rows=rows[self._first : self._first + self._room],
                selected=self.selected,
                order=self._order,
                about=self._about(lines),
                loud=bool(self.note or self._asked),
                helping=self._helping,
            ),
            width,
            self._room,
        )

    def press(self, key: str) -> str:
        """ "quit" or "console" when the screen is to be left for that."""
        self.note = ""
        if self._asked:
            asked, self._asked = self._asked, None
            if key in {"y", "Y"}:
                self.note = asked[1]()
                self._feed.now()
            return ""
        if self._helping:
            self._helping = False
            return ""
        if key in {"q", "Q", "enter", "c"}:
            return "quit" if key in {"q", "Q"} else "console" if self.selected else ""
        if key in _DIRECT or key in {"s", "<", ">"}:
            self._sort(key)
        elif key in {"up", "down", "k", "j", "page up", "page down", "home", "end"}:
            self._move(key)
        else:
            self._switch(key)
        return ""

    def _switch(self, key: str) -> None:
        if key == " ":
            self._held = not self._held
            self._feed.now()
        elif key == "a":
            self._everybody = not self._everybody
        elif key == "v":
            self._details = not self._details
        elif key in {"?", "h"}:
            self._helping = True
        elif key == "p" and self.selected:
            state = next((line.sample.status.state for line in self._lines if line.name == self.selected), "")
            self._asked = self._pausing(self.selected, state)
            self.note = "" if self._asked else f"{self.selected} is {state}"

    def _sort(self, key: str) -> None:
        orders = list(_ORDERS)
        step = -1 if key == "<" else 1
        self._order = _DIRECT.get(key) or orders[(orders.index(self._order) + step) % len(orders)]

    def _move(self, key: str) -> None:
        names = [line.name for line in self._sorted()]
        if self.selected not in names:
            return
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self._room, "page down": self._room}
        to = names.index(self.selected) + steps.get(key, -len(names) if key == "home" else len(names))
        self.selected = names[min(max(to, 0), len(names) - 1)]

    def _sorted(self) -> list[GuestRow]:
        worth = _ORDERS[self._order]
        shown = [line for line in self._lines if self._everybody or top_text.at_work(line.sample)]
        return sorted(shown, key=lambda line: (-worth(line), line.name))

    def _tell_ends(self, now: UsageSnapshot) -> None:
        ran = {one.status.name for one in self._last.guests if one.status.pid} if self._last else set()
        ended = sorted(ran - {one.status.name for one in now.guests if one.status.pid})
        if ended and not self._asked:
            self.note = f"{', '.join(ended)} {'has' if len(ended) == 1 else 'have'} ended"

    def _head(self, shown: int) -> str:
        assert self._shown is not None
        load = self._shown.load
        return top_drawing.head(load, self._busy, f"{shown} of {len(self._shown.guests)}", self._every, held=self._held)

    def _about(self, lines: list[GuestRow]) -> str:
        if self._asked:
            return f"{self._asked[0]} (y/n)"
        return self.note or next((top_drawing.about(line.sample) for line in lines if line.name == self.selected), "")
