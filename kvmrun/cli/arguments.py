"""The words of one command: read without argparse where they are plain, which saves 8 ms at every start.

A command says its words once, to whichever parser asks. Whatever is not plain (help, abbreviations, mistakes) is
argparse's, and a test holds the two to the same answers.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from types import SimpleNamespace as Args
from typing import Any, Never, Protocol

import kvmrun
from kvmrun.api.options import StartOptions
from kvmrun.errors import UsageError
from kvmrun.model.printable import printable
from kvmrun.model.suggest import closest
from kvmrun.model.value import Value

__all__ = [
    "Args",
    "Parser",
    "QuickParser",
    "add_guests",
    "add_start_options",
    "everywhere",
    "full_parser",
    "halved",
    "opened",
    "pace",
    "refuse_names",
    "selected",
    "start_options",
]
_WAIT = "return when COND holds: address, agent, port:NUMBER or console:TEXT; without it, when the guest runs"


def opened(args: Args) -> "kvmrun.LabHandle":
    """The lab that the words and the environment mean. Raises what `open_lab` raises."""
    return kvmrun.open_lab(args.vms)


def add_guests(parser: "Parser", verb: str, *, force: str = "") -> None:
    """The words that name guests; `force` says what --force does, where there is one."""
    parser.add_argument("guests", nargs="*", metavar="NAME", help=f"the guests to {verb}, or @GROUP")
    parser.add_argument("-a", "--all", action="store_true", help="every guest that runs")
    if force:
        parser.add_argument("-f", "--force", action="store_true", help=force)


def selected(args: Args) -> list[str] | None:
    """The guests that are named, None for --all. Raises UsageError for neither and both."""
    if args.all:
        refuse_names(args)
        return None
    if not args.guests:
        raise UsageError("no guest was named", "Name at least one guest, or use --all.")
    names: list[str] = args.guests
    return names


def refuse_names(args: Args, flag: str = "--all") -> None:
    """Raises UsageError where guests are named beside a flag that means others as well."""
    if args.guests:
        named = printable(" ".join(args.guests), 200)
        reason = "the option means other guests than those that are named"
        raise UsageError(f"{flag} cannot be combined with names", f"kvmrun {args.command} {named}", reason=reason)


def add_start_options(parser: "Parser") -> None:
    """The words of every command that starts guests."""
    parser.add_argument("--paused", action="store_true", help="leave the guest paused before its first instruction")
    parser.add_argument(
        "--accel", choices=("kvm", "tcg"), help="use this accelerator instead of that of the definition"
    )
    parser.add_argument("--wait", nargs="?", const="qmp", default="qmp", metavar="COND", help=_WAIT)


def start_options(args: Args) -> StartOptions:
    """What those words say, and the words after --."""
    return StartOptions(paused=args.paused, accel=args.accel, wait=args.wait, timeout=args.timeout, raw=tuple(args.raw))


def pace(seconds: float) -> float:
    """The pause between two looks, which is not shorter than a fifth of a second. Raises UsageError."""
    if 0 <= seconds <= 86400:
        return max(seconds, 0.2)
    raise UsageError(f"{seconds:g} s is not an interval", "up to 86400 seconds, which is a day")


def halved(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The words before the first -- and those after it."""
    cut = words.index("--") if "--" in words else len(words)
    return words[:cut], words[cut + 1 :]


class Parser(Protocol):
    """What a command's configure() is given."""

    def add_argument(self, *names: str, **how: Any) -> Any:
        """As argparse has it."""


def everywhere(parser: Parser, limit: str = "each wait has a limit of its own") -> None:
    """The flags every command has; `limit` says what holds where --timeout is not given."""
    parser.add_argument("-C", "--vms", metavar="DIR", help="the lab: the directory with the definitions")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="print more details")
    parser.add_argument("-q", "--quiet", action="store_true", help="print less")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="when to use colours; auto: on a terminal"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help=f"the time limit of the command; default: {limit}"
    )


def full_parser(name: str, module: ModuleType) -> Any:
    """The argparse.ArgumentParser of one command, for help and mistakes, completion and the man page."""
    import argparse
    from textwrap import fill

    class Explaining(argparse.ArgumentParser):
        """One that repeats what it was given only as far as it is printable."""

        def _print_message(self, message: str, file: Any = None) -> None:
            super()._print_message("\n".join(map(printable, message.split("\n"))), file)

        def error(self, message: str) -> Never:
            """argparse counts words of which there may be none among those that it requires."""
            if message.startswith("the following arguments are required: "):
                wanted = [one for one in self._actions if not one.option_strings and one.nargs not in {"*", "?", "..."}]
                named = message.partition(": ")[2].split(", ")
                message = f"required: {', '.join(one for one in map(_shown, wanted) if one in named)}"
            elif message.startswith("unrecognized arguments: "):
                typed = message.split()[2].partition("=")[0]
                near = closest(typed, [one for one in self._option_string_actions if one.startswith("--")])
                message += f"\n  fix: did you mean {near}?" if near and typed.startswith("--") else ""
            super().error(message)

    line = getattr(module, "COMMAND_LINE", "")
    usage = f"%(prog)s [OPTION ...] {line}" if line else None
    parser = Explaining(prog=f"kvmrun {name}", description=fill(f"{module.HELP}.", 78), usage=usage)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _examples(name)
    everywhere(parser, *([module.TIMEOUT] if hasattr(module, "TIMEOUT") else []))
    module.configure(parser)
    return parser


