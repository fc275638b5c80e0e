"""kvmrun stop: ask a guest to power down, then insist."""

import os

from kvmrun.commands import _end
from kvmrun.commands._lab import directories
from kvmrun.commands._parallel import interrupted
from kvmrun.commands._peer import believed, of
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, Unresponsive
from kvmrun.host.process import process
from kvmrun.host.process.signals import held_back
from kvmrun.light import signal
from kvmrun.light.abc import Callable
from kvmrun.light.contextlib import suppress
from kvmrun.light.typing import Any
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest.paths import Directories
from kvmrun.model.value import Frozen
from kvmrun.monitor.qmp.query_many import Answer, ask
from kvmrun.ui.text.progress import Progress

HELP = "power guests down: ACPI first, then the agent, then quit, then kill"
TIMEOUT = "60 s for a guest to power down; then QEMU quits, and is killed after another 10 s"
_LIMIT = 60.0
_AGAIN = 3.0
"""A guest that is still booting hears no power button: it is pressed again, every so many seconds."""
_GLANCE = 0.2
_QUIT, _QUIT_SOON = 10.0, 2.0
"""How long QEMU may take to quit, in seconds; the latter after the time of --timeout."""
_NOBODY = ("gone", "stranger")
"""The silences of a QEMU that cannot be spoken to at all."""


def configure(parser: Parser) -> None:
    _end.configure(parser, "stop", force="let QEMU quit at once without asking the guest; also with protect = true")


def run(args: Args) -> int:
    where = directories(args)
    names, errors = _end.chosen(where, args)
    known = [name for name in names if name not in errors]
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        errors |= stop_all(where, known, args, progress)
    return _end.report(names, errors)


def stop_all(where: Directories, names: list[str], args: Args, progress: Progress) -> dict[str, KvmrunError]:
    """Stop `names`, those first that were started after others; the errors by name."""
    refused = {} if args.force else _end.unprotected(where, names)
    good = [name for name in names if name not in refused]
    before = _end.backwards(where, good)
    return refused | _end.together(
        good, lambda name: _stop(where, name, args, progress), progress, "stopping", before=before
    )


def _stop(where: Directories, name: str, args: Args, progress: Progress) -> None:
    with _end.over(where, name, progress, deadline=args.deadline) as pidfd:
        if pidfd is not None:
            end = _End(
                name=name, directory=where.guest(name), pidfd=pidfd, progress=progress, patient=args.timeout is None
            )
            usual = 0.0 if args.force else _LIMIT
            deadline = Deadline.begin(usual) if args.force or args.timeout is None else args.deadline
            if not end.by_guest(deadline):
                with held_back():  # once it was told to quit, it ends, and that is told
                    if not end.by_quit():
                        end.by_kill()


class _End(Frozen):
    """The end of one guest, in steps each harder than the one before; True when it came."""

    name: str
    directory: str
    pidfd: int
    progress: Progress
    patient: bool

    def by_guest(self, deadline: Deadline) -> bool:
        """Press the power button until the guest is off or its time is over; half way its agent is asked."""
        limit = deadline.limit or 0.0
        if limit > 0:
            self._thaw(deadline)
        asked = False
        while (left := deadline.left(limit)) > 0:
            if not asked and left < limit / 2:
                asked = True
                self._persuade(limit - left, deadline)
            answer = self._press(min(2.0, left))
            if answer.silence in _NOBODY or _state(answer) == "prelaunch":
                return False
            if self._ends(min(_AGAIN, left)):
                return True
        if limit > 0:
            self.progress.tell(f"{self.name} did not power down within {limit:g} s: QEMU is told to quit")
        return False

    def _ends(self, limit: float) -> bool:
        """Whether it ends within `limit` seconds. Raises KvmrunError where a signal says that nobody waits any more."""
        deadline = Deadline.begin(limit)
        while not process.ended(self.pidfd, deadline.left(_GLANCE)):
            if interrupted():
                raise KvmrunError(f"{self.name} has not powered down yet", why="a signal came first")
            if deadline.is_over():
                return False
        return True

    def by_quit(self) -> bool:
        answer = self._ask("quit", limit=2.0)
        if answer.silence in _NOBODY:
            self._signal()
        limit = _QUIT if self.patient else _QUIT_SOON
        if answer.silence in {"", *_NOBODY} and process.ended(self.pidfd, limit):
            return True
        self.progress.tell(f"{self.name}: QEMU did not quit: it is killed")
        return False

    def by_kill(self) -> None:
        if not process.kill(self.pidfd):
            raise Unresponsive(f"{self.name} cannot be killed", "dmesg may say why", why="it is stuck in the kernel")

    def _thaw(self, deadline: Deadline) -> None:
        from kvmrun.commands._agent import FROZEN  # the agent's modules bring 10 ms: not for those who force
        from kvmrun.monitor.agent import agent_commands

        if os.path.exists(f"{self.directory}/{FROZEN}"):
            self.progress.tell(f"{self.name} is frozen: thawed, so that it can end in order")
            self._ask_agent(agent_commands.thaw, deadline)

    def _persuade(self, waited: float, deadline: Deadline) -> None:
        from kvmrun.commands._agent import absent
        from kvmrun.monitor.agent import agent_commands

        if not absent(self.directory, limit=deadline.left(2.0)):
            self.progress.tell(f"{self.name} is not off by the power button in {waited:.0f} s: its agent is asked")
            self._ask_agent(agent_commands.shut_down, deadline)

    def _ask_agent(self, ask: Callable[[Any], object], deadline: Deadline) -> None:
        from kvmrun.commands._agent import talking

        try:
            with talking(self.directory, self.name, deadline=deadline) as agent:
                ask(agent)
        except KvmrunError as no:
            self.progress.detail(f"{no.message}: {no.why}")

    def _signal(self) -> None:
        """Without a monitor, QEMU takes this as quit: it writes what it has, and ends."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    def _press(self, limit: float) -> Answer:
        """Press the power button once, of a guest that can hear it; what it said."""
        answer = self._ask("query-status", "system_powerdown", limit=limit)
        if _state(answer) == "paused":
            self.progress.tell(f"{self.name} is paused: resumed, so that it can hear the power button")
            self._ask("cont", limit=limit)
        return answer

    def _ask(self, *commands: str, limit: float) -> Answer:
        answer = ask({"": f"{self.directory}/q"}, commands, limit=limit)[""]
        return believed(answer, of(process.pid_of(self.pidfd)))


def _state(answer: Answer) -> object:
    status = answer.replies.get("query-status")
    return status.get("status") if isinstance(status, dict) else None
