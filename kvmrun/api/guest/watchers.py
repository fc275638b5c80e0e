"""What is watched of one guest while a command waits for it: its address, a port, its agent, its console, its end."""

import os
import time

from kvmrun.api.conversation.agent import absence_reason, agent_session
from kvmrun.api.guest.wait_types import Watch
from kvmrun.api.guest_socket import monitor_of, socket_of
from kvmrun.errors import Busy, KvmrunError, NotRunning, Unresponsive, UsageError
from kvmrun.host.links import neighbours
from kvmrun.host.process import log_reader, process
from kvmrun.host.rundir import lock, rundir
from kvmrun.model.guest.guest_state import qemu_state
from kvmrun.model.guest.nic import Port
from kvmrun.model.machine.chardevs import CONSOLE
from kvmrun.model.paths import GuestRuntime
from kvmrun.monitor.agent.agent_client import AgentError, Garbled
from kvmrun.monitor.console.console_relay import Listening
from kvmrun.monitor.qmp.query_many import query

_PAUSE = 0.05
_GLANCE = 0.2
_IDLE = 5.0
"""How long a guest that does not run is watched for somebody to start it, in seconds."""
_WHOLE_LOG = 1 << 20
_SEED_PAUSE = 0.5
_NO_AGENT = "no process in the guest has opened the port of the agent"


def begin(kind: str, text: str, runtime: GuestRuntime, *, running: bool) -> Watch:
    """Begin to watch `runtime` for a condition of that kind, before its guest runs unless `running`."""
    match kind:
        case "address":
            return _Address(runtime)
        case "port":
            return _Port(runtime, int(text))
        case "console":
            return _Console(runtime, text, running=running)
        case "agent":
            return _Agent(runtime)
        case "seed":
            return _Seed(runtime)
        case "stopped":
            return _Stopped(runtime)
        case _:
            return _Running(runtime)


class _Watching:
    """`missing` says what did not happen, `seen` what was seen instead; both complete a sentence about the guest."""

    def __init__(self, runtime: GuestRuntime, what: str, missing: str, seen: str = "") -> None:
        self.runtime = runtime
        self.what = what
        self.missing = missing
        self.seen = seen

    def close(self) -> None:
        return


class _Address(_Watching):
    def __init__(self, runtime: GuestRuntime) -> None:
        self._port = port = _first_port_with_address(runtime)
        seen = f"nobody answers ARP requests for it on {port.bridge} with the MAC {port.mac}"
        super().__init__(runtime, f"an answer from {port.address}", f"{port.address} did not answer", seen)
        neighbours.forget_neighbour(port.bridge, port.address or "")

    def met(self) -> bool:
        if neighbours.has_answered(self._port.bridge, self._port.address or "", self._port.mac):
            return True
        time.sleep(_PAUSE)
        return False


class _Port(_Watching):
    def __init__(self, runtime: GuestRuntime, number: int) -> None:
        self._at = (_first_port_with_address(runtime).address or "", number)
        name = f"port {number} of {self._at[0]}"
        super().__init__(runtime, f"{name} to open", f"{name} did not open", "no connection attempt has ended")

    def met(self) -> bool:
        import socket

        try:
            socket.create_connection(self._at, timeout=_GLANCE).close()
        except TimeoutError:
            self.seen = f"{self._at[0]} does not answer: packets may be dropped, or the guest has another address"
            return False
        except ConnectionRefusedError:
            self.seen = f"{self._at[0]} refuses the connection: nothing listens on that port"
            time.sleep(_PAUSE)
            return False
        except OSError as error:
            self.seen = os.strerror(error.errno or 0)
            time.sleep(_PAUSE)
            return False
        return True


class _Agent(_Watching):
    """Whether somebody in the guest has opened the agent's port, and then whether it is an agent."""

    def __init__(self, runtime: GuestRuntime) -> None:
        super().__init__(runtime, "an answer from the agent", "the agent did not answer")

    def met(self) -> bool:
        silence = absence_reason(self.runtime.directory, self.runtime.guest, limit=_GLANCE)
        if not silence:
            try:
                with agent_session(self.runtime.directory, self.runtime.guest, limit=1.0):
                    return True
            except (Busy, Garbled, Unresponsive) as error:
                self.seen = error.reason or error.message
                return False
        self.seen = "the guest is paused" if silence == "paused" else _NO_AGENT
        time.sleep(_PAUSE)
        return False


