"""The arguments of the commands, by argparse: those that all commands share, and the parser of one command."""

import argparse
from argparse import ArgumentParser as Parser
from argparse import Namespace as Args
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Never

import kvmrun
from kvmrun.api.options import StartOptions
from kvmrun.errors import UsageError
from kvmrun.model.printable import printable

__all__ = [
    "Args",
    "CommandParser",
    "Parser",
    "add_guests",
    "add_start_options",
    "everywhere",
    "named",
    "opened",
    "pace",
    "refuse_names",
    "selected",
    "start_options",
]
_WAIT = "return when COND holds: address, agent, seed, port:NUMBER or console:TEXT; without it, when the guest runs"


def opened(args: Args) -> "kvmrun.LabHandle":
    """The lab that the words and the environment mean. Raises what `open_lab` raises."""
    return kvmrun.open_lab(args.vms)


def add_guests(parser: Parser, verb: str, *, force: str = "") -> None:
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


def named(args: Args) -> list[str]:
    """The guests that are named, each once. Raises UsageError for none."""
    if not args.guests:
        raise UsageError("no guest was named", "Name at least one guest.")
    return list(dict.fromkeys(args.guests))


def refuse_names(args: Args, flag: str = "--all") -> None:
    """Raises UsageError where guests are named beside a flag that means others as well."""
    if args.guests:
        named = printable(" ".join(args.guests), 200)
        reason = "the option means other guests than those that are named"
        raise UsageError(f"{flag} cannot be combined with names", f"kvmrun {args.command} {named}", reason=reason)


def add_start_options(parser: Parser) -> None:
    """The words of every command that starts guests."""
    parser.add_argument("--paused", action="store_true", help="leave the guest paused before its first instruction")
    parser.add_argument(
        "--throwaway", action="store_true", help="write nothing to the images of the guest: what it writes is lost"
    )
    parser.add_argument(
        "--accel", choices=("kvm", "tcg"), help="use this accelerator instead of that of the definition"
    )
    parser.add_argument("--cdrom", metavar="FILE", help="insert this CD-ROM and boot it first, for this start alone")
    parser.add_argument("--wait", nargs="?", const="qmp", default="qmp", metavar="COND", help=_WAIT)


def start_options(args: Args) -> StartOptions:
    """What those words say, and the words after --."""
    return StartOptions(
        paused=args.paused,
        throwaway=args.throwaway,
        accel=args.accel,
        cdrom=args.cdrom,
        wait=args.wait,
        timeout=args.timeout,
        raw=tuple(args.raw),
    )


def pace(seconds: float) -> float:
    """The pause between two looks, which is not shorter than a fifth of a second. Raises UsageError."""
    if 0 <= seconds <= 86400:
        return max(seconds, 0.2)
    raise UsageError(f"{seconds:g} s is not an interval", "up to 86400 seconds, which is a day")


def everywhere(parser: Parser, limit: str = "each wait has a limit of its own") -> None:
    """The options every command has; `limit` says what holds where --timeout is not given."""
    parser.add_argument("-C", "--vms", metavar="DIR", help="the lab: the directory with the definitions")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="print more details")
    parser.add_argument("-q", "--quiet", action="store_true", help="print less")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="when to use colours; auto: on a terminal"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help=f"the time limit of the command; default: {limit}"
    )


class CommandParser(Parser):
    """The parser of one command. It repeats what it was given only as far as that is printable.

    `on_error` is called with the words before a mistake in them is explained, and may raise what explains it better.
    """

    def __init__(
        self, name: str, module: ModuleType, *, on_error: Callable[[Sequence[str]], None] | None = None
    ) -> None:
        line = getattr(module, "COMMAND_LINE", "")
        super().__init__(
            prog=f"kvmrun {name}",
            usage=f"%(prog)s [OPTION ...] {line}" if line else None,
            formatter_class=partial(
                argparse.RawDescriptionHelpFormatter, width=78
            ),  # made for every argument that is added
        )
        self._name = name
        self._module = module
        self._on_error = on_error
        self._words: Sequence[str] = ()
        everywhere(self, *([module.TIMEOUT] if hasattr(module, "TIMEOUT") else []))
        module.configure(self)

    def parse(self, words: Sequence[str]) -> Args:
        """What the words mean; `raw` are those after --, or the command that `exec` and `ssh` pass on.

        Raises SystemExit after --help and after a mistake, which it has explained.
        """
        own, raw = self.split(words)
        self._words = own
        args = self.parse_intermixed_args(own)
        args.raw = raw
        return args

    def split(self, words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
        """The arguments of kvmrun, and the words that are passed on: those after --.

        Where a command is passed on to a guest, the first word that is no option names the guest, and the command
        begins at the next; options of kvmrun may stand between them where -- or nothing follows.
        """
        cut = words.index("--") if "--" in words else len(words)
        if hasattr(self._module, "COMMAND_LINE"):
            guest = self._after_options(words, 0)
            following = self._after_options(words, guest + 1)
            if guest < following < cut:
                return words[: guest + 1], words[guest + 1 :]
        return words[:cut], words[cut + 1 :]

    def _after_options(self, words: Sequence[str], position: int) -> int:
        """The position of the first word, from `position` on, that is neither an option nor the value of one."""
        while position < len(words) and words[position].startswith("-") and words[position] != "--":
            option = self._option_string_actions.get(words[position])
            position += 2 if option is not None and option.nargs != 0 else 1
        return position

    def format_help(self) -> str:
        """The help with what the command does, and its examples."""
        from textwrap import fill

        from kvmrun.cli.command_examples import examples

        self.description = fill(f"{self._module.HELP}.", 78)
        lines = (f"  {line}\n      {meaning}" for line, meaning in examples(self._name))
        self.epilog = "\n".join(["examples:", *lines])
        self.formatter_class = argparse.RawDescriptionHelpFormatter  # as wide as the terminal
        return super().format_help()

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message("\n".join(map(printable, message.split("\n"))), file)

    def error(self, message: str) -> Never:
        """Say what is wrong. argparse counts words of which there may be none among those that it requires."""
        if self._on_error:
            self._on_error(self._words)
        if message.startswith("the following arguments are required: "):
            wanted = [one for one in self._actions if not one.option_strings and one.nargs not in {"*", "?", "..."}]
            named = message.partition(": ")[2].split(", ")
            message = f"required: {', '.join(one for one in map(_shown, wanted) if one in named)}"
        elif message.startswith("unrecognized arguments: "):
            from kvmrun.cli.foreign_options import option_fix

            fix = option_fix(self._name, message.split()[2], [*self._option_string_actions])
            message += f"\n  fix: {fix}" if fix else ""
        elif self._name == "net" and message.startswith("argument verb: invalid choice: "):
            from kvmrun.cli.foreign_options import verb_fix

            typed = message.split("'")[1]
            message = f"{printable(typed, 60)} is not a verb of kvmrun net\n  fix: {verb_fix(typed, self._words)}"
        super().error(message)


def _shown(action: argparse.Action) -> str:
    return f"{action.metavar or action.dest}"
