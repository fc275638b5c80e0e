"""kvmrun reset: press a guest's reset button."""

from kvmrun.commands import _end
from kvmrun.commands._tell import Word, tell
from kvmrun.commands._words import Args, Parser

HELP = "reset guests, as with the reset button"
TIMEOUT = "5 s"
_ENDED = 'with on_reboot = "shutdown" a reset is the end'
_WORD = Word(command="system_reset", doing="resetting", done="reset", ended=_ENDED)


def configure(parser: Parser) -> None:
    _end.configure(parser, "reset", force="also guests with protect = true")


def run(args: Args) -> int:
    return tell(args, _WORD)
