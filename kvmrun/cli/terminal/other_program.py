"""Becoming another program, such as ssh or a viewer, whose exit code is then ours."""

import os
import signal
import sys
from collections.abc import Mapping
from typing import NoReturn


def become(words: list[str], environment: Mapping[str, str] = os.environ) -> NoReturn:
    """Replace this process by the program of `words`, an absolute path first."""
    sys.stdout.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # what this language ignores, its children would ignore too
        signal.signal(number, signal.SIG_DFL)
    os.execve(words[0], words, environment)  # noqa: S606 - a list of words, no shell is wanted
