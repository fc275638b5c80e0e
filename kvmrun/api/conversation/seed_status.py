"""Whether the system of a guest has applied its seed, asked through the agent in the guest."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Literal

from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.monitor.agent import agent_commands
from kvmrun.monitor.agent.agent_client import Agent

_SCRIPT = """
d=/run/cloud-init
if [ -e $d/result.json ]; then
    echo result; tr -d '\\n' < $d/result.json; echo; tail -n 5 /var/log/cloud-init-output.log
elif [ -e $d/disabled ]; then echo disabled
elif [ -d $d ]; then echo running
elif command -v systemctl > /dev/null; then
    echo systemd; systemctl is-system-running; systemctl show -p ActiveState kvmrun-seed.service
    journalctl -q -o cat -n 5 -u kvmrun-seed.service
fi
"""
"""cloud-init writes result.json when its last stage has ended; below /run, so that it is always of this boot."""
_POLLS, _PAUSE = 40, 0.05
_OUTPUT = "cat /var/log/cloud-init-output.log"
_JOURNAL = "journalctl -u kvmrun-seed.service"


class SeedStatus(Value):
    """`error` says what went wrong, `lines` are the guest's own words about it, and `log` prints all of them there."""

    state: Literal["unknown", "running", "done", "failed"]
    error: str = ""
    log: str = _OUTPUT
    lines: tuple[str, ...] = ()


def seed_status(agent: Agent) -> SeedStatus:
    """How far the seed is. Raises what `Agent.ask` raises; "unknown" where the guest does not tell in time."""
    pid = agent_commands.start_command(agent, ["sh", "-c", _SCRIPT], None)
    for _ in range(_POLLS):
        if (outcome := agent_commands.poll_exit(agent, pid)) is not None:
            return parse_status(outcome.out.decode(errors="replace"))
        time.sleep(_PAUSE)
    return SeedStatus(state="unknown")


def parse_status(said: str) -> SeedStatus:
    """The status by what the script has printed in the guest, of which nothing is taken on trust."""
    kind, *lines = said.splitlines() or [""]
    match kind:
        case "result":
            return _result(lines)
        case "disabled":
            return SeedStatus(state="failed", error="cloud-init is disabled, or has found no data source")
        case "systemd":
            return _systemd(lines)
        case "running":
            return SeedStatus(state="running")
        case _:
            return SeedStatus(state="unknown")


def _result(lines: list[str]) -> SeedStatus:
    """What cloud-init has written when it had ended, and the last lines of its output."""
    try:
        found = json.loads(lines[0])["v1"]
        errors, source = list(found["errors"]), f"{found['datasource']}"
    except (ValueError, LookupError, TypeError, RecursionError):
        return SeedStatus(state="failed", error="the result of cloud-init makes no sense")
    if errors:
        return SeedStatus(
            state="failed", error="cloud-init has ended with errors", lines=tuple(_told([*errors[:10], *lines[1:]]))
        )
    if "DataSourceNone" in source:
        return SeedStatus(state="failed", error="cloud-init has found no data source")
    return SeedStatus(state="done")


def _systemd(lines: list[str]) -> SeedStatus:
    """A system without cloud-init: it has started, and its unit with the commands of the seed has not failed."""
    state, *rest = [*lines, ""]
    if "ActiveState=failed" in rest:
        words = [line for line in rest if not line.startswith("ActiveState=")]
        return SeedStatus(
            state="failed", error="kvmrun-seed.service has failed", log=_JOURNAL, lines=tuple(_told(words))
        )
    return SeedStatus(state="running" if state in {"initializing", "starting"} else "done")


def _told(lines: Sequence[object]) -> Iterator[str]:
    return (text for line in lines if (text := printable(line, 300).strip()))
