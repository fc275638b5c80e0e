"""A person at a terminal: a child on a real pseudo-terminal, keys typed, what it shows read back."""

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>78]")
# prompt_toolkit draws blanks by moving over them, often back to the margin first.
_BLANKS = re.compile(rb"(?:\x1b\[(\d+)D)?\x1b\[(\d*)C")
_PATIENCE = 20.0
COMMAND = "import sys\nfrom kvmrun.cli.main import run\ncode = run(sys.argv[1:])\nsys.stdout.flush()\nsys.exit(code)\n"


@dataclass
class Screen:
    """`text` is all that was shown so far without the escape sequences that place and colour it."""

    child: subprocess.Popen[bytes]
    terminal: int
    raw: bytes = field(default=b"")

    @property
    def text(self) -> str:
        return _ESCAPE.sub(b"", _BLANKS.sub(_blanks, self.raw)).decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def wait_for(self, wanted: str) -> str:
        """Reads until `wanted` is shown; returns what came up to it and forgets that."""
        deadline = time.monotonic() + _PATIENCE
        while wanted not in self.text:
            assert time.monotonic() < deadline, f"no {wanted!r} in {self.text!r}"
            assert self.read(), f"ended without {wanted!r}: {self.text!r}"
        before, _, after = self.text.partition(wanted)
        self.raw = after.encode()
        return before + wanted

    def attributes(self) -> str:
        """How the terminal is set, as stty tells it."""
        return subprocess.run(
            ["stty", "-a"], stdin=self.terminal, capture_output=True, text=True, check=True
        ).stdout  # fmt: skip

    def resize(self, lines: int, columns: int) -> None:
        """Makes the window another size, of which the child is told."""
        termios.tcsetwinsize(self.terminal, (lines, columns))

    def hang_up(self) -> None:
        """Takes the terminal away."""
        spare = os.open("/dev/null", os.O_RDONLY)
        os.dup2(spare, self.terminal)
        os.close(spare)

    def end(self) -> int:
        """Reads all that is left; the exit code."""
        deadline = time.monotonic() + _PATIENCE
        while self.read():
            assert time.monotonic() < deadline, self.text
        return self.child.wait(_PATIENCE)

    def read(self) -> bool:
        """Takes what is shown next, waiting half a second for it; False once the child has closed its side."""
        if not select.select([self.terminal], [], [], 0.5)[0]:
            return True
        try:
            data = os.read(self.terminal, 65536)
        except OSError:  # EIO: the child has closed its side
            return False
        self.raw += data
        return bool(data)


def _blanks(move: re.Match[bytes]) -> bytes:
    return b" " * (int(move[2] or 1) - int(move[1] or 0))


@contextmanager
def screen(script: str, *args: str, **environment: str) -> Iterator[Screen]:
    """A Python `script` on a terminal of 80 columns."""
    terminal, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 80))
    child = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", script, *args],  # so that Ctrl-C on it becomes SIGINT
        stdin=side,
        stdout=side,
        stderr=side,
        env={
            **os.environ,
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "COLUMNS": "80",
            "LINES": "24",
            **environment,
        },
    )
    os.close(side)
    try:
        yield Screen(child, terminal)
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        child.wait()
        os.close(terminal)


@contextmanager
def command(lab: Path, *words: str) -> Iterator[Screen]:
    """kvmrun on `lab`, on such a terminal, which is as it was once the command has ended."""
    with screen(COMMAND, "-C", str(lab), *words) as one:
        before = termios.tcgetattr(one.terminal)
        yield one
        one.child.wait(_PATIENCE)
        assert termios.tcgetattr(one.terminal) == before
