"""How this program was called: what fixes name is what works when it is pasted, and means the same lab."""

import os
import sys
from collections.abc import Iterable

_SECURE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where sudo looks for commands on Debian and Ubuntu, whatever the PATH of its caller is."""
_NAME = "kvmrun"
_typed: list[str] = []
"""The lab that the command line names: none or one. It is known once the words are parsed."""


def note_lab(directory: str | None) -> None:
    """Remember the value of -C, for the fixes of this command; None where it was not given."""
    _typed[:] = [directory] if directory else []


def fix(text: str, lab: str | None = None) -> str:
    """A fix, or any text with commands, as this user can paste it; `lab` is the lab that it is about, if another."""
    if _NAME not in text and "sudo" not in text:
        return text
    from kvmrun.model.program_name import (
        Caller,
        rendered,  # brings `re`
    )

    program, by_root = _program()
    own = lab if lab is not None else _typed[0] if _typed else os.environ.get("KVMRUN_VMS", "")
    caller = Caller(
        root=os.geteuid() == 0,
        program=program,
        by_root=by_root,
        lab=_option(own),
        root_lab=_option(own or _home()),
        words=_quoted(sys.argv[1:]),
        names_lab=bool(_typed),
    )
    return rendered(text, caller)


def _option(lab: str) -> str:
    return f"-C {_quoted([f'./{lab}' if lab.startswith('-') else lab])}" if lab else ""


def _program() -> tuple[str, str]:
    """The program as this user calls it, and as sudo finds it."""
    called = sys.argv[0]
    if os.path.basename(called) == "__main__.py":
        return _quoted([sys.orig_argv[0], "-m", _NAME]), _quoted([sys.executable, "-m", _NAME])
    if os.path.basename(called) != _NAME or not os.path.isfile(called):
        return _NAME, _NAME
    typed = _NAME if _is_found(called, os.environ.get("PATH", "")) else _quoted([called])
    return typed, _NAME if _is_found(called, _SECURE_PATH) else _quoted([os.path.abspath(called)])


def _is_found(program: str, path: str) -> bool:
    """Whether a shell with this PATH runs that program by its name alone."""
    places = (f"{directory}/{_NAME}" for directory in path.split(":") if directory)
    found = next((place for place in places if os.access(place, os.X_OK)), "")
    return bool(found) and os.path.realpath(found) == os.path.realpath(program)


def _home() -> str:
    """The lab below this user's home where it is used: root looks elsewhere. "" where it is not."""
    from kvmrun.config import standard_paths

    usual = standard_paths.usual(os.environ, root=os.geteuid() == 0)
    return usual if os.path.isabs(usual) and usual != standard_paths.usual(os.environ, root=True) else ""


def _quoted(words: Iterable[str]) -> str:
    import shlex

    return shlex.join(words)
