"""A real QEMU without a machine, whose monitor can be talked to within 50 ms, and a qemu-io that holds an image."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.world import until

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


@contextmanager
def held_by_another(image: Path) -> Iterator[None]:
    """While the block lasts, a qemu-io has the qcow2 image of 1 MiB open for writing, with its lock."""
    words = ["qemu-io", "-f", "qcow2", str(image)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin
        assert other.stdout
        other.stdin.write(b"length\n")
        other.stdin.flush()
        until(lambda: b"1 MiB" in other.stdout.readline())  # type: ignore[union-attr]
        yield
        other.stdin.close()
