"""kvmrun events: what happens in guests, one line each, as it happens."""

import asyncio
import gc
import os
import sys
from contextlib import aclosing

from kvmrun.commands._lab import directories, expanded, no_such_guest, open_lab, own, refuse_other
from kvmrun.commands._status import seen
from kvmrun.commands._words import Args, Parser
from kvmrun.model.guest.paths import Directories
from kvmrun.model.printable import printable

HELP = "follow the events that QEMU reports of guests"
TIMEOUT = "none"


def configure(parser: Parser) -> None:
    parser.add_argument("guests", nargs="*", metavar="NAME", help="guests to follow, or @GROUP; all if none is named")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="json: one document per line")


def run(args: Args) -> int:
    """Until Ctrl-C, or for --timeout seconds. Guests need not run: they are followed whenever they do."""
    where = directories(args)
    names = _known(where, args.guests)
    gc.enable()  # unlike other commands this one lives long
    return asyncio.run(_follow(where, names, args))


def _known(where: Directories, words: list[str]) -> set[str]:
    """The guests that are meant, none for all. Raises NoSuchGuest."""
    if not words:
        return set()
    lab = open_lab(where)
    names = expanded(lab, words)
    there = {*lab.guests, *lab.invalid, *seen(where)}
    if unknown := next((name for name in names if name not in there), ""):
        raise no_such_guest(lab, unknown)
    for name in names:
        refuse_other(where, name)
    return set(names)


async def _follow(where: Directories, names: set[str], args: Args) -> int:
    from kvmrun.commands._follow import follow
    from kvmrun.ui.screen import terminal
    from kvmrun.ui.text.output import document, line

    noted: dict[str, str] = {}

    def note(name: str, text: str) -> None:
        if noted.get(name) != text and not args.quiet:
            sys.stderr.write(f"kvmrun: {name} is not followed now: {printable(text)}\n")
        noted[name] = text

    def wanted() -> dict[str, str]:
        found = seen(where)
        mine = set(own(where, [name for name, path in found.items() if path == where.guest(name)]))
        here = {name: path for name, path in found.items() if name in mine or path != where.guest(name)}
        return {name: path for name, path in here.items() if not names or name in names}

    with terminal.unblocked(1) as sink:
        try:
            async with asyncio.timeout(args.timeout), aclosing(follow(wanted, note)) as news:
                async for event in news:
                    noted.pop(event.guest, None)
                    await _write(sink, (document if args.output == "json" else line)(event))
        except TimeoutError:
            return 0
    return 0


async def _write(sink: int, text: str) -> None:
    """Write all of it. Where nobody reads, guests are listened to meanwhile, within the bounds of their connections."""
    data = text.encode()
    while data:
        try:
            data = data[os.write(sink, data) :]
        except BlockingIOError:
            await _writable(sink)


async def _writable(sink: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(sink, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sink)
