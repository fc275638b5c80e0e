"""kvmrun cp: a file or a directory into a guest or out of it, by its agent."""

import re

from kvmrun.api.conversation.agent_copy import CopyOptions, GuestPath, copy_from_guest, copy_to_guest
from kvmrun.api.report import Done, Warned
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.report import reporting
from kvmrun.errors import UsageError

HELP = "copy files into a guest or out of it through its agent"
TIMEOUT = "none; 30 s for each answer of the agent"
_HINT = "kvmrun cp FILE NAME:/PATH, or kvmrun cp NAME:/PATH FILE"
_SHOWN = 5


def configure(parser: Parser) -> None:
    parser.add_argument("-r", "--recursive", action="store_true", help="copy a directory with everything in it")
    parser.add_argument("source", metavar="SRC", help="a file of the host, or NAME:/PATH for a file of a guest")
    parser.add_argument(
        "target", metavar="DST", help="a file or directory, or NAME:/PATH; either SRC or DST is in a guest"
    )


def run(args: Args) -> int:
    """Raises what is in the way; the target is then as it was before."""
    source, target = _parse_guest_path(args.source), _parse_guest_path(args.target)
    options = CopyOptions(recursive=args.recursive, timeout=args.timeout)
    with reporting(args) as report:
        if source and target is None:
            done = copy_from_guest(opened(args), source, args.target, options, report=report)
        elif target and source is None:
            done = copy_to_guest(opened(args), args.source, target, options, report=report)
        else:
            raise UsageError("exactly one of the two paths must be in a guest", _HINT)
        for one in done.skipped[:_SHOWN]:
            report(Warned(text=f"not copied: {one}"))
        if len(done.skipped) > _SHOWN:
            report(Warned(text=f"not copied: {len(done.skipped) - _SHOWN} more"))
        report(Done(text=f"{args.source} -> {args.target}: {done.text}"))
    return 0


def _parse_guest_path(word: str) -> GuestPath | None:
    """The guest and the path in it, None for a path of the host. Raises UsageError."""
    found = re.fullmatch(r"([a-z0-9-]{1,32}):(.*)", word, re.DOTALL)
    if found is None:
        return None
    if not found[2].startswith("/"):
        raise UsageError(f"{word}: a path in a guest begins with /", _HINT)
    return GuestPath(guest=found[1], path=found[2])
