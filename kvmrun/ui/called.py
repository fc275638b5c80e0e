"""How this program was called: what fixes name is what works when it is pasted."""

import os
import sys

from kvmrun.light.abc import Iterable
from kvmrun.model.called import Caller, rendered

_SECURE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where sudo looks for commands on Debian and Ubuntu, whatever the PATH of its caller is."""
_NAME = "kvmrun"


def fix(text: str) -> str:
    """A fix as this user can paste it."""
    return rendered(text, _caller()) if _NAME in text or "sudo" in text else text


def _caller() -> Caller:
    program, by_root = _program()
    lab = _quoted(_lab())
    return Caller(
        root=os.geteuid() == 0,
        program=program,
        by_root=f"{by_root} {lab}".strip(),
        line=f"{by_root} {lab} {_quoted(sys.argv[1:])}".replace("  ", " ").strip(),
    )


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


def _lab() -> list[str]:
    """The option that makes root use the lab of this user, where it would look for another."""
    if any(word == "-C" or word.startswith(("-C", "--vms")) for word in sys.argv[1:]):
        return []
    given, own = os.environ.get("KVMRUN_VMS", ""), os.path.expanduser("~/.config/kvmrun/vms.d")
    if given:
        return ["-C", os.path.abspath(given)]
    return ["-C", own] if not os.path.isdir("vms.d") and os.path.isdir(own) else []


def _quoted(words: Iterable[str]) -> str:
    import shlex

    return shlex.join(words)
