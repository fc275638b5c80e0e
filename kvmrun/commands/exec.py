"""kvmrun exec NAME COMMAND: run a command inside a guest, by its agent."""

import os
import shlex
import sys
import time
from contextlib import closing

from kvmrun.commands._agent import Line
from kvmrun.commands._lab import directories, running
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import Busy, KvmrunError, Unresponsive, UsageError
from kvmrun.model.printable import printable
from kvmrun.monitor.agent import agent_commands
from kvmrun.monitor.agent.agent_client import Agent, AgentError
from kvmrun.monitor.console.terminal_filter import Filter
from kvmrun.ui.text import stdio
from kvmrun.ui.text.progress import Progress

HELP = "run a command in a guest through its agent"
TIMEOUT = "none"
COMMAND_LINE = "NAME [--] COMMAND [ARGUMENT ...]"
_INPUT = 8 << 20
_FIRST, _LAST = 0.02, 0.4
"""The pauses between questions whether it has ended: short at first, then longer."""
_IN_DIRECTORY = 'cd -- "$1" || exit 126; shift; exec "$@"'


class _NotRun(KvmrunError):
    """The guest has no such command, or may not run it: with the exit code a shell has for that."""

    def __init__(self, message: str, code: int, why: str) -> None:
        super().__init__(message, why=why)
        self.code = code


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a running guest; the arguments after it are the command")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input to it, at most 8 MiB")
    parser.add_argument("-t", "--tty", action="store_true", help="refused: the agent has no terminal, but ssh has one")
    parser.add_argument("-e", "--env", action="append", metavar="VAR=VALUE", help="set a variable of its environment")
    parser.add_argument("-w", "--workdir", metavar="DIR", help="the directory in the guest to run it in")
    parser.add_argument("-u", "--user", metavar="USER", help="the account in the guest to run it as, by runuser")


def run(args: Args) -> int:
    """Exits as the command in the guest did: 128 and its number for a signal, 127 and 126 where it cannot be run."""
    if not args.raw:
        raise UsageError("no command to run", f"kvmrun exec {args.guest} COMMAND")
    if args.tty:
        fix = f"{_again('ssh', args)}; or without a terminal: {_again('exec', args)}"
        raise UsageError("exec gives no terminal to a command", fix, why="the agent passes only what it has printed")
    if args.raw[0].startswith("-"):
        why = f"{printable(args.raw[0], 60)} stands where the command is expected"
        raise UsageError("options stand before the name of the guest", f"kvmrun exec {args.guest} -- COMMAND", why=why)
    command = _command(args)
    directory = running(directories(args), args.guest)
    given = _input() if args.stdin else None
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress, progress.waiting(f"{args.guest}: {args.raw[0]}"):
        outcome = _carried_out(directory, args, command, given)
    _show(1, outcome.out)
    _show(2, outcome.err)
    for stream in outcome.cut:
        text = (
            f"kvmrun: the agent keeps {agent_commands.OUTPUT >> 20} MiB of a stream: the rest of std{stream} is lost\n"
        )
        sys.stderr.write(text)
    return outcome.code


def _again(verb: str, args: Args) -> str:
    """The same command line with that verb, and no options."""
    return printable(shlex.join(["kvmrun", verb, args.guest, *args.raw]), 400)


def _command(args: Args) -> list[str]:
    """The command with what sets its account, variables and directory, each a program of the guest."""
    words = [*args.raw]
    if args.workdir is not None:
        words = ["sh", "-c", _IN_DIRECTORY, "sh", args.workdir, *words]
    if wrong := next((one for one in args.env or () if not one.partition("=")[1] or one[0] == "="), ""):
        raise UsageError(f"{printable(wrong, 60)} sets no variable", "-e VAR=VALUE")
    if args.env:
        words = ["env", *args.env, *words]
    return ["runuser", "-u", args.user, "--", *words] if args.user else words


def _input() -> bytes:
    given = sys.stdin.buffer.read(_INPUT + 1)
    if len(given) > _INPUT:
        hint = "kvmrun cp carries files of any size"
        raise UsageError("standard input is too long", hint, why=f"the agent takes {_INPUT >> 20} MiB")
    return given


def _carried_out(directory: str, args: Args, command: list[str], given: bytes | None) -> agent_commands.Outcome:
    """Begin it once, and ask until it has ended; an agent that others talk to is waited for."""
    name, deadline = args.guest, args.deadline
    pause = _FIRST
    with closing(Line(directory, name, deadline)) as line:
        pid = _begun(line(), args, command, given)
        try:
            while (outcome := _ended(line, pid)) is None:
                if deadline.is_over():
                    raise Unresponsive(f"{args.raw[0]} has not ended in {name} within {args.timeout:g} s")
                time.sleep(deadline.left(pause))
                pause = min(pause * 1.5, _LAST)
        except (Unresponsive, KeyboardInterrupt):
            sys.stderr.write(f"kvmrun: the command goes on in {name}, as pid {pid}\n")
            raise
    return outcome


def _begun(agent: Agent, args: Args, command: list[str], given: bytes | None) -> int:
    """The pid of the command in the guest. Raises _NotRun."""
    try:
        return agent_commands.begin(agent, command, given)
    except AgentError as no:
        program = printable(command[0], 60)
        if "No such file" in no.why:
            raise _NotRun(f"{args.guest} has no command {program}", 127, no.why) from None
        if "Permission denied" in no.why or "Exec format" in no.why:
            raise _NotRun(f"{args.guest} cannot run {program}", 126, no.why) from None
        raise


def _ended(line: Line, pid: int) -> agent_commands.Outcome | None:
    """How it ended; None while it runs, or while another command does not let go of the agent."""
    try:
        return agent_commands.ended(line(), pid)
    except Busy:
        return None


def _show(fd: int, data: bytes) -> None:
    """What the guest's command printed: as it is into a pipe or a file, made harmless on a terminal."""
    if os.isatty(fd):
        filtering = Filter()
        data = filtering.feed(data) + filtering.leave() if data else b""
    stdio.write(fd, data)
