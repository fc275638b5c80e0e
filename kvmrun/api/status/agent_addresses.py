"""The addresses that guest agents report, added to the rows of the list where they were asked for."""

from collections.abc import Mapping

from kvmrun.api.conversation.agent import agent_session
from kvmrun.api.parallel import each
from kvmrun.api.status.seen_addresses import with_agents
from kvmrun.model.guest.guest_status import AgentInterface, Status
from kvmrun.monitor.agent import agent_commands

_LIMIT = 1.0
"""An agent that is slower than this is left out, in seconds. Where none listens, nothing is waited for."""


def with_agent_addresses(rows: list[Status], here: Mapping[str, str]) -> list[Status]:
    """The rows, those of guests whose agent answers with their NICs; `here` are the guests' run directories."""
    found: dict[str, tuple[AgentInterface, ...]] = {}

    def one(name: str) -> None:
        with agent_session(here[name], name, limit=_LIMIT) as agent:
            found[name] = agent_commands.interfaces(agent, limit=_LIMIT)

    each([row.name for row in rows if row.state in {"running", "degraded"} and row.name in here], one)
    return [with_agents(row.replace(agent=found[row.name])) if row.name in found else row for row in rows]
