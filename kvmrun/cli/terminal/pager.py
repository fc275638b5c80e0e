"""A long text in the person's pager."""

import os
import shlex
import signal
import subprocess
from contextlib import suppress

from kvmrun.host.process import process


def show(text: str) -> bool:
    """Show the text in $PAGER, or in less where that is not set; False where no pager could be started."""
    try:
        words = shlex.split(os.environ.get("PAGER", "")) or [process.find_program("less")]
    except ValueError:  # a quote is not closed
        words = [process.find_program("less")]
    if not words[0]:
        return False
    before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the pager alone
    try:
        # -R: escape sequences for bold text reach the terminal; -F: end at once where all of it fits
        pager = subprocess.Popen(words, stdin=subprocess.PIPE, text=True, env={"LESS": "FRX", **os.environ})
        with suppress(BrokenPipeError):  # it was left before the end
            pager.communicate(text)
        return pager.wait() == 0
    except OSError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)
