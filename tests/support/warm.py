"""The command without the cost of its beginning: a process with everything loaded forks for each call.

A fault suite calls it ten thousand times. What is called is the same function with the same words; only the imports
are done. As a program this is that process: a line of JSON for a call, a line for its end.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from support.cli import Cli, Result

TRACED = "/traced"
"""What strace says is there, so that a call begins once it is watched."""


class Warm(Cli):
    """Calls the command as `Cli` does, in the directory of definitions that `words` name."""

    def __init__(self, words: list[str], server: subprocess.Popen[str], limit: float = 60.0) -> None:
        super().__init__(words, limit)
        self._server = server

    def __call__(self, *words: str, **environ: str) -> Result:
        return self.call(*words, environ=environ)

    def call(
        self, *words: str, environ: dict[str, str] | None = None, harm: Sequence[str] = (), tracer: Sequence[str] = ()
    ) -> Result:
        """The same, harmed at one of its steps, or watched by strace with the words `tracer`."""
        job = {"words": [*self.words, *words], "environ": environ or {}, "harm": harm, "tracer": tracer}
        told, heard = self._server.stdin, self._server.stdout
        assert told
        assert heard
        told.write(json.dumps(job) + "\n")
        told.flush()
        ended = Result(**json.loads(heard.readline()))
        return Result(ended.code, self.plain(ended.out), self.plain(ended.err))


@contextmanager
def warmed(words: list[str]) -> Iterator[Warm]:
    """The command, called by a process that is there inside the block, in the namespaces of now."""
    environ = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__)), "PYTHONHASHSEED": "0"}
    program = [sys.executable, "-m", "support.warm"]
    child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
    with child:
        try:
            yield Warm(words, child)
        finally:
            child.kill()


def serve(jobs: IO[str], ends: IO[str]) -> None:
    for line in jobs:
        job = json.loads(line)
        out, err = os.memfd_create("out"), os.memfd_create("err")
        if (pid := os.fork()) == 0:
            child(job, out, err)
        tracer = subprocess.Popen([*job["tracer"], "-p", f"{pid}"]) if job["tracer"] else None
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if tracer:
            tracer.wait()
        said = [os.pread(fd, 1 << 20, 0).decode(errors="replace") for fd in (out, err)]
        ends.write(json.dumps({"code": code, "out": said[0], "err": said[1]}) + "\n")
        ends.flush()
        os.close(out)
        os.close(err)


def child(job: dict[str, Any], out: int, err: int) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.closerange(3, 64)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background is born deaf to it
    os.environ.update(job["environ"])
    sys.argv = ["kvmrun", *job["words"]]
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    if job["harm"]:
        from support import harm

        harm.prepare(*job["harm"])
    while job["tracer"] and not os.access(TRACED, os.F_OK):
        pass
    main()


if __name__ == "__main__":
    import gc
    import importlib
    import pkgutil

    import kvmrun
    from kvmrun.__main__ import main

    for found in pkgutil.walk_packages(kvmrun.__path__, "kvmrun."):
        if found.name != "kvmrun.__main__":
            with suppress(ImportError):
                importlib.import_module(found.name)
    gc.freeze()
    serve(sys.stdin, sys.stdout)
