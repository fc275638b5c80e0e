"""The host keys that `kvmrun ssh` has learnt of guests."""

import os
import subprocess
from contextlib import suppress

from kvmrun.host.process import process
from kvmrun.model.deadline import remaining
from kvmrun.model.paths import Paths

_LIMIT = 10.0


def path(where: Paths) -> str:
    return f"{where.state}/ssh/known_hosts"


def forget(where: Paths, *names: str) -> None:
    """Remove the keys of guests by those names: another guest of the name has keys of its own.

    Names may be hashed in the file, as Debian configures OpenSSH, so ssh-keygen does it. A failure is not reported:
    `ssh` itself says later how to remove the key.
    """
    file, program = path(where), process.find_program("ssh-keygen")
    if not (program and os.path.isfile(file)):
        return
    with suppress(OSError, subprocess.TimeoutExpired):
        for name in names:
            subprocess.run(
                [program, "-q", "-R", name, "-f", file], capture_output=True, check=False, timeout=remaining(_LIMIT)
            )
        os.unlink(f"{file}.old")  # the copy that ssh-keygen leaves
