"""A mishap at one of the steps of a command, in the process that will carry it out.

A step is every step of a plan, and every part of a command that is in no plan: locks, the handshake, records, the ways
to end a guest.
"""

import errno
import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from support import moments

from kvmrun.api import selection
from kvmrun.api.guest import kill, start_verify, stop
from kvmrun.host.execute import undo
from kvmrun.host.firewall import nft, port_guard
from kvmrun.host.process import process
from kvmrun.host.rundir import rundir

PARTS: tuple[tuple[Any, str], ...] = (
    (rundir, "_hold"),
    (rundir, "_leave"),
    (rundir, "write_record"),
    (rundir, "remove_leftovers"),
    (start_verify.startup_check, "verify_started"),
    (start_verify.startup_check, "resume"),
    (nft.RulesetLoad, "finish"),
    (port_guard, "remove_guard"),
    *((module, "select_guests") for module in (kill, selection, stop)),
    (stop._Shutdown, "_press"),
    (stop._Shutdown, "by_quit"),
    (stop._Shutdown, "by_kill"),
    (process, "_open_holder"),
    (process, "kill"),
)

_DECADE = 10 * 365.25 * 86400


class Turn:
    """What will happen, before or after which step, and whether we are within a step."""

    what = when = ""
    left = 0
    inside = False


def prepare(what: str, when: str, count: str) -> None:
    """Have `what` happen `when` ("before", "after") step `count`.

    `what` is KILL:launcher, KILL:qemu, KILL:dnsmasq, a signal, an error's name, `unread` for a reader of the output who
    leaves, `full` for a disk that is full; or `steps` to write the name of each step to the file `when`. With `clock`
    nothing happens to a step, but the clock on the wall jumps by ten years, forth and back, whenever it is read.
    """
    if what == "clock":
        time.time = jumping(time.time, itertools.cycle((_DECADE, -_DECADE)))
        return
    if what.startswith("moment:"):
        moments.prepare(what, when, int(count))
        return
    Turn.what, Turn.when, Turn.left = what, when, int(count)
    undo._done = around("apply", undo._done)
    for place, part in PARTS:
        setattr(place, part, around(part, getattr(place, part)))


def around(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
    """`do` with the mishap before or after it, when its turn has come; what it calls itself is part of it."""

    def step(*words: Any, **more: Any) -> Any:
        if Turn.inside:
            return do(*words, **more)
        Turn.left -= 1
        mine = Turn.left == -1
        note(f"{name} {words[-1] if name == 'apply' else ''}")
        if mine and Turn.when == "before":
            harm()
        Turn.inside = name != "apply"
        try:
            result = do(*words, **more)
        finally:
            Turn.inside = False
        if mine and Turn.when == "after":
            harm()
        return result

    return step


def jumping(clock: Callable[[], float], jumps: Iterator[float]) -> Callable[[], float]:
    return lambda: clock() + next(jumps)


def note(name: str) -> None:
    if Turn.what == "steps":
        with open(Turn.when, "a", encoding="utf-8") as file:
            file.write(f"{name.strip()}\n")


def harm() -> None:
    kind, _, victim = Turn.what.partition(":")
    if kind == "KILL":
        if pid := {"launcher": os.getpid, "qemu": qemu, "dnsmasq": dnsmasq}[victim]():
            os.kill(pid, signal.SIGKILL)
    elif kind.startswith("SIG"):
        signal.raise_signal(getattr(signal, kind))
    elif kind == "unread":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
    elif kind == "full":
        fill(os.path.dirname(os.environ["KVMRUN_RUN_DIR"]))
    else:
        raise OSError(getattr(errno, kind), "mishap")


def fill(directory: str) -> None:
    """Leave no room in the file system of `directory`, neither for a byte nor for a name."""
    with suppress(OSError), open(f"{directory}/fill", "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    os.makedirs(f"{directory}/fills", exist_ok=True)
    with suppress(OSError):
        for number in range(100_000):
            os.close(os.open(f"{directory}/fills/{number}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))


def empty(directory: str) -> None:
    """Take that back."""
    with suppress(FileNotFoundError):
        os.unlink(f"{directory}/fill")
    shutil.rmtree(f"{directory}/fills", ignore_errors=True)


def qemu() -> int:
    return process.holder(f"{os.environ['KVMRUN_RUN_DIR']}/vm/vm1/life")


def dnsmasq() -> int:
    try:
        with open(f"{os.environ['KVMRUN_RUN_DIR']}/net/lan/dnsmasq", encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return 0
