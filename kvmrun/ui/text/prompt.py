"""A question to the person, where there is one."""

import sys

from kvmrun.model.printable import printable


def confirm(question: str, *, usual: bool) -> bool | None:
    """Whether the answer is yes, `usual` for an empty one; None where nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    sys.stdout.flush()
    sys.stderr.write(f"{printable(question)} [{'Y/n' if usual else 'y/N'}] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
        return False
    return usual if not answer.strip() else answer.strip().lower().startswith("y")
