"""kvmrun resume: let a paused guest go on."""

from kvmrun.commands import _end
from kvmrun.commands._tell import Word, tell
from kvmrun.commands._words import Args, Parser

HELP = "resume paused guests"
TIMEOUT = "5 s"
WORD = Word(command="cont", doing="resuming", done="running", already=("running",))


def configure(parser: Parser) -> None:
    _end.configure(parser, "resume")


def run(args: Args) -> int:
    return tell(args, WORD)
