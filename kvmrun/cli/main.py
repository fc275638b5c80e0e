"""Words to one command, and the only place where an error is printed."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Never

from kvmrun import __version__
from kvmrun.cli import commands
from kvmrun.cli.arguments import CommandParser, Parser, everywhere
from kvmrun.errors import (
    BUG,
    INTERRUPTED,
    READER_GONE,
    Interrupted,
    KvmrunError,
    OtherLab,
    OtherUser,
    Several,
    UsageError,
    refused_by_host,
)
from kvmrun.host.process import signals
from kvmrun.model.deadline import Deadline, within
from kvmrun.model.printable import printable
from kvmrun.model.suggest import closest
from kvmrun.ui.text.caller import note_lab

_WITH_VALUE = ("-C", "--vms", "--color", "--timeout")
_LONGEST = 10_000_000
_WORDS = (2, 3, 4, 5)
"""What the words or the lab are to blame for, not the host."""


def run(words: list[str]) -> int:
    """Carry out one command line and return its exit code."""
    os.umask(0o077)
    if "_ARGCOMPLETE" in os.environ:
        from kvmrun.cli.completion_engine import answer  # a shell asks, because somebody pressed Tab

        return answer(_command)
    note_lab(None)
    try:
        _undo_on_signals()
        return _dispatch(words)
    except KvmrunError as error:
        for one in error.errors if isinstance(error, Several) else [error]:
            complain(_addressed(one, words), color=_wanted(words))
        if error.code not in _WORDS:
            _tell_of_root()
        return error.code
    except KeyboardInterrupt as interrupt:
        sys.stderr.write("\n")
        for one in interrupt.errors.values() if isinstance(interrupt, Interrupted) else []:
            complain(one, color=_wanted(words))
        return interrupt.args[0] if interrupt.args else INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except Exception as bug:  # the boundary: a bug leaves a report and one line
        return _surprise(bug, words)


def _addressed(error: KvmrunError, words: list[str]) -> KvmrunError:
    """The error; about what is another lab's, or another user's, with the command that would do the same there."""
    if isinstance(error, OtherLab):
        import shlex

        command = [word for word in (_command(words)[0], *error.subject.split()) if word != "up"]
        error.fix = shlex.join(["kvmrun", "-C", error.lab, *command])
    if isinstance(error, OtherUser):
        import shlex

        error.fix = f"{error.prefix} {printable(shlex.join(['kvmrun', *words]), 400)}"
    return error


def flushed() -> int:
    """Hand over what is still to be said; the exit code of that. Silent where the reader has left, as if by SIGPIPE."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _unread()
    except KvmrunError as error:
        complain(error)
        return error.code
    return 0


def _unread() -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())
    return READER_GONE


def _surprise(bug: Exception, words: list[str]) -> int:
    """What nobody foresaw: the host's fault, told like any other error, or ours."""
    if error := _from_host(bug, f"go on with kvmrun {' '.join(words)}"):
        complain(error)
        return error.code
    sys.stderr.write(f"kvmrun: this is a bug: {type(bug).__name__}: {printable(bug)}\n  {_report()}\n")
    return BUG


def _from_host(bug: Exception, doing: str) -> KvmrunError | None:
    if isinstance(bug, MemoryError) or (isinstance(bug, SystemError) and _is_limited()):
        return KvmrunError(f"could not {doing}", "ulimit -v prints the limit", reason="out of memory")
    if isinstance(bug, ImportError) and (bug.path or "").endswith(".so"):  # it is there, and cannot be loaded
        return KvmrunError(f"could not {doing}", "ulimit -v and ulimit -n print the limits", reason=f"{bug}")
    try:
        return refused_by_host(doing, bug) if isinstance(bug, OSError) else None
    except OSError:
        return None


def _is_limited() -> bool:
    """Whether memory may have run out: C code that cannot even make its error then ends in a SystemError."""
    with open("/proc/self/limits", "rb", buffering=0) as file:  # where a module to ask with finds no room either
        return file.read(4096).partition(b"\nMax address space")[2].split()[0] != b"unlimited"


def _undo_on_signals() -> None:
    """Being told to end, or losing the terminal, takes back what was begun, like Ctrl-C."""
    signals.own()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _raised_again


def _raised_again(lost: "sys.UnraisableHookArgs") -> None:
    """Send an interrupt once more that came while an object was deleted: Python prints it there and goes on.

    It is sent a moment later, when the deletion is over.
    """
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    number = lost.exc_value.args[0] - 128 if lost.exc_value.args else signal.SIGINT
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
    signal.setitimer(signal.ITIMER_REAL, 0.001)


def _interrupt(number: int, _frame: object) -> Never:
    raise KeyboardInterrupt(128 + number)


def _wanted(words: list[str]) -> str:
    """When to use colours, by words that may be wrong: an error may be about them."""
    asked = ["auto"]
    for number, word in enumerate(words):
        flag, given, value = word.partition("=")
        if flag == "--color":
            asked.append(value if given else "".join(words[number + 1 : number + 2]))
    return asked[-1]


