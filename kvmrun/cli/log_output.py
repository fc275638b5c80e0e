"""The lines of a guest's log, printed as the words on the command line want them."""

import re
import sys
from collections.abc import Iterable

from kvmrun.cli.arguments import Args
from kvmrun.cli.json_output import print_document
from kvmrun.model.printable import printable
from kvmrun.ui.text import stdio

_STYLE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][AB0]|\x1b[=>]")
"""Colours and cursor movements mean nothing in a log; whatever else is in it is shown as an escape."""


def print_title(name: str, args: Args, *, first: bool) -> None:
    """Print whose lines follow, where several guests were named, as tail(1) does. JSON has the name in every line."""
    if args.output == "text":
        sys.stdout.write(f"{'' if first else chr(10)}==> {name} <==\n")
        sys.stdout.flush()


def print_lines(name: str, lines: Iterable[bytes], args: Args) -> None:
    """Print lines of the log of that guest."""
    if args.unfiltered and args.output == "text":
        stdio.write(1, b"".join(line + b"\n" for line in lines))
        return
    for line in lines:
        text = line.decode(errors="replace")
        if args.output == "json":
            print_document(guest=name, line=text.rstrip("\r"))
        else:
            text = _STYLE.sub("", text).rstrip("\r")
            sys.stdout.write(printable(text, limit=10 * len(text) + 1) + "\n")
