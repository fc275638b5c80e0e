"""kvmrun pause: stop a guest's processors where they are."""

from kvmrun.commands import _end
from kvmrun.commands._tell import Word, tell
from kvmrun.commands._words import Args, Parser

HELP = "pause guests: their processors stop"
TIMEOUT = "5 s"
WORD = Word(command="stop", doing="pausing", done="paused", already=("paused", "prelaunch"))
"""A guest started with --paused, which has not begun, is paused as well."""


def configure(parser: Parser) -> None:
    _end.configure(parser, "pause")


def run(args: Args) -> int:
    return tell(args, WORD)
