"""A signal at one moment of a command, counted in calls of its functions, in whatever thread they are made."""

import itertools
import os
import signal
import sys
import threading
from typing import Any

import kvmrun

_OURS = os.path.dirname(kvmrun.__file__)


def prepare(what: str, note: str, count: int) -> None:
    """Send ourselves a signal at call number `count`; the number of calls is written to the file `note` at the end.

    `what` is moment:SIGINT; with :2 it is sent twice, with :ignored it is ignored as in a job in the background.
    """
    _, name, *how = what.split(":")
    number = getattr(signal, name)
    if how == ["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    times = 2 if how == ["2"] else 1
    counter = itertools.count()

    def profile(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_OURS) and next(counter) == count:
            for _again in range(times):
                os.kill(os.getpid(), number)

    leave = os._exit

    def exit_noted(code: int) -> None:
        sys.setprofile(None)
        if note:
            with open(note, "w", encoding="ascii") as file:
                file.write(f"{next(counter)} {threading.active_count()}")
        leave(code)

    os._exit = exit_noted  # type: ignore[assignment]
    threading.setprofile(profile)
    sys.setprofile(profile)
