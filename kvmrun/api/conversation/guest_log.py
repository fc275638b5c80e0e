"""What a guest's console printed and QEMU said, kept also after its end."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

from kvmrun.api.guest_owner import elsewhere
from kvmrun.api.lab import LabHandle, no_such_guest, read_definitions, require_running, runtime_of
from kvmrun.api.repair.replace_logger import restart_if_dead
from kvmrun.errors import NotRunning, OtherLab, UsageError
from kvmrun.host.files import ownership
from kvmrun.host.process import log_reader, process
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import GuestName

_LOGGER_ENDS = 2.0


def read_log(lab: LabHandle, name: str, *, lines: int = 100) -> list[bytes]:
    """The last lines of the log, as they were printed, without their ends.

    Raises: NoSuchGuest, NotRunning where there is no log; OtherLab, NotPermitted; UsageError for a negative number.
    """
    directory = _log_directory(lab.paths, name, lines)
    if not log_reader.exists(directory):
        raise NotRunning(f"{name} has no log", f"kvmrun {name} starts it")
    with log_reader.Reader(directory) as reader:
        return reader.last(lines)


def follow_log(lab: LabHandle, name: str, *, lines: int = 100, timeout: float | None = None) -> Iterator[list[bytes]]:
    """The last lines of the log, then those that come, until the guest ends or `timeout` seconds are over.

    A guest that does not run is waited for.

    Raises: what `read_log` raises, but not NotRunning: a log that there is not yet is waited for.
    """
    directory = _log_directory(lab.paths, name, lines)
    return _follow(lab.paths, name, directory, lines, Deadline.begin(timeout))


def restart_logger(lab: LabHandle, name: str) -> bool:
    """Replace the logger of a running guest where it has died; whether it had.

    Raises: NotRunning, NoSuchGuest, OtherLab; Unresponsive where QEMU does not answer within 10 s.
    """
    with rundir.locked(require_running(lab.paths, name), name):
        return restart_if_dead(runtime_of(lab.paths, name))


def _log_directory(where: Paths, name: str, lines: int) -> str:
    if lines < 0:
        raise UsageError(f"{lines} is not a number of lines", "-n 100")
    directory = ownership.log(where, _known(where, name))
    if not rundir.is_running(where.guest(name)) and (error := elsewhere(where, name)):
        raise error  # a log of ours would be that of an earlier life
    return directory


def _known(where: Paths, name: str) -> str:
    """The name of a guest that is defined, or has left a log. Raises NoSuchGuest."""
    left = GuestName.fits(name) and log_reader.exists(ownership.log(where, name))
    lab = Lab(directory=where.vms) if left else read_definitions(where)
    if left or name in lab.guests or name in lab.invalid:
        return name
    if GuestName.fits(name) and (other := ownership.other_owner(where.state, "log", name, where.lab)):
        raise OtherLab(
            f"the log of {name} is another lab's", other, name, reason=f"it is of a guest of the lab {other}"
        )
    raise no_such_guest(lab, name)


def _follow(where: Paths, name: str, directory: str, lines: int, deadline: Deadline) -> Iterator[list[bytes]]:
    with log_reader.Reader(directory) as reader:
        yield reader.last(lines)
        with ExitStack() as held:
            guest: int | None = None
            for found in log_reader.follow(reader):
                yield found
                if deadline.is_over():
                    return
                if guest is None:
                    guest = held.enter_context(rundir.qemu_pidfd(where.guest(name)))
                elif process.wait_exit(guest, 0):
                    break
        end = time.monotonic() + _LOGGER_ENDS
        while log_reader.has_writer(where.log(name)) and time.monotonic() < end:
            time.sleep(0.02)
        yield reader.more()
