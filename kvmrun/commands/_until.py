"""The shape of a wait, for those who pass one on: what a condition is, before it is known which."""

from kvmrun.light.typing import Protocol
from kvmrun.model.place import Place


class Watch(Protocol):
    """Something begun before the guest runs and finished after."""

    what: str

    def met(self) -> bool:
        """Whether it has come to pass; returns within a second or so."""

    def close(self) -> None:
        """Let go of what it holds."""


class Wait(Protocol):
    """A condition for every guest of one command."""

    def begin(self, place: Place, *, running: bool) -> Watch:
        """Begin to watch `place`, before its guest runs unless `running`."""

    def finish(self, name: str, directory: str, watch: Watch) -> None:
        """Wait until `watch` is met. Raises Unresponsive when the time is over; the guest goes on running."""
