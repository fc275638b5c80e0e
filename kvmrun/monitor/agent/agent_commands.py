"""What the agent does inside a guest, a question each; of its answers only what has the right type is taken."""

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from kvmrun.errors import NotRunning, Unresponsive
from kvmrun.model.guest.guest_status import AgentInterface
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.monitor.agent.agent_client import LIMIT, Agent, AgentError, GuestFrozenError, garbled

OUTPUT = 16 << 20
"""How much the agent keeps of each stream of a command, in bytes."""
CHUNK = 384 << 10
"""How much of a file goes into one question or answer, in bytes: in base64 it stays below the budget."""
PATIENCE = 30.0
"""How long an answer may take that needs the guest's disk, or moves many bytes, in seconds."""
_ALL_OUTPUT = 2 * OUTPUT * 4 // 3 + (64 << 10)
_REFUSAL = 1.0
_MOST = 64
"""So many interfaces, and addresses of each, are looked at."""


class CommandResult(Value):
    """How a command in the guest ended. `cut` names the streams of which the agent did not keep all."""

    code: int
    out: bytes
    err: bytes
    cut: tuple[str, ...]


def start_command(agent: Agent, words: Sequence[str], given: bytes | None, *, limit: float = PATIENCE) -> int:
    """Run `words` in the guest, `given` as its standard input; its pid there."""
    asked: dict[str, object] = {"path": words[0], "arg": list(words[1:]), "capture-output": True}
    if given is not None:
        asked["input-data"] = b64encode(given).decode()
    return _number(agent, _object(agent, agent.ask("guest-exec", asked, limit=limit)).get("pid"))


def poll_exit(agent: Agent, pid: int, *, limit: float = PATIENCE) -> CommandResult | None:
    """How the command with that pid ended, None while it runs, or while the agent of a frozen guest does not tell.

    It is told once, and then forgotten.
    """
    try:
        said = _object(agent, agent.ask("guest-exec-status", {"pid": pid}, limit=limit, budget=_ALL_OUTPUT))
    except GuestFrozenError:
        return None
    if said.get("exited") is not True:
        return None
    signal = _number(agent, said.get("signal", 0))
    return CommandResult(
        code=128 + signal if signal else _number(agent, said.get("exitcode", 0)) & 0xFF,
        out=_bytes(agent, said.get("out-data", "")),
        err=_bytes(agent, said.get("err-data", "")),
        cut=tuple(stream for stream in ("out", "err") if said.get(f"{stream}-truncated") is True),
    )


def open_file(agent: Agent, path: str, mode: str) -> int:
    """A handle on a file of the guest; `mode` is that of C's fopen."""
    return _number(agent, agent.ask("guest-file-open", {"path": path, "mode": mode}, limit=PATIENCE))


def close_file(agent: Agent, handle: int) -> None:
    """What was written is the guest's after this."""
    agent.ask("guest-file-close", {"handle": handle}, limit=PATIENCE)


def size_of(agent: Agent, handle: int) -> int:
    """The size of an open file, which is read from its start afterwards; 0 where it has none, as in /proc."""
    asked = {"handle": handle, "offset": 0}
    try:
        told = _object(agent, agent.ask("guest-file-seek", {**asked, "whence": "end"}, limit=PATIENCE))
    except AgentError:
        return 0
    agent.ask("guest-file-seek", {**asked, "whence": "set"}, limit=PATIENCE)
    return _number(agent, told.get("position"))


def read_file(agent: Agent, handle: int) -> bytes:
    """The next piece of a file, b"" at its end. Raises what `Agent.ask` raises."""
    said = _object(agent, agent.ask("guest-file-read", {"handle": handle, "count": CHUNK}, limit=PATIENCE))
    data = _bytes(agent, said.get("buf-b64", ""))
    if len(data) != _number(agent, said.get("count")) or len(data) > CHUNK:
        raise garbled(agent.name, "the piece of a file has another size than it says")
    return data


def write_file(agent: Agent, handle: int, data: bytes) -> None:
    """Add a piece to a file. Raises what `Agent.ask` raises."""
    while data:
        asked = {"handle": handle, "buf-b64": b64encode(data).decode()}
        taken = _number(agent, _object(agent, agent.ask("guest-file-write", asked, limit=PATIENCE)).get("count"))
        if not 0 < taken <= len(data):
            raise garbled(agent.name, f"it wrote {taken} of {len(data)} bytes")
        data = data[taken:]


def interfaces(agent: Agent, *, limit: float = LIMIT) -> tuple[AgentInterface, ...]:
    """The interfaces of the guest but its loopback, with what looks like addresses."""
    said = agent.ask("guest-network-get-interfaces", limit=limit)
    found = (_interface(one) for one in (said if isinstance(said, list) else [])[:_MOST])
    return tuple(one for one in found if one is not None and one.mac != "00:00:00:00:00:00")


def freeze(agent: Agent, *, limit: float) -> int:
    """Hold all writing to the guest's file systems; how many they are."""
    return _number(agent, agent.ask("guest-fsfreeze-freeze", limit=limit))


def thaw(agent: Agent, *, limit: float = PATIENCE) -> int:
    """Let writing go on; how many file systems were held."""
    return _number(agent, agent.ask("guest-fsfreeze-thaw", limit=limit))


def is_frozen(agent: Agent) -> bool:
    """Whether it holds the guest's file systems."""
    return bool(agent.ask("guest-fsfreeze-status") == "frozen")


def shut_down(agent: Agent) -> None:
    """Have the guest write again, if it was frozen, and power itself down; only a refusal is answered."""
    with suppress(AgentError):
        thaw(agent)
    with suppress(Unresponsive, NotRunning):
        agent.ask("guest-shutdown", {"mode": "powerdown"}, limit=_REFUSAL)


def _interface(said: object) -> AgentInterface | None:
    if not isinstance(said, dict):
        return None
    told = said.get("ip-addresses")
    addresses = [_address(one) for one in (told if isinstance(told, list) else [])[:_MOST]]
    return AgentInterface(
        name=printable(said.get("name"), 20),
        mac=printable(said.get("hardware-address") or "-", 20),
        addresses=tuple(one for one in addresses if one),
    )


def _address(said: object) -> str:
    """An address with its prefix length, "" for what does not look like one."""
    if not isinstance(said, dict):
        return ""
    text, prefix = said.get("ip-address"), said.get("prefix")
    if not isinstance(text, str) or not re.fullmatch(r"[0-9a-f.:]{2,45}", text):
        return ""
    return f"{text}/{prefix}" if type(prefix) is int and 0 <= prefix <= 128 else text


def _object(agent: Agent, said: object) -> dict[str, Any]:
    if isinstance(said, dict):
        return said
    raise garbled(agent.name, f"wanted an object, found {printable(said, 80)}")


def _number(agent: Agent, said: object) -> int:
    if type(said) is int and 0 <= said < 1 << 63:
        return said
    raise garbled(agent.name, f"wanted a number, found {printable(said, 80)}")


def _bytes(agent: Agent, said: object) -> bytes:
    try:
        if isinstance(said, str):
            return b64decode(said, validate=True)
    except ValueError:
        pass
    raise garbled(agent.name, "wanted bytes in base64")
