"""kvmrun freeze: have a guest write out what it holds, and write no more until it is thawed."""

import os

from kvmrun.commands import _end
from kvmrun.commands._agent import FROZEN, talking
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, Unresponsive
from kvmrun.light.contextlib import suppress
from kvmrun.monitor import inside

HELP = "hold a guest's writing, so that its disks can be copied as they are"


def configure(parser: Parser) -> None:
    _end.configure(parser, "freeze")


def run(args: Args) -> int:
    """A freeze that was not answered in time is taken back. Raises Several."""
    return _end.at_each(args, "freezing", _freeze, limit=inside.PATIENCE)


def _freeze(name: str, directory: str, limit: float) -> str:
    with talking(directory, name) as agent:
        if inside.is_frozen(agent):
            return f"is frozen already; kvmrun thaw {name}"
    try:
        with talking(directory, name) as agent:
            count = inside.freeze(agent, limit=limit)
    except (Unresponsive, KeyboardInterrupt):
        with suppress(KvmrunError), talking(directory, name) as agent:
            inside.thaw(agent, limit=limit)
        raise
    if not count:
        raise KvmrunError(f"{name} has no file system that can be frozen", why="those in memory cannot")
    with suppress(OSError):  # a word for stop alone
        os.close(os.open(f"{directory}/{FROZEN}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    return f"is frozen: {count} file system{'s' * (count != 1)}; kvmrun thaw {name} lets it write again"
