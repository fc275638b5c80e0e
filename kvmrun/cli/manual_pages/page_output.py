"""Pages of the manual for who reads them: on the terminal, in man(1), and in a directory that man(1) searches."""

import os
import sys
import time

import kvmrun
from kvmrun.cli.arguments import Args
from kvmrun.cli.manual_pages.topics import Page, pages
from kvmrun.config.standard_paths import make_absolute
from kvmrun.host.process import process
from kvmrun.ui.text.progress import Progress

_SYSTEM = "/usr/local/share/man"


def show_page(page: Page, color: str) -> None:
    """Print the page, through the person's pager where it is longer than the terminal."""
    from kvmrun.ui.page import manual_text
    from kvmrun.ui.page.markdown import blocks
    from kvmrun.ui.text.output import use_colour

    text = manual_text.rendered(blocks(page.markdown()), color=use_colour(color))
    height = manual_text.lines_of_terminal()
    if 0 < height <= text.count("\n"):
        from kvmrun.cli.terminal import pager

        if pager.show(text):
            return
    sys.stdout.write(text)


def show_in_man(page: Page) -> int:
    """Show the page in man on a terminal, print it for man elsewhere; the exit code."""
    text = _roff(page)
    reader = process.find_program("man") if sys.stdout.isatty() else ""
    if not reader:
        sys.stdout.write(text)
        return 0
    import subprocess

    return subprocess.run([reader, "-l", "-"], input=text, text=True, check=False).returncode


def install(args: Args) -> int:
    """Write all pages below the directory of --install."""
    from kvmrun.host.files import installed_pages

    root = _root(args.install)
    written = {(page.name, page.section): _roff(page) for page in pages()}
    kept = installed_pages.install(root, written)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        for path in kept:
            progress.tell(f"{path} belongs to another program, and is left alone")
        progress.tell(f"{root}: {', '.join(f'{name}({section})' for name, section in written)}")
        if not installed_pages.is_found(f"{root}/man1/kvmrun.1"):
            progress.tell(f"man does not look there; to make it: export MANPATH={root}:")
    return 0


def remove(args: Args) -> int:
    """Remove the pages that --install wrote below the directory of --remove."""
    from kvmrun.host.files import installed_pages

    root = _root(args.remove)
    removed = installed_pages.remove(root) if os.path.isdir(root) else []
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        progress.tell(f"{root}: {len(removed)} pages removed" if removed else f"{root}: there are no pages of kvmrun")
    return 0


def _root(given: str) -> str:
    if given:
        return make_absolute(given)
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return _SYSTEM if os.geteuid() == 0 else f"{data}/man"


def _roff(page: Page) -> str:
    """The page as text for man(1)."""
    from kvmrun.ui.page import roff
    from kvmrun.ui.page.markdown import blocks

    return roff.page(page.name, page.section, _date(), f"kvmrun {kvmrun.__version__}", blocks(page.markdown()))


def _date() -> str:
    """When this kvmrun was made, as far as that is known; the same for the same files."""
    made = os.environ.get("SOURCE_DATE_EPOCH") or os.stat(kvmrun.__file__).st_mtime
    return time.strftime("%Y-%m-%d", time.gmtime(float(made)))
