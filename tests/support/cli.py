"""Running the command as a user does: a process of its own, its output, its exit code.

The process is forked from one that has kvmrun loaded, where it is this interpreter's `-m kvmrun`: see `warm`."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support import warm

Run = Callable[..., "Result"]
"""A call of the command within this process."""


@dataclass(frozen=True)
class Result:
    """How one command ended and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def fixes(self) -> list[str]:
        """The commands and edits that its errors propose."""
        return re.findall(r"(?m)^  fix: (.*)$", self.err)


class Cli:
    """Calls the command with more words; a call that takes longer than `limit` seconds fails the test."""

    def __init__(self, words: list[str], limit: float = 60.0) -> None:
        self.words = words
        self.limit = limit

    def __call__(self, *words: str, **environ: str) -> Result:
        if warm.serves(self.words, {**os.environ, **environ}):
            return self.call(*words, environ=environ)
        done = subprocess.run(
            [*self.words, *words],
            capture_output=True,
            text=True,
            timeout=self.limit,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environ},
        )
        return Result(done.returncode, self.plain(done.stdout), self.plain(done.stderr))

    def call(
        self, *words: str, environ: dict[str, str] | None = None, harm: Sequence[str] = (), tracer: Sequence[str] = ()
    ) -> Result:
        """A call without the interpreter's start, harmed at one of its steps, or watched by strace with `tracer`."""
        whole = {**os.environ, **(environ or {})}
        code, out, err = warm.call([*self.words, *words], whole, limit=self.limit, harm=harm, tracer=tracer)
        return Result(code, self.plain(out), self.plain(err))

    def plain(self, text: str) -> str:
        """`text`, where a command on this lab begins with `kvmrun` alone, as fixes name it to who calls it so."""
        if not (words := shlex.join(self.words)):
            return text
        return text.replace(f"{words} ", "kvmrun ").replace(f"kvmrun {words} ", "kvmrun ")

    def typed(self, *words: str, text: str) -> Result:
        """The same, with `text` on its standard input."""
        done = subprocess.run(
            [*self.words, *words], input=text, capture_output=True, text=True, timeout=self.limit, check=False
        )
        return Result(done.returncode, self.plain(done.stdout), self.plain(done.stderr))

    def ok(self, *words: str, **environ: str) -> Result:
        """The same, for a command that must succeed."""
        result = self(*words, **environ)
        assert result.code == 0, f"{words}: exit {result.code}\n{result.out}{result.err}"
        return result

    @contextmanager
    def begun(self, *words: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
        """The same, still running inside the block; killed at its end if it has not ended by itself."""
        child = subprocess.Popen(
            [*self.words, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environ},
        )
        with child:
            try:
                yield child
            finally:
                child.kill()

    def rows(self) -> dict[str, Any]:
        """The list as JSON, by name."""
        return {guest["name"]: guest for guest in self.ok("list", "-o", "json").json()["guests"]}

    def network(self, name: str = "lan") -> dict[str, Any]:
        """One network as `net status` tells it."""
        networks = self.ok("net", "status", "-o", "json").json()["networks"]
        return next(dict(one) for one in networks if one["name"] == name)

    def pid(self, name: str) -> int:
        """The pid of a running guest's QEMU, as the list tells it."""
        return int(self.rows()[name]["pid"])


def has_line(text: str, *facts: str) -> bool:
    """Whether a line of `text` has all these names, addresses or options, whatever the sentence around them is."""
    return any(all(fact in line for fact in facts) for line in text.splitlines())
