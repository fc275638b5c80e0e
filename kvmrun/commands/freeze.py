"""kvmrun freeze: have a guest write out what it holds, and write no more until it is thawed."""

import os

from kvmrun.commands import _end
from kvmrun.commands._agent import FROZEN, talking
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError, Unresponsive
from kvmrun.host.process.signals import held_back
from kvmrun.light.contextlib import ExitStack, suppress
from kvmrun.model.deadline import Deadline
from kvmrun.monitor.agent import agent_commands

_BACK = 5.0
"""How long a freeze that failed may take to be taken back, in seconds."""

HELP = "flush file systems of guests and stop their writing, to copy their disks"
TIMEOUT = "30 s"


def configure(parser: Parser) -> None:
    _end.configure(parser, "freeze")


def run(args: Args) -> int:
    """A freeze that was not answered in time is taken back. Raises Several."""
    return _end.at_each(args, "freezing", _freeze, limit=agent_commands.PATIENCE)


def _freeze(name: str, directory: str, deadline: Deadline, calm: ExitStack) -> str:
    with talking(directory, name, deadline=deadline) as agent:
        if agent_commands.is_frozen(agent):
            return f"is frozen already; kvmrun thaw {name}"
    try:
        with talking(directory, name, deadline=deadline) as agent:
            count = agent_commands.freeze(agent, limit=deadline.granted(agent_commands.PATIENCE))
            calm.enter_context(held_back())
    except (Unresponsive, KeyboardInterrupt):
        with suppress(KvmrunError), talking(directory, name) as agent:  # also after the deadline: it must not stay so
            agent_commands.thaw(agent, limit=_BACK)
        raise
    if not count:
        raise KvmrunError(
            f"{name} has no file system that can be frozen", why="file systems in memory cannot be frozen"
        )
    with suppress(OSError):  # a word for stop alone
        os.close(os.open(f"{directory}/{FROZEN}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    return f"is frozen: {count} file system{'s' * (count != 1)}; kvmrun thaw {name} lets it write again"