def complain(error: KvmrunError, *, color: str = "auto") -> None:
    """What happened, the reason and the fix; then the last lines of the program that failed."""
    from kvmrun.ui.text.caller import fix
    from kvmrun.ui.text.line_folding import fold_to_terminal, proposed

    plain_terminal = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    usual = color == "auto" and sys.stderr.isatty() and not plain_terminal
    red, plain = ("\x1b[1;31m", "\x1b[0m") if usual or color == "always" else ("", "")
    head, *rest = fold_to_terminal(f"kvmrun: {printable(error.message)}", sys.stderr, indent=2).split("\n")
    lines = [f"{red}kvmrun:{plain}{head.removeprefix('kvmrun:')}", *rest]
    lines += [fold_to_terminal(f"  reason: {printable(error.reason)}", sys.stderr, indent=2)] if error.reason else []
    lines += [proposed(f"  fix: {printable(fix(error.fix))}", sys.stderr, indent=7)] if error.fix else []
    lines += [fold_to_terminal(f"  | {printable(line)}", sys.stderr, indent=2) for line in error.lines]
    sys.stderr.write("\n".join(lines) + "\n")


def _tell_of_root() -> None:
    """Where root is less than root, that may be why."""
    from kvmrun.host.facts import root_capabilities

    if lost := root_capabilities.missing_capabilities():
        sys.stderr.write(f"  note: root lacks {lost} here; {root_capabilities.HINT}\n")


def _dispatch(words: list[str]) -> int:
    name, rest = _command(words)
    if name == "--version":
        sys.stdout.write(f"kvmrun {__version__}\n")
        return 0
    if not name:
        sys.stdout.write(_overview())
        return 0 if rest else UsageError.code
    module = commands.load(name)
    assert module is not None
    implied = len(rest) == len(words) and "--list" not in words  # `kvmrun NAME...`: no command was typed
    parser = CommandParser(name, module, on_error=_refuse_foreign_verb if implied else None)
    args = parser.parse(rest)
    args.command = name
    note_lab(args.vms)
    args.deadline = _deadline(args.timeout)
    args.implied = implied
    with within(args.deadline):
        code: int = module.run(args)
    return code


def _deadline(limit: float | None) -> Deadline:
    """When the command is to be over. Raises UsageError for what is no time."""
    if limit is not None and not 0 <= limit <= _LONGEST:  # NaN is neither
        raise UsageError(f"--timeout {limit:g} is not a time", f"between 0 and {_LONGEST} seconds")
    return Deadline.begin(limit)


def _refuse_foreign_verb(words: Sequence[str]) -> None:
    """Raises NoSuchGuest where `words`, which mean no start, begin with the verb of another tool."""
    from kvmrun.cli import foreign_names

    ours = Parser(add_help=False)
    everywhere(ours)
    known, rest = ours.parse_known_args([*words])
    note_lab(known.vms)
    foreign_names.refuse_line(rest)


def _command(words: list[str]) -> tuple[str, list[str]]:
    """The command and its words. A first word that is no command is a guest to start; no command is the overview."""
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--list":
            return "list", words[:position] + words[position + 1 :]
        if word in {"-h", "--help"}:
            return "", words
        if word in {"--version", "-V"}:
            return "--version", []
        if word == "--":
            break
        if not word.startswith("-"):
            if commands.load(word) is None:
                return "up", words
            name = commands.ALIASES.get(word, word)
            return name, words[:position] + words[position + 1 :]
        position += 2 if word in _WITH_VALUE else 1
    if words:
        near = (
            "--list"
            if "-l" in words
            else next(filter(None, (closest(word, ("--list", "--help", "--version")) for word in words)), "--help")
        )
        raise UsageError(f"no command in: {' '.join(words)}", f"kvmrun {near}")
    return "", []


def _overview() -> str:
    """The commands by task."""
    from kvmrun.cli.command_examples import TASKS
    from kvmrun.ui.text.line_folding import fold_to_terminal

    lines = [
        "usage: kvmrun NAME...            start guests",
        "       kvmrun --list             all guests and their state",
        "       kvmrun COMMAND [...]      kvmrun COMMAND --help shows its options and examples",
    ]
    for task, members in TASKS.items():
        lines += [
            "",
            f"{task}:",
            *(fold_to_terminal(f"  {name:<10} {commands.help_of(name)}", sys.stdout, indent=11) for name in members),
        ]
    lines += ["", "everywhere: -C DIR, -v, -q, --color auto|always|never, --timeout SECONDS, --version"]
    lines += ["manual: kvmrun help, kvmrun help TOPIC"]
    return "\n".join(lines) + "\n"


def _report() -> str:
    """Write the traceback to a file of its own and say where."""
    import tempfile
    import traceback

    try:
        fd, path = tempfile.mkstemp(prefix="kvmrun-", suffix=".log")
        with open(fd, "w", encoding="utf-8") as file:
            file.write(f"kvmrun {__version__}, Python {sys.version}\n{traceback.format_exc()}")
    except OSError as error:
        return f"its traceback could not be written: {error}"
    return f"please report it with {path}"
