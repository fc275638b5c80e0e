"""kvmrun thaw: let a guest write to its file systems again."""

import os

from kvmrun.commands import _end
from kvmrun.commands._agent import FROZEN, talking
from kvmrun.commands._words import Args, Parser
from kvmrun.host.process.signals import held_back
from kvmrun.light.contextlib import ExitStack, suppress
from kvmrun.model.deadline import Deadline
from kvmrun.monitor.agent import agent_commands

HELP = "let frozen guests write to their file systems again"
TIMEOUT = "30 s"


def configure(parser: Parser) -> None:
    _end.configure(parser, "thaw")


def run(args: Args) -> int:
    """Asked of every guest, whatever it was thought to be: one that is not frozen takes no harm. Raises Several."""
    return _end.at_each(args, "thawing", _thaw, limit=agent_commands.PATIENCE)


def _thaw(name: str, directory: str, deadline: Deadline, calm: ExitStack) -> str:
    with talking(directory, name, deadline=deadline) as agent:
        count = agent_commands.thaw(agent)
        calm.enter_context(held_back())
    with suppress(FileNotFoundError):
        os.unlink(f"{directory}/{FROZEN}")
    return f"is thawed: {count} file system{'s' * (count != 1)}" if count else "was not frozen"
