"""A file into a guest or out of it, in pieces, each a question to its agent."""

import os
import posixpath
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from kvmrun.errors import Busy, KvmrunError, Unresponsive
from kvmrun.model.deadline import Deadline
from kvmrun.monitor.agent import agent_commands
from kvmrun.monitor.agent.agent_client import Agent, AgentError, garbled

_UNSIZED = 64 << 20
"""How much is taken of a file that says no size, as those in /proc."""
_PAUSE = 0.02
_LONGEST_PAUSE = 0.4
_MOST_POLLS = 500

Line = Callable[[], Agent]
"""Gives the agent for one question."""
Moved = Callable[[int], None]
"""Is told how many bytes have come so far."""


def download(line: Line, path: str, into: int, moved: Moved) -> None:
    """Write the guest's file at `path` to the descriptor `into`.

    No more is taken than the size the file had at first, whatever the guest goes on to send.

    Raises: KvmrunError for a file without an end, or one that was cut short; what `Agent.ask` raises.
    """
    with _opened(line, path, "rb") as handle:
        size = agent_commands.size_of(line(), handle)
        done, most = 0, size or _UNSIZED
        while done < most and (data := agent_commands.read_file(line(), handle)):
            _write(into, data[: most - done])
            done = min(done + len(data), most)
            moved(done)
    if not size and done == most:
        raise KvmrunError(f"{path} has no end", reason=f"it says no size, and {_UNSIZED >> 20} MiB were read")
    if done < size:
        raise KvmrunError(f"{path} was cut short", "try again", reason=f"{done} of {size} bytes came")


def upload(line: Line, source: int, mode: int, path: str, moved: Moved) -> None:
    """Put what the descriptor `source` reads at `path` in the guest, which has it whole or not at all."""
    new = posixpath.join(posixpath.dirname(path), f".kvmrun-{os.urandom(6).hex()}")
    done = 0
    try:
        with _opened(line, new, "wb") as handle:
            while data := os.read(source, agent_commands.CHUNK):
                agent_commands.write_file(line(), handle, data)
                done += len(data)
                moved(done)
        _run(line, "chmod", f"{mode:o}", "--", new)
        _run(line, "mv", "-f", "-T", "--", new, path)
    except BaseException:
        with suppress(KvmrunError):  # the guest may be gone: then nobody can
            _run(line, "rm", "-f", "--", new)
        raise


@contextmanager
def _opened(line: Line, path: str, mode: str) -> Iterator[int]:
    """A handle on a file of the guest, which does not keep it open for us afterwards."""
    handle = agent_commands.open_file(line(), path, mode)
    try:
        yield handle
    except BaseException:
        with suppress(KvmrunError):  # the first error is the one to tell
            agent_commands.close_file(line(), handle)
        raise
    agent_commands.close_file(line(), handle)


def is_directory(line: Line, path: str) -> bool:
    """Whether there is a directory at `path` in the guest."""
    return _code(line, "test", "-d", path)[0] == 0


def is_there(line: Line, path: str) -> bool:
    """Whether there is anything at `path` in the guest, a link to nothing included."""
    return _code(line, "test", "-e", path)[0] == 0 or _code(line, "test", "-L", path)[0] == 0


@contextmanager
def workspace(line: Line, parent: str, last: Line) -> Iterator[str]:
    """A new directory in `parent` that only root of the guest may enter; by `last` it is removed in every case."""
    new = posixpath.join(parent, f".kvmrun-{os.urandom(6).hex()}")
    try:
        _run(line, "mkdir", "-m", "700", "--", new)
        yield new
    finally:
        with suppress(KvmrunError):  # the guest may be gone: then nobody can
            _run(last, "rm", "-rf", "--", new)


def pack(line: Line, path: str, into: str, deadline: Deadline, last: Line) -> None:
    """Have the guest put what is below its directory `path` into the new archive `into`, as names below "."."""
    _tar(line, ("-C", path, "-cf", into, "."), deadline, last)


def unpack(line: Line, archive: str, path: str, deadline: Deadline, last: Line) -> None:
    """Have the guest make the archive the directory `path`, which is not there yet; first in one beside the archive."""
    new = posixpath.join(posixpath.dirname(archive), "tree")
    _run(line, "mkdir", "-m", "700", "--", new)
    _tar(line, ("-C", new, "-xf", archive), deadline, last)
    _run(line, "mv", "-T", "--", new, path)


def _tar(line: Line, words: tuple[str, ...], deadline: Deadline, last: Line) -> None:
    """Run tar in the guest, for as long as it takes; it is ended where we do not wait for it."""
    try:
        pid = agent_commands.start_command(line(), ("tar", *words), None)
    except AgentError as no:
        if "No such file" in no.reason:
            raise _no_tar(no.reason) from None
        raise
    try:
        outcome = _outcome(line, pid, deadline)
    except BaseException:
        with suppress(KvmrunError):
            _run(last, "kill", str(pid))
        raise
    if outcome.code == 127:
        raise _no_tar("exit 127")
    _judge("tar", outcome.code, outcome.err.decode(errors="replace"))


def _no_tar(reason: str) -> KvmrunError:
    return KvmrunError("the guest has no tar, which cp -r needs", "install tar in the guest", reason=reason)


def _outcome(line: Line, pid: int, deadline: Deadline) -> agent_commands.CommandResult:
    """How it ended. Raises Unresponsive when the time is over; another command may hold the agent meanwhile."""
    pause = _PAUSE
    while not deadline.is_over():
        with suppress(Busy):
            if outcome := agent_commands.poll_exit(line(), pid):
                return outcome
        time.sleep(deadline.left(pause))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    raise Unresponsive("tar in the guest has not ended in time", "--timeout gives it more time")


def _run(line: Line, *words: str) -> None:
    code, said = _code(line, *words)
    _judge(words[0], code, said)


def _judge(word: str, code: int, said: str) -> None:
    if code:
        raise KvmrunError(f"{word} in the guest failed", reason=f"exit {code}", lines=tuple(said.splitlines()[:5]))


def _code(line: Line, *words: str) -> tuple[int, str]:
    """How a short command in the guest ended, and what it complained of."""
    agent = line()
    pid = agent_commands.start_command(agent, words, None)
    for _ in range(_MOST_POLLS):
        if outcome := agent_commands.poll_exit(line(), pid):
            return outcome.code, outcome.err.decode(errors="replace")
        time.sleep(_PAUSE)
    raise garbled(agent.name, f"{words[0]} does not end")


def _write(into: int, data: bytes) -> None:
    while data:
        data = data[os.write(into, data) :]
