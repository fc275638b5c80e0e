"""The UEFI variables of a guest: made from the template of its firmware as qcow2, and looked at before a start."""

import os
import stat
import struct

from kvmrun.errors import KvmrunError, host_fix, host_reason
from kvmrun.host.files import atomic_write, safe_directory
from kvmrun.host.firmware.machine_pin import PRIVATE
from kvmrun.model.deadline import Deadline
from kvmrun.plan.firmware_facts import VariablesFacts
from kvmrun.plan.steps.firmware_steps import MakeVariables

_MAGIC = b"QFI\xfb"
_HEAD = ">IQIIQIIQQ"  # version, backing file, its length, bits of a cluster, size, encryption, length and place of L1
_HEADER = 4 + struct.calcsize(_HEAD)
_OFFSET = (1 << 56) - (1 << 9)
_COMPRESSED = 1 << 62
_LARGEST = 64 << 20


def make_variables(step: MakeVariables, deadline: Deadline) -> None:
    """Carry out `step`. Raises KvmrunError where the template cannot be used, or the file not be made."""
    from kvmrun.host.images import convert  # brings decompressors, which only a first start needs

    with safe_directory.holding(step.path, make=PRIVATE) as (parent, name):
        here, part = f"/proc/self/fd/{parent.fd}", f".{name}.new"
        atomic_write.remove(part, dir_fd=parent.fd)  # of a start that was killed
        try:
            convert.write_qcow2(step.template.path, f"{here}/{part}", step.template.format, deadline)
            fd = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
            try:
                os.fsync(fd)
                os.fchmod(fd, 0o600)
                if step.uid is not None:
                    os.fchown(fd, step.uid, step.uid)
            finally:
                os.close(fd)
            parent.publish(part, name)
        except OSError as error:
            raise KvmrunError(f"cannot make {step.path}", host_fix(error), reason=host_reason(error)) from None
        finally:
            atomic_write.remove(part, dir_fd=parent.fd)


def variables_facts(path: str) -> VariablesFacts | None:
    """What is at `path`, None where nothing is."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        return VariablesFacts(size=0, fault=f"it cannot be opened: {os.strerror(error.errno or 0)}")
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return VariablesFacts(size=0, fault="it is not a regular file")
        return _judged(fd, found.st_size)
    except OSError as error:
        return VariablesFacts(size=0, fault=f"it cannot be read: {os.strerror(error.errno or 0)}")
    finally:
        os.close(fd)


def _judged(fd: int, length: int) -> VariablesFacts:
    """Whether all that the tables of the image refer to is within the file; docs/interop/qcow2.txt of QEMU."""
    head = os.pread(fd, _HEADER, 0)
    if len(head) < _HEADER or head[:4] != _MAGIC:
        return VariablesFacts(size=0, fault=f"it is no qcow2 image, but {length} bytes of something else")
    version, backing, _, bits, size, encrypted, entries, table, _ = struct.unpack(_HEAD, head[4:])
    if version not in {2, 3} or backing or encrypted or not 9 <= bits <= 21 or size > _LARGEST or entries > 1 << 12:
        return VariablesFacts(size=0, fault="its header is not that of an image that kvmrun has made")
    needed = _end(fd, bits, size, (table, entries))
    if needed > length:
        return VariablesFacts(size=size, fault=f"it is cut short: {length} of {needed} bytes")
    return VariablesFacts(size=size)


def _end(fd: int, bits: int, size: int, first: tuple[int, int]) -> int:
    """Where what the tables refer to ends."""
    cluster, (table, entries) = 1 << bits, first
    end = table + 8 * entries
    seconds = [place & _OFFSET for place in _table(fd, table, entries)]
    for number, second in enumerate(seconds):
        if not second:
            continue
        end = max(end, second + cluster)
        for index, entry in enumerate(_table(fd, second, cluster // 8)):
            at = (number * (cluster // 8) + index) * cluster
            if entry & _OFFSET and not entry & _COMPRESSED and at < size:
                end = max(end, (entry & _OFFSET) + min(cluster, size - at))
    return end


def _table(fd: int, offset: int, entries: int) -> tuple[int, ...]:
    """The entries of a table, as far as they are within the file."""
    if offset >= 1 << 40:
        return ()
    data = os.pread(fd, 8 * entries, offset)
    return struct.unpack(f">{len(data) // 8}Q", data[: len(data) // 8 * 8])