class _Seed(_Watching):
    """Whether the guest's system has applied its seed, which its agent tells."""

    def __init__(self, runtime: GuestRuntime) -> None:
        super().__init__(runtime, "the seed to be applied", "its seed was not applied")

    def met(self) -> bool:
        """Raises KvmrunError with the guest's own words where it has failed."""
        from kvmrun.api.conversation.seed_status import SeedStatus, seed_status  # only where it is waited for

        found, name = SeedStatus(state="unknown"), self.runtime.guest
        self.seen = f"{_NO_AGENT}; packages in [seed] of {name} can install qemu-guest-agent"
        if not (silence := absence_reason(self.runtime.directory, name, limit=_GLANCE)):
            try:
                with agent_session(self.runtime.directory, name, limit=1.0) as agent:
                    found = seed_status(agent)
                self.seen = "the guest is at work on it" if found.state == "running" else "the guest does not tell"
            except (Busy, Garbled, Unresponsive, AgentError) as error:
                self.seen = error.reason or error.message
        elif silence == "paused":
            self.seen = "the guest is paused"
        if found.state == "failed":
            fix = f"kvmrun exec {name} -- {found.log}"
            raise KvmrunError(f"the seed of {name} has failed", fix, reason=found.error, lines=found.lines)
        if found.state != "done":
            time.sleep(_PAUSE if silence else _SEED_PAUSE)
        return found.state == "done"


class _Console(_Watching):
    """Hears the line itself, for a prompt that ends no line; and the log, for the line may be somebody else's."""

    def __init__(self, runtime: GuestRuntime, text: str, *, running: bool) -> None:
        super().__init__(runtime, f"{text!r} on the console", f"{text!r} did not appear on the console")
        self._text = text.encode()
        self._read_so_far = b""
        self._read = -1
        record = rundir.read_record(runtime.directory) if running else None
        self._start = record.said if record else log_reader.end_offset(runtime.log)
        self._at = Listening(socket_of(runtime.directory, runtime.guest, CONSOLE))

    def met(self) -> bool:
        if self._text not in self._read_so_far:
            try:
                self._read_so_far = self._read_so_far[-len(self._text) :] + self._at.read(limit=_GLANCE)
            except NotRunning:  # told by name once its lock is free, which takes QEMU a moment
                time.sleep(_PAUSE)
        return self._text in self._read_so_far or self._logged()

    def _logged(self) -> bool:
        """Whether it is in the log, which is read again only when there is more of it."""
        log = self.runtime.log
        now = log_reader.end_offset(log)
        if now == self._read:
            return False
        self._read = now
        return any(self._text in line.encode() for line in log_reader.lines_since(log, self._start, _WHOLE_LOG))

    def close(self) -> None:
        self._at.close()


class _Running(_Watching):
    def __init__(self, runtime: GuestRuntime) -> None:
        super().__init__(runtime, "a running guest", "it did not run", "no QEMU runs")
        self._idle_since = time.monotonic()

    def met(self) -> bool:
        """Raises NotRunning where it does not run and no command starts it."""
        directory = self.runtime.directory
        if rundir.is_running(directory):
            answer = query(monitor_of(directory, self.runtime.guest), "query-status", limit=_GLANCE)
            if (state := qemu_state(answer.replies)) == "running":
                return True
            self.seen = f"QEMU reports the state {state}" if state else "QEMU does not answer on its monitor"
            self._idle_since = time.monotonic()
        elif lock.is_held(f"{directory}/op"):
            self._idle_since = time.monotonic()
        elif time.monotonic() > self._idle_since + _IDLE:
            guest, reason = self.runtime.guest, f"no command has begun to start it within {_IDLE:g} s"
            raise NotRunning(f"{guest} is not running", f"kvmrun {guest} starts it", reason=reason)
        time.sleep(_PAUSE)
        return False


class _Stopped(_Watching):
    def __init__(self, runtime: GuestRuntime) -> None:
        super().__init__(runtime, "the end of the guest", "it did not end", "its QEMU still runs")
        record = rundir.read_record(runtime.directory)
        self._pidfd = -1
        with rundir.qemu_pidfd(runtime.directory, record.pid if record else 0) as pidfd:
            if pidfd is not None:
                self._pidfd = os.dup(pidfd)

    def met(self) -> bool:
        if self._pidfd < 0:
            time.sleep(_PAUSE)
        elif not process.wait_exit(self._pidfd, _GLANCE):
            return False
        return not rundir.is_running(self.runtime.directory)

    def close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd = -1


class AllOf(_Watching):
    def __init__(self, runtime: GuestRuntime, watches: tuple[Watch, ...]) -> None:
        self.watches = watches
        super().__init__(runtime, " and ".join(watch.what for watch in watches), "")

    def met(self) -> bool:
        return all(watch.met() for watch in self.watches)

    def close(self) -> None:
        for watch in self.watches:
            watch.close()


def _first_port_with_address(runtime: GuestRuntime) -> Port:
    known = [port for port in runtime.ports if port.address]
    if not known:
        raise UsageError(f"{runtime.guest} has no address to wait for", "give one of its NICs an address")
    return known[0]
