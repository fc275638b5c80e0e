"""Many commands at the same instant: forked from this process, which has loaded them already, and let go together.

Each is a whole command in a process of its own; only the interpreter's start is spared, so that hundreds are cheap and
meet each other closer than a shell could make them.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kvmrun.cli import commands, main

LIMIT = 120
"""A command that takes longer is ended, in seconds."""
for _name in commands.names():
    commands.load(_name)


@dataclass(frozen=True)
class Ended:
    """How one command ended: exit code (minus the signal that ended it), what it said, and how long it took."""

    words: tuple[str, ...]
    code: int
    text: str
    seconds: float


@dataclass(frozen=True)
class Begun:
    """A command that was forked and waits for its gate, or runs."""

    words: tuple[str, ...]
    pid: int
    said: int

    def end(self) -> Ended:
        """Wait for it."""
        status = os.waitpid(self.pid, 0)[1]
        text = os.pread(self.said, 1 << 20, 0).decode(errors="replace")
        os.close(self.said)
        text, _, seconds = text.rpartition("\0")
        return Ended(self.words, os.waitstatus_to_exitcode(status), text, float(seconds or "nan"))


def begin(lab: Path, words: Sequence[str], gate: int = -1) -> Begun:
    """Fork a command; with a `gate` it begins once that pipe's other end is closed."""
    said = os.memfd_create("said")
    if pid := os.fork():
        return Begun(tuple(words), pid, said)
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        for fd, at in ((os.open("/dev/null", os.O_RDONLY), 0), (said, 1), (said, 2)):
            os.dup2(fd, at)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        if gate >= 0:
            os.read(gate, 1)
        signal.alarm(LIMIT)
        began = time.monotonic()
        code = main.run(["-C", str(lab), *words])
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(1, f"\0{time.monotonic() - began}".encode())
        os._exit(code)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\0nan".encode())
        os._exit(99)


def together(lab: Path, commands: Sequence[Sequence[str]]) -> list[Ended]:
    """Run all these at once; how they ended, in their order."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    begun = []
    for words in commands:
        begun.append(begin(lab, words, reader))
    os.close(reader)
    # the children have the writing end, too: they are let go by a byte each
    os.write(writer, b"x" * len(begun))
    os.close(writer)
    return [one.end() for one in begun]


def run(lab: Path, *words: str) -> Ended:
    """One of them by itself."""
    return begin(lab, words).end()
