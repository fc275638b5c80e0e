"""Running the command as a user does: a process of its own, its output, its exit code."""

import json
import os
import subprocess
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """How one command ended and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """Calls the command with more words; a call that takes longer than `limit` seconds fails the test."""

    def __init__(self, words: list[str], limit: float = 60.0) -> None:
        self.words = words
        self.limit = limit

    def __call__(self, *words: str, **environ: str) -> Result:
        done = subprocess.run(
            [*self.words, *words],
            capture_output=True,
            text=True,
            timeout=self.limit,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environ},
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str, **environ: str) -> Result:
        """The same, for a command that must succeed."""
        result = self(*words, **environ)
        assert result.code == 0, f"{words}: exit {result.code}\n{result.out}{result.err}"
        return result

    def rows(self) -> dict[str, Any]:
        """The list as JSON, by name."""
        return {guest["name"]: guest for guest in self.ok("list", "-o", "json").json()["guests"]}
