"""A file into a guest or out of it, in pieces, each a question to its agent."""

import os
import posixpath
import time

from kvmrun.errors import KvmrunError
from kvmrun.light.abc import Callable, Iterator
from kvmrun.light.contextlib import contextmanager, suppress
from kvmrun.monitor import inside
from kvmrun.monitor.agent import Agent, garbled

_UNSIZED = 64 << 20
"""How much is taken of a file that says no size, as those in /proc."""
_PAUSE = 0.02
_MOST_POLLS = 500

Line = Callable[[], Agent]
"""Gives the agent for one question."""
Moved = Callable[[int], None]
"""Is told how many bytes have come so far."""


def fetch(line: Line, path: str, into: int, moved: Moved) -> None:
    """Write the guest's file at `path` to the descriptor `into`.

    No more is taken than the size the file had at first, whatever the guest goes on to send.
    """
    with _opened(line, path, "rb") as handle:
        size = inside.size_of(line(), handle)
        done, most = 0, size or _UNSIZED
        while done < most and (data := inside.read_file(line(), handle)):
            _write(into, data[: most - done])
            done = min(done + len(data), most)
            moved(done)
    if not size and done == most:
        raise KvmrunError(f"{path} has no end", why=f"it says no size, and {_UNSIZED >> 20} MiB were read")
    if done < size:
        raise KvmrunError(f"{path} was cut short", "try again", why=f"{done} of {size} bytes came")


def send(line: Line, source: int, mode: int, path: str, moved: Moved) -> None:
    """Put what the descriptor `source` reads at `path` in the guest, which has it whole or not at all."""
    new = posixpath.join(posixpath.dirname(path), f".kvmrun-{os.urandom(6).hex()}")
    done = 0
    try:
        with _opened(line, new, "wb") as handle:
            while data := os.read(source, inside.CHUNK):
                inside.write_file(line(), handle, data)
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
    handle = inside.open_file(line(), path, mode)
    try:
        yield handle
    except BaseException:
        with suppress(KvmrunError):  # the first error is the one to tell
            inside.close_file(line(), handle)
        raise
    inside.close_file(line(), handle)


def is_directory(line: Line, path: str) -> bool:
    """Whether there is a directory at `path` in the guest."""
    return _code(line, "test", "-d", path)[0] == 0


def _run(line: Line, *words: str) -> None:
    code, said = _code(line, *words)
    if code:
        raise KvmrunError(f"{words[0]} in the guest failed", why=f"exit {code}", lines=tuple(said.splitlines()[:5]))


def _code(line: Line, *words: str) -> tuple[int, str]:
    """How a short command in the guest ended, and what it complained of."""
    agent = line()
    pid = inside.begin(agent, words, None)
    for _ in range(_MOST_POLLS):
        if outcome := inside.ended(line(), pid):
            return outcome.code, outcome.err.decode(errors="replace")
        time.sleep(_PAUSE)
    raise garbled(agent.name, f"{words[0]} does not end")


def _write(into: int, data: bytes) -> None:
    while data:
        data = data[os.write(into, data) :]
