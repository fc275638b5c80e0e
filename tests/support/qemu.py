"""A real QEMU without a machine: a monitor to talk to within 50 ms."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

QEMU = shutil.which("qemu-system-x86_64")
needs_qemu = pytest.mark.skipif(QEMU is None, reason="no qemu-system-x86_64")


@contextmanager
def qemu(path: str, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Its people's monitor listens at `path` when the block is entered; it is gone when the block is left."""
    child = subprocess.Popen([
        QEMU or "", "-M", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S", "-accel", "tcg",
        "-chardev", f"socket,id=p,path={path},server=on,wait=off", "-qmp", "chardev:p", *more,
    ])  # fmt: skip
    try:
        _await_listener(child, path)
        yield child
    finally:
        child.kill()
        child.wait()


def _await_listener(child: subprocess.Popen[bytes], path: str) -> None:
    """Listening, seen without connecting: a connection would take the monitor's only seat."""
    deadline = time.monotonic() + 60
    while not _listens(path):
        assert child.poll() is None, "QEMU did not start"
        assert time.monotonic() < deadline, "QEMU does not listen"
        time.sleep(0.005)


def _listens(path: str) -> bool:
    with open("/proc/net/unix") as table:  # a socket is there from its bind(); its flags tell when it listens
        return any(line.rstrip().endswith(path) and " 00010000 " in line for line in table)
