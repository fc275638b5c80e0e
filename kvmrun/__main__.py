"""python -m kvmrun, and the installed command."""

import gc
import os
import sys

from kvmrun.light import imports

gc.disable()  # a command lives for milliseconds: collecting costs more than it frees
imports.begin()

from kvmrun.cli import run, unsaid  # noqa: E402 - both must come before the imports


def main() -> None:
    """Run one command and leave without unwinding the interpreter, which costs as much as the command itself."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as why:
        code = code or unsaid(why)
    os._exit(code)


if __name__ == "__main__":
    main()
