"""What a program in a guest printed, on standard output or standard error of this command."""

import os

from kvmrun.monitor.console.terminal_filter import TerminalFilter
from kvmrun.ui.text import stdio


def write_guest_output(fd: int, data: bytes) -> None:
    """Write it as it is into a pipe or a file, and made harmless on a terminal."""
    if os.isatty(fd):
        filtering = TerminalFilter()
        data = filtering.feed(data) + filtering.leave() if data else b""
    stdio.write(fd, data)
