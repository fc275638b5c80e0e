"""A conversation with a guest on the monitor kept for people: one shot, from a pipe, or a shell."""

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator

from kvmrun.cli.arguments import Args
from kvmrun.errors import UsageError
from kvmrun.host.rundir.console_lock import STOLEN
from kvmrun.model.deadline import NEVER, Deadline
from kvmrun.model.value import Value
from kvmrun.monitor.guest_socket import GuestSocket
from kvmrun.monitor.qmp import qmp_schema
from kvmrun.monitor.qmp.qmp_client import Monitor, connect
from kvmrun.monitor.shell import qmp_help, shell_parser
from kvmrun.ui.shell import qmp_shell
from kvmrun.ui.text.output import Answer, PrintedValue, print_answer, print_json, shell_event_line, use_colour

_GREETING_LIMIT = 5.0
_ONCE_LIMIT = 60.0
_SHELL_LIMIT = 600.0  # a person can press Ctrl-C; savevm of a large guest takes minutes
_HUMAN_ERRORS = ("Error:", "unknown command:")


def is_interactive(args: Args) -> bool:
    """Whether a shell is to be opened, for a person at a terminal."""
    return not args.lines and not args.hmp and sys.stdin.isatty() and sys.stdout.isatty()


def converse(target: GuestSocket, uuid: str, args: Args) -> int | None:
    """The exit code after a conversation on a monitor with the guest of that `uuid` ("" for any).

    None when somebody else took the monitor over.

    Raises MonitorError when a command fails (later ones are not sent), UsageError, and what `connect` raises.
    """
    if args.hmp is not None and args.lines:
        raise UsageError("-c and --hmp exclude each other", "with -c, a human command is written '/info status'")
    try:
        return asyncio.run(_converse(target, uuid, args))
    except asyncio.CancelledError:
        return None


async def _converse(target: GuestSocket, uuid: str, args: Args) -> int:
    interactive = is_interactive(args)
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(STOLEN, task.cancel)
    limit = args.deadline.granted(_GREETING_LIMIT)
    async with connect(target, limit=limit, uuid=uuid, events=interactive) as monitor:
        deadline = NEVER if interactive else args.deadline
        patience = _SHELL_LIMIT if interactive else _ONCE_LIMIT
        speaker = await _speaker(monitor, human=args.hmp is not None, limit=patience, deadline=deadline)
        if interactive:
            await _shell(speaker, args)
            return 0
        lines = (" ".join(args.hmp),) if args.hmp else args.lines or _typed_ahead()
        return await _each(speaker.answer, lines, as_json=args.output == "json")


class _Speaker(Value):
    """A language spoken over the monitor: QMP typed by its schema, or that of the human monitor (no schema)."""

    monitor: Monitor
    schema: qmp_schema.Schema | None
    usual: float
    deadline: Deadline

    @property
    def limit(self) -> float:
        """How long the next answer may take."""
        return self.deadline.granted(self.usual)

    def read(self, line: str) -> shell_parser.Line:
        if self.schema:
            return shell_parser.parse_line(self.schema, line)
        line = line.strip()
        return (
            shell_parser.Quit()
            if line == "exit"
            else shell_parser.HmpCommand(line=line)
            if line
            else shell_parser.EmptyLine()
        )

    async def answer(self, line: str) -> Answer:
        match self.read(line):
            case shell_parser.QmpCall(command=command, arguments=arguments, oob=oob):
                return PrintedValue(json=await self.monitor.execute(command, arguments, limit=self.limit, oob=oob))
            case shell_parser.HmpCommand(line=human):
                return await self.human(human)
            case shell_parser.HelpRequest(topic=topic, given=given) if self.schema:
                return qmp_help.explain(self.schema, topic, given, width=min(100, shutil.get_terminal_size().columns))
            case shell_parser.Quit():
                return None
            case _:
                return ()

    async def human(self, line: str) -> tuple[str, ...]:
        text = await self.monitor.execute("human-monitor-command", {"command-line": line}, limit=self.limit)
        return tuple(str(text).replace("\r", "").rstrip("\n").split("\n")) if text else ()

    def question(self, line: str) -> str:
        try:
            ends = shell_parser.quits_qemu(self.read(line))
        except UsageError:
            return ""
        return "quit ends the guest at once, as if its power were cut; do it?" if ends else ""


async def _speaker(monitor: Monitor, *, human: bool, limit: float, deadline: Deadline) -> _Speaker:
    told = None if human else await monitor.execute("query-qmp-schema", limit=deadline.granted(limit))
    known = None if human else qmp_schema.read(told)
    return _Speaker(monitor=monitor, schema=known, usual=limit, deadline=deadline)


async def _each(answer: Callable[[str], Awaitable[Answer]], lines: Iterable[str], *, as_json: bool) -> int:
    """Each line in turn, printed as it is answered; the human monitor reports errors as text."""
    for line in lines:
        said = await answer(line)
        if said is None:
            break
        if as_json and isinstance(said, PrintedValue):
            print_json(said.json)
        else:
            print_answer(said, color=False)
        sys.stdout.flush()
        if isinstance(said, tuple) and said and said[0].startswith(_HUMAN_ERRORS):
            return 1
    return 0


def _typed_ahead() -> Iterator[str]:
    return iter(sys.stdin.readline, "")


async def _shell(speaker: _Speaker, args: Args) -> None:
    helps = [await speaker.human(topic) for topic in ("help", "help info")]
    human = qmp_help.human_commands(*("\n".join(lines) for lines in helps))
    version = f" (QEMU {speaker.monitor.version})" if speaker.monitor.version else ""

    async def event() -> str:
        return shell_event_line(await speaker.monitor.event())

    def complete(before: str) -> Iterator[tuple[str, int, str]]:
        if not speaker.schema:
            found = qmp_help.complete_human(human, before)
        elif before.startswith("/"):
            found = qmp_help.complete_human(human, before[1:])
        else:
            found = qmp_help.complete(speaker.schema, before)
        return ((one.text, one.length, one.meta) for one in found)

    await qmp_shell.run_shell(
        qmp_shell.ShellBackend(
            guest=args.guest,
            prompt=f"{args.guest}> " if speaker.schema else f"{args.guest} (human)> ",
            welcome=f"{args.guest}{version}: help, Tab completes; exit or Ctrl-D leaves the guest running.",
            answer=speaker.answer,
            complete=complete,
            event=event,
            question=speaker.question,
            history=_history(),
            color=use_colour(args.color),
        )
    )


def _history() -> str:
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    lasting = "/var/lib/kvmrun" if os.geteuid() == 0 else f"{state}/kvmrun"
    return f"{os.environ.get('KVMRUN_STATE_DIR') or lasting}/monitor-history"
