"""What may be waited for: that a guest runs, answers, lets connect, says something on its console, or has ended."""

import os
import time

from kvmrun.commands._agent import absent, talking
from kvmrun.commands._parallel import interrupted
from kvmrun.commands._until import Wait, Watch
from kvmrun.errors import Busy, KvmrunError, NotRunning, Unresponsive, UsageError
from kvmrun.host import logs, neighbour, process, rundir
from kvmrun.model.deadline import NEVER, Deadline
from kvmrun.model.frozen import Frozen
from kvmrun.model.guest import CONSOLE
from kvmrun.model.nic import Port
from kvmrun.model.place import Place
from kvmrun.model.ready import Ready
from kvmrun.monitor.agent import Garbled
from kvmrun.monitor.console import Listening
from kvmrun.monitor.probe import ask

_LIMIT = 60.0
_PAUSE = 0.05
_GLANCE = 0.2
_WHOLE_LOG = 1 << 20
_KVM_HINT = "kvmrun console shows what it does; if KVM cannot run it here, try --accel tcg"


class Condition(Frozen):
    """A condition for every guest of one command, and when that command is to be over."""

    kind: str
    text: str = ""
    deadline: Deadline = NEVER

    def begin(self, place: Place, *, running: bool) -> Watch:
        """Begin to watch `place`, before its guest runs unless `running`."""
        match self.kind:
            case "address":
                return _Address(place)
            case "port":
                return _Port(place, int(self.text))
            case "console":
                return _Console(place, self.text, running=running)
            case "agent":
                return _Agent(place)
            case "stopped":
                return _Stopped(place)
            case _:
                return _Running(place)

    def finish(self, name: str, directory: str, watch: Watch) -> None:
        """Wait until `watch` is met. Raises Unresponsive when the time is over; the guest goes on as it is."""
        deadline = time.monotonic() + self.deadline.granted(_LIMIT)
        try:
            while not watch.met():
                if self.kind != "running" and not rundir.is_running(directory):
                    raise NotRunning(f"{name} ended meanwhile", f"kvmrun log {name} tells what it said last")
                if interrupted():
                    raise KvmrunError(f"{name} was no longer waited for", why="Ctrl-C")
                if time.monotonic() > deadline:
                    raise self._too_late(name, watch)
        finally:
            watch.close()

    def _too_late(self, name: str, watch: Watch) -> Unresponsive:
        limit = _LIMIT if self.deadline.limit is None else self.deadline.limit
        why = f"{watch.what} not within {limit:g} s"
        if self.kind == "stopped":
            return Unresponsive(f"{name} still runs", f"kvmrun stop {name}", why=why)
        if self.kind == "running":
            return Unresponsive(f"{name} does not run", f"kvmrun {name} starts it", why=why)
        return Unresponsive(f"{name} runs, but gives no sign of life", _KVM_HINT, why=why)


class All(Frozen):
    """Several conditions, one after the other."""

    waits: tuple[Wait, ...]

    def begin(self, place: Place, *, running: bool) -> Watch:
        return _Several(tuple(wait.begin(place, running=running) for wait in self.waits))

    def finish(self, name: str, directory: str, watch: Watch) -> None:
        """Wait for each. Raises what the first one raises that is not met."""
        assert isinstance(watch, _Several)
        try:
            for wait, one in zip(self.waits, watch.watches, strict=True):
                wait.finish(name, directory, one)
        finally:
            watch.close()


def parse(word: str, deadline: Deadline) -> Condition | None:
    """A condition of a start: None for `qmp` and `running`, which every start waits for. Raises UsageError."""
    try:
        wanted = Ready.parse("running" if word == "qmp" else word)
    except ValueError:
        hint = "--wait=qmp, --wait=address, --wait=agent, --wait=port:NUMBER or --wait=console:TEXT"
        raise UsageError(f"cannot wait for {word}", hint) from None
    return None if wanted.kind == "running" else condition(wanted, deadline)


def condition(word: Ready | str, deadline: Deadline) -> Condition:
    """Any condition. Raises UsageError."""
    try:
        wanted = Ready("stopped") if word == "stopped" else Ready.parse(word)
    except ValueError as why:
        raise UsageError(f"cannot wait for {word}", f'--for "stopped", {why}') from None
    return Condition(kind=wanted.kind, text=wanted.text, deadline=deadline)


