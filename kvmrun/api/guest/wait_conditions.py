"""What may be waited for: that a guest runs, answers, lets connect, says something on its console, or has ended."""

import time

from kvmrun.api.guest import watchers
from kvmrun.api.guest.wait_types import Wait, Watch
from kvmrun.api.parallel import interrupted
from kvmrun.errors import KvmrunError, NotRunning, Unresponsive, UsageError
from kvmrun.host.process import log_reader
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import NEVER, Deadline
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.readiness import Ready
from kvmrun.model.paths import GuestRuntime
from kvmrun.model.scalars import Size
from kvmrun.model.value import Value

_LIMIT = 60.0
_SEED_LIMIT = 600.0
"""How long a first boot may take, which downloads packages, in seconds."""
_TAIL = 3
_NO_MEDIUM = ("No bootable device", "Boot failed")
"""What SeaBIOS prints when it has found nothing to boot, and then halts."""
_FIRMWARE, _RESETS = "SeaBIOS (version", 3
_LITTLE = 256 << 20


class Condition(Value):
    """A condition for every guest of one command, and when that command is to be over."""

    kind: str
    text: str = ""
    deadline: Deadline = NEVER

    @property
    def limit(self) -> float:
        """The seconds it may take."""
        return self._usual if self.deadline.limit is None else self.deadline.limit

    @property
    def _usual(self) -> float:
        return _SEED_LIMIT if self.kind == "seed" else _LIMIT

    def begin(self, runtime: GuestRuntime, *, running: bool) -> Watch:
        """Begin to watch `runtime`, before its guest runs unless `running`."""
        return watchers.begin(self.kind, self.text, runtime, running=running)

    def finish(self, name: str, directory: str, watch: Watch) -> None:
        """Wait until `watch` is met. Raises Unresponsive when the time is over; the guest goes on as it is."""
        deadline = time.monotonic() + self.deadline.granted(self._usual)
        try:
            while not watch.met():
                if self.kind != "running" and not rundir.is_running(directory):
                    reason = f"it ended before this: {watch.what}"
                    raise NotRunning(f"{name} is not running any more", f"kvmrun log {name}", reason=reason)
                if interrupted():
                    raise KvmrunError(
                        f"{name} was no longer waited for", reason="the command was interrupted by Ctrl-C"
                    )
                if time.monotonic() > deadline:
                    raise self._too_late(name, watch)
        finally:
            watch.close()

    def _too_late(self, name: str, watch: Watch) -> Unresponsive:
        if self.kind == "stopped":
            return Unresponsive(f"{name} still runs after {self.limit:g} s", f"kvmrun stop {name}", reason=watch.seen)
        if self.kind == "running":
            message = f"{name} does not run after {self.limit:g} s"
            return Unresponsive(message, f"kvmrun {name} starts it", reason=watch.seen)
        record = rundir.read_record(watch.runtime.directory)
        said = console_lines(watch.runtime, record)
        reason, fix = _diagnosis(name, watch, record, said)
        lines = tuple(f"console: {line}" for line in said[-_TAIL:])
        return Unresponsive(
            f"{name} runs, but {watch.missing} within {self.limit:g} s", fix, reason=reason, lines=lines
        )


def _diagnosis(name: str, watch: Watch, record: Record | None, said: list[str]) -> tuple[str, str]:
    """Why the condition may not have been met, and what to do, by what the guest has printed."""
    if any(mark in line for line in said[-_TAIL:] for mark in _NO_MEDIUM):
        reason = "; ".join(filter(None, ("the firmware has found nothing to boot", watch.seen)))
        return reason, f"kvmrun show {name} prints its drives and their order"
    if sum(_FIRMWARE in line for line in said) >= _RESETS:
        reason = "; ".join(
            filter(None, ("the firmware has started again and again: the guest resets itself", watch.seen))
        )
        size = f" {Size(record.memory)} of memory may be too little:" if record and record.memory < _LITTLE else ""
        return reason, f"kvmrun log {name} shows what it does before;{size} kvmrun edit {name}"
    if said:
        return watch.seen, f"kvmrun console {name} shows what it does; --timeout SECONDS waits longer"
    reason = "; ".join(filter(None, (watch.seen, "the guest has printed nothing on its console")))
    if record is not None and record.accel == "kvm":
        return reason, f"if KVM cannot run this guest here, emulate it: kvmrun restart {name} --force --accel tcg"
    return reason, f"kvmrun console {name} shows what it does; --timeout SECONDS waits longer"


def console_lines(runtime: GuestRuntime, record: Record | None) -> list[str]:
    """What the guest has printed since its start, line by line, without the sequences that steer a terminal."""
    from kvmrun.monitor.console.terminal_filter import plain_text

    found = log_reader.lines_since(runtime.log, record.said if record else 0)
    return [line for line in map(plain_text, found) if line]


class AllConditions(Value):
    """Several conditions, one after the other."""

    waits: tuple[Wait, ...]

    @property
    def limit(self) -> float:
        return max(wait.limit for wait in self.waits)

    def begin(self, runtime: GuestRuntime, *, running: bool) -> Watch:
        return watchers.AllOf(runtime, tuple(wait.begin(runtime, running=running) for wait in self.waits))

    def finish(self, name: str, directory: str, watch: Watch) -> None:
        """Wait for each. Raises what the first one raises that is not met."""
        assert isinstance(watch, watchers.AllOf)
        try:
            for wait, one in zip(self.waits, watch.watches, strict=True):
                wait.finish(name, directory, one)
        finally:
            watch.close()


def parse_start_condition(word: str, deadline: Deadline) -> Condition | None:
    """A condition of a start: None for `qmp` and `running`, which every start waits for. Raises UsageError."""
    try:
        wanted = Ready.parse("running" if word == "qmp" else word)
    except ValueError:
        fix = "--wait=qmp, --wait=address, --wait=agent, --wait=seed, --wait=port:NUMBER or --wait=console:TEXT"
        raise UsageError(f"cannot wait for {word}", fix) from None
    return None if wanted.kind == "running" else parse_condition(wanted, deadline)


def parse_condition(word: Ready | str, deadline: Deadline) -> Condition:
    """Any condition. Raises UsageError."""
    try:
        wanted = Ready("stopped") if word == "stopped" else Ready.parse(word)
    except ValueError as error:
        raise UsageError(f"cannot wait for {word}", f'--for "stopped", {error}') from None
    return Condition(kind=wanted.kind, text=wanted.text, deadline=deadline)
