"""kvmrun man: the pages of the manual for man(1)."""

from kvmrun.cli.arguments import Args, Parser
from kvmrun.cli.manual_pages import page_output, topics
from kvmrun.errors import UsageError

HELP = "show a page of the manual in man(1), or install the pages for it"


def configure(parser: Parser) -> None:
    parser.add_argument("topic", nargs="?", metavar="PAGE", help="the page; kvmrun(1) when none is named")
    where = "DIR defaults to /usr/local/share/man for root, else ~/.local/share/man"
    parser.add_argument("--install", nargs="?", const="", metavar="DIR", help=f"write all pages below DIR; {where}")
    parser.add_argument("--remove", nargs="?", const="", metavar="DIR", help="remove the pages that --install wrote")


def run(args: Args) -> int:
    if args.install is not None and args.remove is not None:
        raise UsageError("--install and --remove contradict each other", "give one of them")
    if args.install is not None or args.remove is not None:
        return page_output.install(args) if args.remove is None else page_output.remove(args)
    return page_output.show_in_man(topics.find(args.topic or "kvmrun", "man"))
