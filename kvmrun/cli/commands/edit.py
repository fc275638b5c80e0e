"""kvmrun edit: change a definition in an editor. It is saved once it is valid, and what was typed is never lost."""

import sys

from kvmrun.api.definition.edit_definition import editing
from kvmrun.api.report import Done
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.report import reporting
from kvmrun.cli.terminal.definition_editor import edit_until_valid
from kvmrun.errors import UsageError

HELP = "change a definition in your editor; it is saved if it is valid"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a guest, or networks, or defaults")
    parser.add_argument(
        "--from", dest="source", metavar="FILE", help="start with the text of this file; without a terminal, save it"
    )


def run(args: Args) -> int:
    """Raises ConfigError when it stays invalid, Refused when somebody else changed it meanwhile."""
    with editing(opened(args), args.guest, source=args.source, kept=_tell_where) as text:
        if _has_terminal():
            edit_until_valid(text, args.guest)
        elif not args.source:
            fix = f"kvmrun edit {args.guest} --from FILE saves the text of a file"
            raise UsageError(f"{args.guest} was not edited", fix, reason="there is no terminal for an editor")
        saved = text.save()
    with reporting(args) as report:
        report(Done(text=f"{saved.path} is {'saved' if saved.is_changed else 'unchanged'}"))
        if saved.is_changed and saved.is_running:
            report(
                Done(text=f"{args.guest} continues as it was started; kvmrun restart {args.guest} takes what is new")
            )
    return 0


def _has_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _tell_where(draft: str) -> None:
    sys.stderr.write(f"kvmrun: what you typed is kept in {draft}\n")
