"""Freezing and thawing the file systems of guests through their agents."""

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from typing import Literal

from kvmrun.api.conversation.agent import agent_session
from kvmrun.api.lab import LabHandle
from kvmrun.api.report import Report, discard
from kvmrun.api.selection import Batch, for_each_running
from kvmrun.errors import Busy, KvmrunError
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import frozen_mark
from kvmrun.model.deadline import Deadline
from kvmrun.model.value import Value
from kvmrun.monitor.agent import agent_commands
from kvmrun.monitor.agent.agent_client import AgentError

_BACK = 5.0
"""How long a freeze that failed may take to be taken back, in seconds."""


class FileSystems(Value):
    """How many file systems of a guest were frozen or thawed; `already` where they were so before, and not counted."""

    guest: str
    state: Literal["frozen", "thawed"]
    count: int = 0
    already: bool = False

    def __str__(self) -> str:
        counted = f"{self.count} file system{'s' * (self.count != 1)}"
        if self.state == "thawed":
            return f"{self.guest} was not frozen" if self.already else f"{self.guest} is thawed: {counted}"
        if self.already:
            return f"{self.guest} is frozen already; kvmrun thaw {self.guest}"
        return f"{self.guest} is frozen: {counted}; kvmrun thaw {self.guest} lets it write again"


def freeze(
    lab: LabHandle, names: Iterable[str] | None, *, timeout: float | None = None, report: Report = discard
) -> dict[str, FileSystems | KvmrunError]:
    """Have guests flush their file systems and stop writing until they are thawed; None means all that run.

    The agent has `timeout` seconds, or 30, to answer; a freeze that was not answered in time is taken back.

    Raises: ConfigError and Refused for a lab that cannot be read, Interrupted where a signal came first.
    """
    deadline = Deadline.begin(agent_commands.PATIENCE if timeout is None else timeout)
    return for_each_running(lab, names, _freeze, Batch(doing="freezing", deadline=deadline, report=report))


def thaw(
    lab: LabHandle, names: Iterable[str] | None, *, timeout: float | None = None, report: Report = discard
) -> dict[str, FileSystems | KvmrunError]:
    """Let guests write again; a guest that is not frozen is not affected.

    `names`, and `timeout` in seconds, as of `freeze`.

    Raises: what `freeze` raises.
    """
    deadline = Deadline.begin(agent_commands.PATIENCE if timeout is None else timeout)
    return for_each_running(lab, names, _thaw, Batch(doing="thawing", deadline=deadline, report=report))


def _freeze(name: str, directory: str, deadline: Deadline, calm: ExitStack) -> FileSystems:
    with agent_session(directory, name, deadline=deadline) as agent:
        if agent_commands.is_frozen(agent):
            return FileSystems(guest=name, state="frozen", already=True)
    try:
        with agent_session(directory, name, deadline=deadline) as agent:
            count = agent_commands.freeze(agent, limit=deadline.granted(agent_commands.PATIENCE))
            calm.enter_context(defer_signals())
    except (AgentError, Busy):  # nothing was frozen
        raise
    except BaseException:
        with (
            suppress(KvmrunError),
            agent_session(directory, name) as agent,
        ):  # also after the deadline: it must not stay so
            agent_commands.thaw(agent, limit=_BACK)
        raise
    if not count:
        raise KvmrunError(
            f"{name} has no file system that can be frozen", reason="file systems in memory cannot be frozen"
        )
    with suppress(OSError):  # a word for stop alone
        frozen_mark.set_mark(directory)
    return FileSystems(guest=name, state="frozen", count=count)


def _thaw(name: str, directory: str, deadline: Deadline, calm: ExitStack) -> FileSystems:
    with agent_session(directory, name, deadline=deadline) as agent:
        count = agent_commands.thaw(agent)
        calm.enter_context(defer_signals())
    with suppress(OSError):  # stop thaws it once more then
        frozen_mark.clear_mark(directory)
    return FileSystems(guest=name, state="thawed", count=count, already=not count)
