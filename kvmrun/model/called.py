"""Fixes as the reader can paste them: with the program as it was called, and with sudo only for those who need it."""

import re

from kvmrun.errors import AS_ROOT
from kvmrun.model.frozen import Frozen

_COMMAND = re.compile(r"(?<![\w./~-])(sudo )?kvmrun(?= [-@A-Za-z0-9])")
_SUDO = re.compile(r"\bsudo (?=[a-z/])")


class Caller(Frozen):
    """How this program was called, quoted for a shell.

    `program` runs it again, `by_root` runs it under sudo with the same lab, `line` is the command line under sudo.
    """

    root: bool
    program: str = "kvmrun"
    by_root: str = "kvmrun"
    line: str = "kvmrun"


def rendered(fix: str, caller: Caller) -> str:
    """`fix` for that caller. In a fix, `kvmrun` in front of a word is the command, and never the product."""

    def named(found: "re.Match[str]") -> str:
        return f"sudo {caller.by_root}" if found[1] and not caller.root else caller.program

    parts = [_COMMAND.sub(named, part) for part in fix.split(AS_ROOT)]
    again = "give root the capabilities that it lacks here" if caller.root else f"run it as root: sudo {caller.line}"
    text = again.join(parts)
    return _SUDO.sub("", text) if caller.root else text
