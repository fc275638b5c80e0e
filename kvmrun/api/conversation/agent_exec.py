"""Running a command inside a guest, by its agent."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing

from kvmrun.api.conversation.agent import AgentSession
from kvmrun.api.lab import LabHandle, require_running
from kvmrun.api.report import Noted, Report, discard, waiting
from kvmrun.errors import Busy, KvmrunError, Unresponsive, UsageError
from kvmrun.model.deadline import Deadline
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.monitor.agent import agent_commands
from kvmrun.monitor.agent.agent_client import Agent, AgentError
from kvmrun.monitor.agent.agent_commands import CommandResult

INPUT_LIMIT = 8 << 20
"""How many bytes of standard input the agent takes."""
OUTPUT_LIMIT = agent_commands.OUTPUT
"""How many bytes of each output stream the agent keeps."""
_FIRST, _LAST = 0.02, 0.4
"""The pauses between questions whether it has ended: short at first, then longer."""
_IN_DIRECTORY = 'cd -- "$1" || exit 126; shift; exec "$@"'


class ExecOptions(Value):
    """How a command runs in a guest.

    `env` are words VAR=VALUE, `directory` and `user` are the guest's; for `user` the guest needs runuser. `input` gives
    its standard input, at most INPUT_LIMIT bytes. `timeout` is in seconds; without it there is no limit.
    """

    env: tuple[str, ...] = ()
    directory: str | None = None
    user: str | None = None
    input: Callable[[], bytes] | None = None
    timeout: float | None = None


class CommandNotRun(KvmrunError):
    """The guest has no such command, or may not run it: with the exit code a shell has for that."""

    def __init__(self, message: str, code: int, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.code = code


def run_command(
    lab: LabHandle, name: str, command: Sequence[str], options: ExecOptions | None = None, *, report: Report = discard
) -> CommandResult:
    """Run `command`, a program with its arguments, in a running guest, and wait until it has ended.

    The result has the exit code (128 and its number for a signal) and what was printed.

    Raises: CommandNotRun; NotRunning, NoSuchGuest; Refused where the guest has no port for an agent; Unresponsive where
    no agent answers, or the command has not ended in time: it goes on then.
    """
    options = options or ExecOptions()
    words = _command(command, options)
    directory = require_running(lab.paths, name)
    given = _input(options)
    deadline = Deadline.begin(options.timeout)
    with (
        waiting(report, f"{name}: {command[0]}"),
        closing(AgentSession(directory, name, deadline)) as session,
    ):
        pid = _begin(session(), name, words, given)
        pause = _FIRST
        try:
            while (outcome := _poll_exit(session, pid)) is None:
                if deadline.is_over():
                    raise Unresponsive(f"{command[0]} has not ended in {name} within {options.timeout:g} s")
                time.sleep(deadline.left(pause))
                pause = min(pause * 1.5, _LAST)
        except (Unresponsive, KeyboardInterrupt):
            report(Noted(text=f"the command goes on in {name}, as pid {pid}"))
            raise
    return outcome


def _command(command: Sequence[str], options: ExecOptions) -> list[str]:
    """The command with what sets its account, variables and directory, each a program of the guest."""
    words = [*command]
    if options.directory is not None:
        words = ["sh", "-c", _IN_DIRECTORY, "sh", options.directory, *words]
    if wrong := next((one for one in options.env if not one.partition("=")[1] or one[0] == "="), ""):
        raise UsageError(f"{printable(wrong, 60)} sets no variable", "-e VAR=VALUE")
    if options.env:
        words = ["env", *options.env, *words]
    return ["runuser", "-u", options.user, "--", *words] if options.user else words


def _input(options: ExecOptions) -> bytes | None:
    given = options.input() if options.input else None
    if given is not None and len(given) > INPUT_LIMIT:
        fix = "kvmrun cp carries files of any size"
        raise UsageError("standard input is too long", fix, reason=f"the agent takes {INPUT_LIMIT >> 20} MiB")
    return given


def _begin(agent: Agent, name: str, command: list[str], given: bytes | None) -> int:
    """The pid of the command in the guest. Raises CommandNotRun."""
    try:
        return agent_commands.start_command(agent, command, given)
    except AgentError as no:
        program = printable(command[0], 60)
        if "No such file" in no.reason:
            raise CommandNotRun(f"{name} has no command {program}", 127, no.reason) from None
        if "Permission denied" in no.reason or "Exec format" in no.reason:
            raise CommandNotRun(f"{name} cannot run {program}", 126, no.reason) from None
        raise


def _poll_exit(session: AgentSession, pid: int) -> CommandResult | None:
    """How it ended; None while it runs, or while another command does not let go of the agent."""
    try:
        return agent_commands.poll_exit(session(), pid)
    except Busy:
        return None
