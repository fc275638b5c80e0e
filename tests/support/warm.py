"""The command without the cost of its beginning: a process with everything loaded forks for each call.

What is called is `kvmrun.__main__.main` with the same words, environment, directory, limits and namespaces as a program
that the caller would start; only the interpreter's start and the imports are done. Each worker of the tests has one
such process, which ends with it.
"""

import array
import atexit
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

TRACED = "/traced"
"""What strace says is there, so that a call begins once it is watched."""
MODULE = [sys.executable, "-m", "kvmrun"]
"""The words that start the program itself."""
_NAMESPACES = ("mnt", "net")
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
_FOR_THE_INTERPRETER = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_")
_starting = threading.Lock()
_server: list[tuple[socket.socket, dict[str, str]]] = []


def serves(words: Sequence[str], environ: dict[str, str]) -> bool:
    """Whether a forked call of `words` is as one of a program: the interpreter's own settings hold from its start."""
    return [*words[:3]] == MODULE and os.geteuid() == os.getuid() and _settings(environ) == _service()[1]


def call(
    words: Sequence[str],
    environ: dict[str, str],
    *,
    limit: float,
    harm: Sequence[str] = (),
    tracer: Sequence[str] = (),
) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a call, harmed at a step or watched by strace with `tracer`."""
    mask = os.umask(0)
    os.umask(mask)
    caller = threading.get_native_id()
    job = {
        "words": [*words], "environ": environ, "harm": [*harm], "traced": bool(tracer), "umask": mask,
        "directory": os.getcwd(), "limits": [resource.getrlimit(one) for one in _LIMITS],
        "namespaces": [f"/proc/{caller}/ns/{name}" for name in _NAMESPACES],
    }  # fmt: skip
    pipes = [os.pipe() for _ in range(3)]
    readers, writers = [[pair[end] for pair in pipes] for end in (0, 1)]
    try:
        fds = array.array("i", writers)
        _service()[0].sendmsg([json.dumps(job).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    finally:
        for fd in writers:
            os.close(fd)
    return _heard(readers, limit, tracer, words)


def _heard(readers: list[int], limit: float, tracer: Sequence[str], words: Sequence[str]) -> tuple[int, str, str]:
    """What comes from the pipes of a call until each is closed; the first line of the third is the pid."""
    said, deadline = dict.fromkeys(readers, b""), time.monotonic() + limit
    watching: subprocess.Popen[bytes] | None = None
    with selectors.DefaultSelector() as selector:
        for fd in readers:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready:
                found = _ended_by_force(said[readers[2]].partition(b"\n")[0].decode())
                for fd in selector.get_map():
                    os.close(fd)
                raise subprocess.TimeoutExpired([*words, *found], limit, *(said[fd] for fd in readers[:2]))
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                said[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                elif tracer and not watching and key.fd == readers[2]:
                    watching = subprocess.Popen([*tracer, "-p", data.split(b"\n")[0]])
    if watching:
        watching.wait()
    out, err, ended = (said[fd].decode() for fd in readers)
    return int(ended.split("\n")[1]), out, err


def _ended_by_force(pid: str) -> list[str]:
    """Kill a call that takes too long; what it and its children were at, for the message."""
    found = []
    with suppress(OSError, ValueError):
        family = [pid, *Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
        for one in family:
            state = [Path(f"/proc/{one}/{name}").read_text(encoding="ascii") for name in ("wchan", "syscall")]
            found.append(f"[{os.readlink(f'/proc/{one}/exe')}: {' '.join(state).strip()}]")
    with suppress(ProcessLookupError, ValueError):
        os.kill(int(pid), signal.SIGKILL)
    return found


def _settings(environ: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_FOR_THE_INTERPRETER)}


def _service() -> tuple[socket.socket, dict[str, str]]:
    """The end of the process that forks, started by the first who asks, and the settings of its interpreter."""
    with _starting:
        if not _server:
            mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            path = os.path.dirname(os.path.dirname(__file__))
            child = subprocess.Popen(
                [sys.executable, "-m", "support.warm"],
                stdin=its,
                cwd="/",
                env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            )
            its.close()
            _server.append((mine, _settings(dict(os.environ))))
            atexit.register(_end, mine, child)
    return _server[0]


def _end(mine: socket.socket, child: subprocess.Popen[bytes]) -> None:
    mine.close()
    child.kill()
    child.wait()


class _Forks:
    """The process that forks: takes calls from a socket, and tells each caller how its call ended."""

    def __init__(self, jobs: socket.socket, main: Callable[[], None]) -> None:
        self._jobs, self._main = jobs, main
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        self._selector.register(self._jobs, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._jobs:
                    self._ended(key.fd, *key.data)
                elif not self._begin():
                    return

    def _begin(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._jobs, 1 << 20, 3)
        if not data:
            return False
        if (pid := os.fork()) == 0:
            _become(json.loads(data), *fds[:2])
            self._main()
        out, err, told = fds
        os.close(out)
        os.close(err)
        os.write(told, f"{pid}\n".encode())
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))
        return True

    def _ended(self, pidfd: int, pid: int, told: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        with suppress(BrokenPipeError):
            os.write(told, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}".encode())
        os.close(told)


def _become(job: dict[str, Any], out: int, err: int) -> None:
    """Be what a program started by the caller would be."""
    spaces = [os.open(path, os.O_RDONLY) for path in job["namespaces"]]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for fd, name in zip(spaces, _NAMESPACES, strict=True):
        if os.fstat(fd).st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
            assert _libc.setns(fd, 0) == 0, name
    os.closerange(3, 256)
    os.umask(job["umask"])
    for limit, values in zip(_LIMITS, job["limits"], strict=True):
        resource.setrlimit(limit, values)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is born deaf to it
    os.environ.clear()
    os.environ.update(job["environ"])
    os.chdir(job["directory"])
    sys.orig_argv = job["words"]
    sys.argv = [_PROGRAM, *job["words"][3:]]
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    if job["harm"]:
        from support import harm

        harm.prepare(*job["harm"])
    while job["traced"] and not os.access(TRACED, os.F_OK):
        pass


def _load() -> None:
    """Everything that a command may import, also what is imported where it is used."""
    import importlib
    import pkgutil

    for found in pkgutil.walk_packages(kvmrun.__path__, "kvmrun."):
        with suppress(ImportError):
            importlib.import_module(found.name)


if __name__ == "__main__":
    import ctypes
    import gc

    import kvmrun
    from kvmrun import __main__ as program

    _libc, _PROGRAM = ctypes.CDLL(None), program.__file__
    _load()
    gc.freeze()
    _Forks(socket.socket(fileno=0), program.main).serve()
