"""What a start may wait for: that QEMU says running, that the guest answers, that its console says something."""

import time

from kvmrun.commands._until import Watch
from kvmrun.errors import NotRunning, Unresponsive, UsageError
from kvmrun.host import logs, neighbour, rundir
from kvmrun.model.frozen import Frozen
from kvmrun.model.guest import CONSOLE
from kvmrun.model.place import Place
from kvmrun.monitor.console import Listening

_LIMIT = 60.0
_PAUSE = 0.05
_KVM_HINT = "kvmrun console shows what it does; if KVM cannot run it here, try --accel tcg"


class Condition(Frozen):
    """A condition for every guest of one command, and the seconds it may take."""

    kind: str
    text: str
    limit: float

    def begin(self, place: Place, *, running: bool) -> Watch:
        """Begin to watch `place`, before its guest runs unless `running`."""
        return _Address(place) if self.kind == "address" else _Console(place, self.text, running=running)

    def finish(self, name: str, directory: str, watch: Watch) -> None:
        """Wait until `watch` is met. Raises Unresponsive when the time is over; the guest goes on running."""
        deadline = time.monotonic() + self.limit
        try:
            while not watch.met():
                if not rundir.is_running(directory):
                    raise NotRunning(f"{name} ended meanwhile", f"kvmrun log {name} tells what it said last")
                if time.monotonic() > deadline:
                    why = f"{watch.what} not within {self.limit:g} s"
                    raise Unresponsive(f"{name} runs, but gives no sign of life", _KVM_HINT, why=why)
        finally:
            watch.close()


def parse(word: str, limit: float | None) -> Condition | None:
    """`qmp` (None: every start waits for that), `address` or `console:TEXT`. Raises UsageError."""
    kind, _, text = word.partition(":")
    if kind not in {"qmp", "address", "console"} or (kind == "console") != bool(text):
        raise UsageError(f"cannot wait for {word}", "--wait=qmp, --wait=address or --wait=console:TEXT")
    return None if kind == "qmp" else Condition(kind=kind, text=text, limit=_LIMIT if limit is None else limit)


class _Address:
    def __init__(self, place: Place) -> None:
        known = [port for port in place.ports if port.address]
        if not known:
            raise UsageError(f"{place.guest} has no address to wait for", "give one of its NICs an address")
        self._port = known[0]
        self.what = f"an answer from {self._port.address}"
        neighbour.forget(self._port.bridge, self._port.address or "")

    def met(self) -> bool:
        if neighbour.answers(self._port.bridge, self._port.address or "", self._port.mac):
            return True
        time.sleep(_PAUSE)
        return False

    def close(self) -> None:
        return


class _Console:
    def __init__(self, place: Place, text: str, *, running: bool) -> None:
        self.what = f"{text!r} on the console"
        self._text = text.encode()
        self._seen = b""
        self._at = Listening(place.socket(CONSOLE))
        if running:
            self._seen = "\n".join(logs.since(place.log, 0)).encode()

    def met(self) -> bool:
        if self._text not in self._seen:
            self._seen = self._seen[-len(self._text) :] + self._at.read(limit=0.2)
        return self._text in self._seen

    def close(self) -> None:
        self._at.close()
