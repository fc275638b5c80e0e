"""kvmrun events: what happens in guests, one line each, as it happens."""

import asyncio
import gc
import sys
from collections.abc import Callable
from contextlib import aclosing

from kvmrun.api.conversation.events import follow, followable
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.json_output import format_event
from kvmrun.model.printable import printable

HELP = "follow the events that QEMU reports of guests"
TIMEOUT = "none"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="guests to follow, or @GROUP; all if none is named")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="json: one document per line")


def run(args: Args) -> int:
    """Until Ctrl-C, or for --timeout seconds. Guests need not run: they are followed whenever they do."""
    present = followable(opened(args), args.guests)
    gc.enable()  # unlike other commands this one lives long
    return asyncio.run(_follow(present, args))


async def _follow(present: Callable[[], dict[str, str]], args: Args) -> int:
    from kvmrun.ui.screen import terminal
    from kvmrun.ui.screen.async_output import send_text
    from kvmrun.ui.text.output import event_line

    noted: dict[str, str] = {}

    def note(name: str, text: str) -> None:
        if noted.get(name) != text and not args.quiet:
            sys.stderr.write(f"kvmrun: {name} is not followed now: {printable(text)}\n")
        noted[name] = text

    with terminal.nonblocking_dup(1) as sink:
        try:
            async with asyncio.timeout(args.timeout), aclosing(follow(present, note)) as news:
                async for event in news:
                    noted.pop(event.guest, None)
                    await send_text(sink, format_event(event) if args.output == "json" else event_line(event))
        except TimeoutError:
            return 0
    return 0
