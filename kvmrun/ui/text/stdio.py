"""Standard input, output and error as a command wants them, whatever the caller did to them."""

import os
import sys
from io import TextIOWrapper
from typing import Literal

from kvmrun.errors import KvmrunError


class _Output(TextIOWrapper):
    """Standard output: what it does not take is told like any other error; a reader who has left is none."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise _unwritten(error) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _unwritten(error) from None


class _Unheard(TextIOWrapper):
    """Standard error: that nobody can be told changes neither what is being done nor the exit code."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            return


def repair_stdio() -> None:
    """Call it before anything is opened. What the caller has closed is /dev/null from now on: else the next file or
    socket would get its number, and be written to as output. What an encoding has no words for is written as escapes.
    """
    if None in (sys.stdin, sys.stdout, sys.stderr):
        while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(fd, True)
        os.close(fd)
        sys.stdin, sys.stdout = sys.stdin or _opened(0, "r"), sys.stdout or _opened(1, "w")
        sys.stderr = sys.stderr or _opened(2, "w")
    sys.stdout = _again(sys.stdout, _Output)
    sys.stderr = _again(sys.stderr, _Unheard, lines=True)


def write(fd: int, data: bytes) -> None:
    """Write `data` as it is to standard output (1) or standard error (2), after what was said before.

    Raises: BrokenPipeError where the reader has gone; KvmrunError where it cannot be written.
    """
    (sys.stdout if fd == 1 else sys.stderr).flush()
    try:
        while data:
            data = data[os.write(fd, data) :]
    except OSError as error:
        if fd == 1:
            raise _unwritten(error) from None


def _opened(fd: int, mode: Literal["r", "w"]) -> TextIOWrapper:
    return open(fd, mode, encoding="utf-8", closefd=False)


def _again(stream: object, kind: type[TextIOWrapper], *, lines: bool = False) -> TextIOWrapper:
    """The same stream as another kind; with `lines`, or on a terminal, each is handed over when it is whole."""
    assert isinstance(stream, TextIOWrapper)
    encoding, lines = stream.encoding, lines or stream.line_buffering
    return kind(stream.detach(), encoding=encoding, errors="backslashreplace", line_buffering=lines)


def _unwritten(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return error
    return KvmrunError("could not write the output", reason=os.strerror(error.errno or 0))
