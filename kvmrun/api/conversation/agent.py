"""Talking to the agent of a running guest: only where one listens, and never so long that nobody else can."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from kvmrun.api.guest_socket import monitor_of, socket_of
from kvmrun.errors import Refused, Unresponsive
from kvmrun.model.deadline import NEVER, Deadline
from kvmrun.model.guest.guest_state import qemu_state
from kvmrun.model.machine.chardevs import AGENT
from kvmrun.monitor.agent.agent_client import LIMIT, TURN, Agent, connect
from kvmrun.monitor.qmp.query_many import query

_TURN = 1.0
_QUEUE = 600.0
"""How long the agent is waited for while other commands talk to it by turns, in seconds."""
_BREATH = 0.05
_REMOVAL = 5.0
"""How long it may take to remove our own files in a guest, also where the time of the command is over."""
_GLANCE = 2.0


@contextmanager
def agent_session(
    directory: str, name: str, *, limit: float = LIMIT, turn: float = TURN, deadline: Deadline = NEVER
) -> Iterator[Agent]:
    """The agent of a running guest, as `connect` has it. Raises Refused where it has no port."""
    if silence := absence_reason(directory, name, limit=deadline.left(_GLANCE)):
        raise _absence_error(name, silence)
    with connect(socket_of(directory, name, AGENT), limit=limit, turn=turn, deadline=deadline) as agent:
        yield agent


class AgentSession:
    """Repeated use of the agent; every second the connection is released for a moment for other commands.

    One that others hold is waited for, up to the deadline.
    """

    def __init__(self, directory: str, name: str, deadline: Deadline = NEVER) -> None:
        self._directory = directory
        self._name = name
        self._deadline = deadline
        self._open = ExitStack()
        self._agent: Agent | None = None
        self._until = 0.0
        self._ending = False

    def __call__(self) -> Agent:
        """The agent, for one question. Raises what `agent_session` raises."""
        if self._agent is None or self._agent.broken or time.monotonic() > self._until:
            if self._agent is not None:
                self.close()
                time.sleep(_BREATH)
            turn = self._deadline.granted(_QUEUE)
            talk = agent_session(self._directory, self._name, turn=turn, deadline=self._deadline)
            self._agent = self._open.enter_context(talk)
            self._until = time.monotonic() + _TURN
        return self._agent

    def last(self) -> Agent:
        """The agent for what must be removed at the end: all calls of this together have a limit of their own."""
        if not self._ending:
            self.close()
            self._deadline, self._ending = Deadline.begin(_REMOVAL), True
        return self()

    def close(self) -> None:
        self._open.close()
        self._agent = None


def absence_reason(directory: str, name: str, *, limit: float = _GLANCE) -> str:
    """Why no agent can answer, by QEMU's word: "port", "paused" or "nobody"; "" where one listens or QEMU is silent."""
    if not os.path.exists(f"{directory}/{AGENT}"):
        return "port"
    replies = query(monitor_of(directory, name), "query-status", "query-chardev", limit=limit).replies
    if qemu_state(replies) in {"paused", "prelaunch"}:
        return "paused"
    lines = replies.get("query-chardev")
    known = [one for one in lines if isinstance(one, dict)] if isinstance(lines, list) else []
    shut = any(one.get("label") == AGENT and one.get("frontend-open") is False for one in known)
    return "nobody" if shut else ""


def _absence_error(name: str, silence: str) -> Refused | Unresponsive:
    if silence == "port":
        return Refused(f"{name} has no port for an agent", f"set agent = true in {name}.toml and restart the guest")
    if silence == "paused":
        return Unresponsive(f"the agent of {name} does not answer", f"kvmrun resume {name}", reason=f"{name} is paused")
    fix = f"install qemu-guest-agent in {name}; while it boots: kvmrun wait {name} --for agent"
    return Unresponsive(f"no agent runs in {name}", fix, reason="no process in the guest has opened its port")
