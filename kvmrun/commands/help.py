"""kvmrun help: a page of the manual, or the help of a command."""

import sys

from kvmrun import commands
from kvmrun.commands import _pages
from kvmrun.commands._words import Args, Parser, full_parser

HELP = "show a page of the manual, or the help of a command"


def configure(parser: Parser) -> None:
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="a page or a command; without it, list the pages")


def run(args: Args) -> int:
    if args.topic is None:
        sys.stdout.write(_overview())
    elif name := _pages.command(args.topic):
        module = commands.load(name)
        assert module is not None
        sys.stdout.write(full_parser(name, module).format_help())
    else:
        _show(_pages.find(args.topic, "help", commands.names()), args.color)
    return 0


def _overview() -> str:
    pages = _pages.pages()
    lines = [f"  {page.topic:<11} {page.summary()}" for page in pages]
    return "\n".join(
        [
            "usage: kvmrun help TOPIC       show a page of the manual",
            "       kvmrun help COMMAND     show the options of a command",
            "",
            *lines,
            "",
            "kvmrun --help lists the commands. kvmrun man TOPIC shows a page in man(1).",
            "",
        ]
    )


def _show(page: _pages.Page, color: str) -> None:
    from kvmrun.ui import manual
    from kvmrun.ui.markdown import blocks
    from kvmrun.ui.text.output import colored

    text = manual.rendered(blocks(page.markdown()), color=colored(color))
    height = manual.lines_of_terminal()
    if 0 < height <= text.count("\n"):
        from kvmrun.host import pager

        if pager.show(text):
            return
    sys.stdout.write(text)
