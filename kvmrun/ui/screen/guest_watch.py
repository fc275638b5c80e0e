"""The list on a screen of its own, kept up to date."""

from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.text import Text

from kvmrun.model.guest.guest_status import Status
from kvmrun.ui.screen import fullscreen
from kvmrun.ui.text import guest_columns
from kvmrun.ui.text.guest_table import table

_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10}


def watch_guests(
    look: Callable[[], list[Status]], view: guest_columns.View, every: float, note: str, *, color: str
) -> int:
    """Show the list until q or a signal; the exit code. `note` is what else there is to say."""
    feed = fullscreen.Poller(look, every)
    return fullscreen.exit_code(fullscreen.show(_Watch(feed, view, f"every {every:g} s", note), feed.fd, color=color))


class _Watch:
    def __init__(self, feed: fullscreen.Poller[list[Status]], view: guest_columns.View, pace: str, note: str) -> None:
        self._feed = feed
        self._view = view
        self._pace = pace
        self._note = note
        self._found: list[Status] | None = None
        self._first = 0

    def take(self) -> None:
        for found in self._feed.news():
            self._found = found

    def draw(self, width: int, height: int) -> RenderableType:
        """Rows that do not fit are reached with the arrows."""
        if self._found is None:
            return "looking …"
        self._first = max(0, min(self._first, len(self._found) - height + 2))
        words = [f"kvmrun list: {len(self._found)} guests", self._pace, "q quit", self._note]
        head = Text("  ".join(filter(None, words)), style="dim", no_wrap=True, overflow="ellipsis")
        return Group(head, table(self._found[self._first :], self._view, width))

    def press(self, key: str) -> str:
        self._first += _STEPS.get(key, 0)
        return "quit" if key in {"q", "Q"} else ""