class _Address:
    def __init__(self, place: Place) -> None:
        self._port = _first(place)
        self.what = f"an answer from {self._port.address}"
        neighbour.forget(self._port.bridge, self._port.address or "")

    def met(self) -> bool:
        if neighbour.answers(self._port.bridge, self._port.address or "", self._port.mac):
            return True
        time.sleep(_PAUSE)
        return False

    def close(self) -> None:
        return


class _Port:
    def __init__(self, place: Place, number: int) -> None:
        self._at = (_first(place).address or "", number)
        self.what = f"a connection to {self._at[0]}, port {number},"

    def met(self) -> bool:
        import socket

        try:
            socket.create_connection(self._at, timeout=_GLANCE).close()
        except TimeoutError:
            return False
        except OSError:
            time.sleep(_PAUSE)
            return False
        return True

    def close(self) -> None:
        return


class _Agent:
    """Whether somebody in the guest has opened the agent's port, and then whether it is an agent."""

    def __init__(self, place: Place) -> None:
        self.what = "an answer of its agent"
        self._place = place

    def met(self) -> bool:
        if not absent(self._place.directory, limit=_GLANCE):
            try:
                with talking(self._place.directory, self._place.guest, limit=1.0):
                    return True
            except (Busy, Garbled, Unresponsive):
                return False
        time.sleep(_PAUSE)
        return False

    def close(self) -> None:
        return


class _Console:
    """Hears the line itself, for a prompt that ends no line; and the log, for the line may be somebody else's."""

    def __init__(self, place: Place, text: str, *, running: bool) -> None:
        self.what = f"{text!r} on the console"
        self._text = text.encode()
        self._seen = b""
        self._log = place.log
        self._read = -1
        record = rundir.read_record(place.directory) if running else None
        self._start = record.said if record else logs.position(place.log)
        self._at = Listening(place.socket(CONSOLE))

    def met(self) -> bool:
        if self._text not in self._seen:
            self._seen = self._seen[-len(self._text) :] + self._at.read(limit=_GLANCE)
        return self._text in self._seen or self._logged()

    def _logged(self) -> bool:
        """Whether it is in the log, which is read again only when there is more of it."""
        now = logs.position(self._log)
        if now == self._read:
            return False
        self._read = now
        return any(self._text in line.encode() for line in logs.since(self._log, self._start, _WHOLE_LOG))

    def close(self) -> None:
        self._at.close()


class _Running:
    def __init__(self, place: Place) -> None:
        self.what = "a running guest"
        self._directory = place.directory

    def met(self) -> bool:
        if rundir.is_running(self._directory):
            status = ask({"": f"{self._directory}/q"}, ("query-status",), limit=_GLANCE)[""].replies.get("query-status")
            if isinstance(status, dict) and status.get("status") == "running":
                return True
        time.sleep(_PAUSE)
        return False

    def close(self) -> None:
        return


class _Stopped:
    def __init__(self, place: Place) -> None:
        self.what = "its end"
        self._directory = place.directory
        record = rundir.read_record(place.directory)
        self._pidfd = -1
        with rundir.opened(place.directory, record.pid if record else 0) as pidfd:
            if pidfd is not None:
                self._pidfd = os.dup(pidfd)

    def met(self) -> bool:
        if self._pidfd < 0:
            time.sleep(_PAUSE)
        elif not process.ended(self._pidfd, _GLANCE):
            return False
        return not rundir.is_running(self._directory)

    def close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd = -1


class _Several:
    def __init__(self, watches: tuple[Watch, ...]) -> None:
        self.watches = watches
        self.what = " and ".join(watch.what for watch in watches)

    def met(self) -> bool:
        return all(watch.met() for watch in self.watches)

    def close(self) -> None:
        for watch in self.watches:
            watch.close()


def _first(place: Place) -> Port:
    known = [port for port in place.ports if port.address]
    if not known:
        raise UsageError(f"{place.guest} has no address to wait for", "give one of its NICs an address")
    return known[0]
