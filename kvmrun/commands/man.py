"""kvmrun man: the pages of the manual for man(1)."""

import os
import sys
import time

import kvmrun
from kvmrun.commands import _pages
from kvmrun.commands._pages import Page
from kvmrun.commands._words import Args, Parser
from kvmrun.config.standard_paths import absolute
from kvmrun.errors import UsageError
from kvmrun.host.process import process
from kvmrun.ui.text.progress import Progress

HELP = "show a page of the manual in man(1), or install the pages for it"
_SYSTEM = "/usr/local/share/man"


def configure(parser: Parser) -> None:
    parser.add_argument("topic", nargs="?", metavar="PAGE", help="the page; kvmrun(1) when none is named")
    where = "DIR defaults to /usr/local/share/man for root, else ~/.local/share/man"
    parser.add_argument("--install", nargs="?", const="", metavar="DIR", help=f"write all pages below DIR; {where}")
    parser.add_argument("--remove", nargs="?", const="", metavar="DIR", help="remove the pages that --install wrote")


def run(args: Args) -> int:
    if args.install is not None and args.remove is not None:
        raise UsageError("--install and --remove contradict each other", "give one of them")
    if args.install is not None or args.remove is not None:
        return _install(args) if args.remove is None else _remove(args)
    return _show(_roff(_pages.find(args.topic or "kvmrun", "man")))


def _show(text: str) -> int:
    reader = process.find_tool("man") if sys.stdout.isatty() else ""
    if not reader:
        sys.stdout.write(text)
        return 0
    import subprocess

    return subprocess.run([reader, "-l", "-"], input=text, text=True, check=False).returncode


def _install(args: Args) -> int:
    from kvmrun.host import man_pages

    root = _root(args.install)
    pages = {(page.name, page.section): _roff(page) for page in _pages.pages()}
    kept = man_pages.install(root, pages)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        for path in kept:
            progress.tell(f"{path} belongs to another program, and is left alone")
        progress.tell(f"{root}: {', '.join(f'{name}({section})' for name, section in pages)}")
        if not man_pages.is_found(f"{root}/man1/kvmrun.1"):
            progress.tell(f"man does not look there; to make it: export MANPATH={root}:")
    return 0


def _remove(args: Args) -> int:
    from kvmrun.host import man_pages

    root = _root(args.remove)
    removed = man_pages.remove(root) if os.path.isdir(root) else []
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        progress.tell(f"{root}: {len(removed)} pages removed" if removed else f"{root}: there are no pages of kvmrun")
    return 0


def _root(given: str) -> str:
    if given:
        return absolute(given)
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return _SYSTEM if os.geteuid() == 0 else f"{data}/man"


def _roff(page: Page) -> str:
    """The page as text for man(1)."""
    from kvmrun.ui.markdown import blocks
    from kvmrun.ui.text import roff

    return roff.page(page.name, page.section, _date(), f"kvmrun {kvmrun.__version__}", blocks(page.markdown()))


def _date() -> str:
    """When this kvmrun was made, as far as that is known; the same for the same files."""
    made = os.environ.get("SOURCE_DATE_EPOCH") or os.stat(kvmrun.__file__).st_mtime
    return time.strftime("%Y-%m-%d", time.gmtime(float(made)))
