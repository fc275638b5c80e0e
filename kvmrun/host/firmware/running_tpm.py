"""The TPM of a guest as a process: whether it runs, and its end."""

import os
import time

from kvmrun.host.process import process
from kvmrun.host.rundir import lock
from kvmrun.model.paths import Paths, tpm_lock

ENDING = 1.0
"""How long one may take to end after its QEMU, in seconds."""


class RunningTpm:
    """A swtpm that was started and answers. `channel` is QEMU's end of its control channel."""

    def __init__(self, pid: int, pidfd: int, channel: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.channel = channel

    def end(self) -> None:
        """End it, and close what is known of it."""
        if self.pidfd >= 0:
            process.kill(self.pidfd)
            self.close()

    def close(self) -> None:
        """Leave it to QEMU, with which it ends."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
            process.disown(self.pid)


def is_running(where: Paths, name: str) -> bool:
    """Whether the TPM of the guest holds its lock; true also where we may not see that."""
    try:
        return lock.is_held(tpm_lock(where.guest_state(name)))
    except OSError:
        return True


def end_leftover(where: Paths, name: str) -> None:
    """End the TPM of a guest whose QEMU has ended, and which then ends by itself."""
    path = tpm_lock(where.guest_state(name))
    if os.path.exists(path):
        end_tpm(path)


def end_tpm(path: str, wait: float = ENDING) -> None:
    """Wait for the swtpm that holds the lock at `path`, as one does whose QEMU has just ended; then end it."""
    until = time.monotonic() + wait
    while lock.is_held(path) and time.monotonic() < until:
        time.sleep(0.005)
    if lock.is_held(path):
        with process.pidfd_of_lock_holder(path) as pidfd:
            if pidfd is not None:
                process.kill(pidfd)