def _examples(name: str) -> str:
    from kvmrun.cli.tasks import examples

    return "\n".join(["examples:", *(f"  {line}\n      {meaning}" for line, meaning in examples(name))])


def _shown(action: Any) -> str:
    return f"{action.metavar or action.dest}"


class _Word(Value):
    dest: str
    action: str = "store"
    nargs: str | None = None
    const: object = None
    choices: Sequence[str] = ()
    type: Callable[[str], object] = str


class _NotPlain(Exception):
    """These words are for argparse."""


class QuickParser:
    """Takes the same add_argument() calls; parse() gives None for anything that is not plain."""

    def __init__(self) -> None:
        self._flags: dict[str, _Word] = {}
        self._positionals: list[_Word] = []
        self._defaults: dict[str, object] = {}

    def add_argument(self, *names: str, **how: Any) -> None:
        first = next((name for name in names if name.startswith("--")), names[0])
        known = {key: how[key] for key in ("action", "nargs", "const", "choices", "type") if key in how}
        word = _Word(dest=how.get("dest", first.lstrip("-").replace("-", "_")), **known)
        many = word.nargs in {"*", "+"} and not first.startswith("-")
        fallback: object = [] if many else False if word.action == "store_true" else None
        self._defaults[word.dest] = how.get("default", fallback)
        if first.startswith("-"):
            self._flags |= dict.fromkeys(names, word)
        else:
            self._positionals.append(word)

    def parse(self, words: Sequence[str]) -> Args | None:
        """What the words mean, by destination; None when argparse should say."""
        found = Args(**self._defaults)
        plain: list[str] = []
        left = list(reversed(words))
        try:
            while left:
                word = left.pop()
                if word.startswith("-"):
                    self._flag(found, word, left)
                else:
                    plain.append(word)
            self._place(found, plain)
        except (_NotPlain, ValueError):
            return None
        return found

    def parted(self, words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
        """The words that are ours, up to the first that is no option, and the command that follows it.

        Options of ours may also stand behind that word where -- or nothing follows them.
        """
        first = self._after_options(words, 0)
        if first >= len(words) or words[first] == "--":
            return halved(words)
        last = self._after_options(words, first + 1)
        if last >= len(words):
            return words, []
        return (words[:last], words[last + 1 :]) if words[last] == "--" else (words[: first + 1], words[first + 1 :])

    def _after_options(self, words: Sequence[str], position: int) -> int:
        """The position of the first word, from `position` on, that is neither an option nor the value of one."""
        while position < len(words) and words[position].startswith("-") and words[position] != "--":
            flag = self._flags.get(words[position])
            position += 2 if flag is not None and flag.action in {"store", "append"} else 1
        return position

    def _flag(self, found: Args, word: str, left: list[str]) -> None:
        name, given, value = word.partition("=") if word.startswith("--") else (word, "", "")
        flag = self._flags.get(name)
        if flag is None:
            raise _NotPlain
        if flag.action == "store_true" and not given:
            setattr(found, flag.dest, True)
        elif flag.action == "count" and not given:
            setattr(found, flag.dest, getattr(found, flag.dest) + 1)
        elif flag.nargs == "?" and not given:
            raise _NotPlain  # whether the next word belongs to it is argparse's to say
        elif flag.action in {"store", "append"} and flag.nargs in {None, "?"}:
            if not given and (not left or left[-1].startswith("-")):
                raise _NotPlain
            self._store(found, flag, value if given else left.pop())
        else:
            raise _NotPlain

    def _store(self, found: Args, flag: _Word, text: str) -> None:
        value = flag.type(text)
        if flag.choices and value not in flag.choices:
            raise _NotPlain
        if flag.action == "append":
            value = [*(getattr(found, flag.dest) or []), value]
        setattr(found, flag.dest, value)

    def _place(self, found: Args, plain: list[str]) -> None:
        """Positional words to their places: single ones first, then the one that takes all the rest."""
        for word in self._positionals:
            if word.nargs == "*" and word is self._positionals[-1]:
                setattr(found, word.dest, plain)
                plain = []
            elif word.nargs is None and plain:
                self._store(found, word, plain.pop(0))
            else:
                raise _NotPlain
        if plain:
            raise _NotPlain
