"""The person's editor, on a file of their own."""

import os
import shlex
import shutil
import signal
import subprocess

from kvmrun.errors import HostLacks, KvmrunError
from kvmrun.model.printable import printable

_PATIENCE = 2.0
_USUAL = ("sensible-editor", "editor", "nano", "vi")


def edit(path: str) -> None:
    """Let the person edit the file, in $VISUAL, $EDITOR or what the host has. Raises KvmrunError when that fails."""
    asked = os.environ.get("VISUAL") or os.environ.get("EDITOR") or ""
    try:
        words = shlex.split(asked) or _found()
    except ValueError:
        raise HostLacks(
            f"no command: {printable(asked)}", "set VISUAL or EDITOR", reason="a quote is not closed"
        ) from None
    before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the editor alone
    try:
        status = _ended(subprocess.Popen([*words, path]))
    except OSError as error:
        raise HostLacks(
            f"cannot start {words[0]}", "set VISUAL or EDITOR", reason=os.strerror(error.errno or 0)
        ) from None
    finally:
        signal.signal(signal.SIGINT, before)
    if status:
        raise KvmrunError(f"{words[0]} failed, and nothing was saved", "try again", reason=f"its exit code is {status}")


def _ended(child: subprocess.Popen[bytes]) -> int:
    """Its exit code; it ends with us, when we are told to."""
    try:
        return child.wait()
    except BaseException:
        child.terminate()
        try:
            child.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise


def _found() -> list[str]:
    if name := next(filter(shutil.which, _USUAL), None):
        return [name]
    raise HostLacks("no editor is installed", "set VISUAL or EDITOR, or apt install nano")
