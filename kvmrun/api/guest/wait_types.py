"""The shape of a wait, for those who pass one on: what a condition is, before it is known which."""

from typing import Protocol

from kvmrun.model.paths import GuestRuntime


class Watch(Protocol):
    """Something begun before the guest runs and finished after."""

    runtime: GuestRuntime
    what: str
    """What is waited for, as a noun phrase."""
    missing: str
    """What did not happen, when the time is over, as a clause."""
    seen: str
    """What was seen instead, "" where there is nothing to tell."""

    def met(self) -> bool:
        """Whether the condition is met; returns within about a second."""

    def close(self) -> None:
        """Release its resources."""


class Wait(Protocol):
    """A condition for every guest of one command."""

    @property
    def limit(self) -> float:
        """The seconds it may take."""

    def begin(self, runtime: GuestRuntime, *, running: bool) -> Watch:
        """Begin to watch `runtime`, before its guest runs unless `running`."""

    def finish(self, name: str, directory: str, watch: Watch) -> None:
        """Wait until `watch` is met. Raises Unresponsive when the time is over; the guest goes on running."""
