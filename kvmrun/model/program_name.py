"""Fixes as the reader can paste them: the program as it was called, the same lab, and sudo only where it is needed."""

import re

from kvmrun.errors import AS_ROOT
from kvmrun.model.value import Value

_COMMAND = re.compile(r"(?<![\w./~-])(sudo )?kvmrun(?: (-C)(?= )|(?= [-@A-Za-z0-9]))")
_SUDO = re.compile(r"\bsudo (?=[a-z/])")


class Caller(Value):
    """How this program was called, quoted for a shell.

    `program` runs it again and `by_root` is what sudo finds it by. `lab` and `root_lab` are the options that make each
    of the two use the same lab, "" where it is used without one. `words` are the arguments as typed, and `names_lab`
    says whether they name the lab.
    """

    root: bool
    program: str = "kvmrun"
    by_root: str = "kvmrun"
    lab: str = ""
    root_lab: str = ""
    words: str = ""
    names_lab: bool = False


def rendered(fix: str, caller: Caller) -> str:
    """`fix` for that caller. In a fix, `kvmrun` in front of a word is the command, and never the product.

    A command that names its lab keeps it: it is about the objects of another one.
    """

    def named(found: "re.Match[str]") -> str:
        by_sudo = found[1] and not caller.root
        program = f"sudo {caller.by_root}" if by_sudo else caller.program
        if found[2]:
            return f"{program} -C"
        rest = found.string[found.end() + 1 :]
        is_same = caller.names_lab and caller.words and rest.startswith(caller.words)
        return _joined(program, "" if is_same else caller.root_lab if by_sudo else caller.lab)

    parts = [_COMMAND.sub(named, part) for part in fix.split(AS_ROOT)]
    again = "give root the capabilities that it lacks here"
    if not caller.root:
        lab = "" if caller.names_lab else caller.root_lab
        again = f"run it as root: sudo {_joined(caller.by_root, lab, caller.words)}"
    text = again.join(parts)
    return _SUDO.sub("", text) if caller.root else text


def _joined(*words: str) -> str:
    return " ".join(filter(None, words))
