"""kvmrun man: the manual, from the same words as --help."""

import os
import sys
import time
from typing import Any

import kvmrun
from kvmrun import commands
from kvmrun.commands import _keys, _manual
from kvmrun.commands._words import Args, Parser, everywhere
from kvmrun.host import process
from kvmrun.light.abc import Iterator
from kvmrun.ui import roff

HELP = "show the manual, or print it for man where it goes to a pipe"


def configure(_parser: Parser) -> None:
    """No words of its own."""


def run(_args: Args) -> int:
    text = page()
    reader = process.find_tool("man") if sys.stdout.isatty() else ""
    if not reader:
        sys.stdout.write(text)
        return 0
    import subprocess

    return subprocess.run([reader, "-l", "-"], input=text, text=True, check=False).returncode


def page() -> str:
    """kvmrun(1) as text for man."""
    return roff.page("kvmrun", _date(), f"kvmrun {kvmrun.__version__}", _parts())


def _date() -> str:
    """When this kvmrun was made, as far as that is known; the same for the same files."""
    made = os.environ.get("SOURCE_DATE_EPOCH") or os.stat(kvmrun.__file__).st_mtime
    return time.strftime("%Y-%m-%d", time.gmtime(float(made)))


def _parts() -> Iterator[str]:
    yield roff.section("name") + f"kvmrun \\- {roff.escaped(_manual.PURPOSE)}\n"
    yield roff.section("synopsis")
    yield ".PP\n".join(f".B kvmrun\n{roff.escaped(words)}\n" for words in _manual.SYNOPSIS)
    yield roff.section("description") + roff.paragraphs(*_manual.DESCRIPTION)
    yield roff.section("commands")
    for name in commands.names():
        yield from _command(name)
    yield roff.section("options") + roff.paragraphs("Every command has these, and --help.")
    yield from _flags(_parser("", everywhere))
    yield roff.entry("--version", "print the version and exit")
    yield roff.section("conditions") + roff.paragraphs(
        "What --wait, kvmrun wait --for and a definition's ready can name."
    )
    yield from (roff.entry(*one) for one in _manual.CONDITIONS)
    yield roff.section("definitions") + roff.paragraphs(_manual.DEFINITIONS) + roff.verbatim(_keys.text(_keys.GUEST))
    yield ".PP\n" + roff.paragraphs(_manual.NETWORKS) + roff.verbatim(_keys.text(_keys.NETWORKS))
    for title, table in (("files", _manual.FILES), ("environment", _manual.ENVIRONMENT)):
        yield roff.section(title) + "".join(roff.entry(*one) for one in table)
    yield roff.section("exit status") + "".join(roff.entry(str(code), text) for code, text in _manual.EXIT)
    yield roff.section("examples") + "".join(roff.entry(*one) for one in _manual.EXAMPLES)
    yield roff.section("see also") + f"{roff.escaped(_manual.ALSO)}\n"


def _command(name: str) -> Iterator[str]:
    """A command: how it is called, what it does, its own words."""
    module = commands.load(name)
    assert module is not None
    parser = _parser(name, module.configure)
    yield roff.subsection(" ".join(parser.format_usage().split()[1:]))
    yield roff.paragraphs(f"{module.HELP[0].upper()}{module.HELP[1:]}.")
    yield from _flags(parser)


def _parser(name: str, configure: Any) -> Any:
    """A parser with what `configure` adds, and nothing else."""
    import argparse

    prog = "kvmrun [up]" if name == "up" else f"kvmrun {name}"
    wide = lambda prog: argparse.HelpFormatter(prog, width=10_000)  # noqa: E731 - argparse wants a class
    parser = argparse.ArgumentParser(prog=prog, add_help=False, formatter_class=wide)
    configure(parser)
    return parser


def _flags(parser: Any) -> Iterator[str]:
    """Every word of the parser that says what it is for."""
    formatter = parser._get_formatter()
    for action in parser._actions:
        if action.help:
            terms = formatter._format_action_invocation(action)
            choices = "" if action.option_strings or not action.choices else f" ({', '.join(action.choices)})"
            yield roff.entry(
                action.metavar or action.dest if choices else terms, formatter._expand_help(action) + choices
            )
