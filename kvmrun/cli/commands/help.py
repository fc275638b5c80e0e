"""kvmrun help: a page of the manual, or the help of a command."""

import sys

from kvmrun.cli import commands
from kvmrun.cli.arguments import Args, CommandParser, Parser
from kvmrun.cli.manual_pages import topics
from kvmrun.cli.manual_pages.page_output import show_page

HELP = "show a page of the manual, or the help of a command"


def configure(parser: Parser) -> None:
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="a page or a command; without it, list the pages")


def run(args: Args) -> int:
    if args.topic is None:
        sys.stdout.write(_overview())
    elif name := topics.command(args.topic):
        module = commands.load(name)
        assert module is not None
        sys.stdout.write(CommandParser(name, module).format_help())
    else:
        show_page(topics.find(args.topic, "help", commands.names()), args.color)
    return 0


def _overview() -> str:
    pages = topics.pages()
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
