"""kvmrun export: the lab as files for others, Shorewall and systemd."""

import os
import sys

from kvmrun.api.definition.export_lab import KINDS, export_texts, missing_lines, write_export
from kvmrun.api.report import Done
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.report import reporting
from kvmrun.errors import UsageError

HELP = "write files for Shorewall or systemd"


def configure(parser: Parser) -> None:
    parser.add_argument("kind", choices=KINDS, help="the program that reads the files")
    parser.add_argument(
        "directory", nargs="?", metavar="DIR", help="the directory to write to; without it, print everything"
    )
    parser.add_argument(
        "-f", "--force", action="store_true", help="replace files that others wrote or changed, and keep copies"
    )
    text = "shorewall: print what the configuration in DIR, or in /etc/shorewall, lacks"
    parser.add_argument("--lines", action="store_true", help=text)


def run(args: Args) -> int:
    lab = opened(args)
    with reporting(args) as report:
        if args.lines:
            if args.kind != "shorewall":
                raise UsageError("--lines is for shorewall", "kvmrun export shorewall --lines")
            _print(missing_lines(lab, args.directory or "/etc/shorewall", report=report))
            return 0
        texts = export_texts(lab, args.kind, force=args.force, program=_program(), report=report)
        if args.directory is None:
            _print(texts)
            return 0
        done = write_export(args.directory, args.kind, texts, force=args.force)
        for note in done.notes:
            report(Done(text=f"{done.directory}: {note}"))
        report(Done(text=f"{done.directory}: {', '.join(texts)}"))
    return 0


def _print(texts: dict[str, str]) -> None:
    sys.stdout.write("".join(f"### {name}\n{text}\n" for name, text in texts.items()))


def _program() -> str | None:
    """The command as it was called, where it is an installed one."""
    path = os.path.abspath(sys.argv[0])
    return path if os.path.basename(path) == "kvmrun" and os.access(path, os.X_OK) else None
