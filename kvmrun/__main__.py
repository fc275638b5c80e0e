"""python -m kvmrun, and the installed command."""

import gc
import os
import sys

gc.disable()  # a command lives for milliseconds: collecting costs more than it frees

from kvmrun.cli.main import flushed, run  # noqa: E402 - both must come before the imports
from kvmrun.errors import INTERRUPTED  # noqa: E402
from kvmrun.ui.text import stdio  # noqa: E402

_NO_MEMORY = b"kvmrun: out of memory\n  fix: ulimit -v prints the limit\n"


def main() -> None:
    """Run one command and leave without unwinding the interpreter, which costs as much as the command itself."""
    try:
        code = _run()
    except MemoryError:  # not even enough for the usual words
        os.write(2, _NO_MEMORY)
        code = 1
    except KeyboardInterrupt as interrupt:  # while the last of the output is written
        code = interrupt.args[0] if interrupt.args else INTERRUPTED
    os._exit(code)


def _run() -> int:
    stdio.repair_stdio()
    try:
        code = run(sys.argv[1:])
    except SystemExit as explained:  # by argparse
        code = int(explained.code or 0)
    unwritten = flushed()
    return code or unwritten


if __name__ == "__main__":
    main()
