"""The networks of guests that are being started: examined once for all, while the first QEMU starts."""

import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from kvmrun.host.links import tap_device
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths


def bridges_exist(lab: Lab, names: Collection[str]) -> bool:
    """Whether all these networks have their bridge, or something by its name."""
    return all(tap_device.ifindex(lab.networks[name].bridge) for name in names)


class NetworkHold:
    """The networks that are used here, held until the block ends; changes are undone if the block raises."""

    def __init__(
        self, look: Callable[[], Lab], where: Paths, names: Collection[str], say: Callable[[str], None]
    ) -> None:
        self._look = look
        self._where = where
        self._names = names
        self._say = say
        self._stack = ExitStack()
        self._turn = threading.Lock()
        self._looked = False
        self._kept = False
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        """Bring up a network that is down before anything starts; the others are examined later."""
        if not bridges_exist(self._look(), self._names):
            self.ready()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Whatever ends the command, a network that a started guest uses is not taken away."""
        if self._kept:
            self._stack.close()
        else:
            self._stack.__exit__(kind, error, at)

    def keep(self) -> None:
        """A guest runs on them now."""
        self._kept = True

    def ready(self) -> None:
        """Return when the networks are up and held. An error is raised to every caller."""
        with self._turn:
            if not self._looked:
                self._looked = True
                try:
                    self._hold()
                except BaseException as error:
                    self.error = error
        if self.error is not None:
            raise self.error

    def _hold(self) -> None:
        from kvmrun.api.network import (
            guard_repair,
            network_use,  # and much below it, loaded while QEMU starts
        )

        guard_repair.update_guards(self._look(), self._where, self._names)
        self._stack.enter_context(network_use.followed(self._look, self._where, self._names, self._say))
