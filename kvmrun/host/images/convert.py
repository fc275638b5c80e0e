"""What is in a file that somebody calls an image, and making a qcow2 image without a base of it."""

import bz2
import gzip
import lzma
import os
import stat
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import IO, BinaryIO

from kvmrun.errors import HostLacks, KvmrunError, Refused, Unresponsive, UsageError, host_fix, host_reason
from kvmrun.host.disk import image_files
from kvmrun.host.files import atomic_write
from kvmrun.host.process import process
from kvmrun.model import derive
from kvmrun.model.deadline import Deadline

_OPENERS: dict[str, Callable[[BinaryIO], IO[bytes]]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}  # type: ignore[dict-item]
_FORMATS = {"qcow2", "qcow", "vmdk", "vdi", "vhdx", "vpc", "raw"}
_CHUNK = 1 << 20
_LIMIT = 3600.0
_ACCOUNT = derive.uid("", "images", "convert")
"""Nobody else's: what converts and unpacks images may read and write nothing but what it is given."""
Moved = Callable[[int, int], None]


def make_qcow2(source: str, target: str, moved: Moved, deadline: Deadline) -> bool:
    """Write the image in `source` to `target` as qcow2, unpacked where it is compressed; whether it was converted.

    False means that `source` is such an image already, and nothing was written. Raises Refused for what is no image.
    """
    kind = content_of(source)
    if kind not in {*_OPENERS, "zstd"}:
        return _converted(source, target, kind, moved, deadline)
    unpacked = f"{target}.unpacked"
    try:
        _unpack(source, unpacked, kind, moved, deadline)
        if not _converted(unpacked, target, content_of(unpacked), moved, deadline):
            os.rename(unpacked, target)
        return True
    finally:
        atomic_write.remove(unpacked)


def write_qcow2(source: str, target: str, kind: str, deadline: Deadline) -> None:
    """Write the image in `source`, which is of the format `kind`, to the new file `target`.

    Raises: Refused for one that names other files, KvmrunError, Unresponsive.
    """
    _require_whole(source, kind)
    _convert(source, target, kind, lambda _now, _end: None, deadline)


def place(source: str, target: str, deadline: Deadline, *, move: bool) -> None:
    """Give a file that needs no conversion another name, or copy it. Raises KvmrunError where the host refuses."""
    if move:
        os.rename(source, target)
        return
    try:
        with open(source, "rb") as file, open(target, "xb") as out:
            while chunk := file.read(_CHUNK):
                out.write(chunk)
                if deadline.is_over():
                    raise Unresponsive(f"{source} was not copied in time", "--timeout SECONDS")
    except OSError as error:
        raise KvmrunError(f"{source} cannot be copied", host_fix(error), reason=host_reason(error)) from None


def content_of(path: str) -> str:
    """The format that the content of a file tells of, "raw" for a disk with partitions or a file system.

    Raises Refused for anything else, UsageError where there is no such file.
    """
    found = image_files.image_facts(path, "raw")
    if found is None:
        raise UsageError(f"there is no file {path}", "name the file of an image")
    if found.kind != "file":
        raise Refused(f"{path} is no image", "name a regular file", reason="it is not a regular file")
    if found.content:
        return found.content
    with open(path, "rb") as file:
        head = file.read(0x8006)
    if head[0x8001:] == b"CD001" and head[510:512] != b"\x55\xaa":
        raise Refused(f"{path} is no disk", "kvmrun new NAME --cdrom FILE installs from it", reason="it is a CD-ROM")
    if head[510:512] == b"\x55\xaa" or head[512:520] == b"EFI PART" or head[1080:1082] == b"\x53\xef":
        return "raw"
    if head[:4] in {b"XFSB", b"_BHR"}:
        return "raw"
    reason = "it has neither the header of an image, nor partitions, nor a file system"
    raise Refused(f"{path} is no image", "name another file", reason=reason)


def _converted(source: str, target: str, kind: str, moved: Moved, deadline: Deadline) -> bool:
    if kind not in _FORMATS:
        raise Refused(f"{source} cannot be used", "unpack it first", reason=f"its content is {kind}")
    _require_whole(source, kind)
    if kind == "qcow2":
        return False
    _convert(source, target, kind, moved, deadline)
    return True


def _require_whole(path: str, kind: str) -> None:
    """Refuse what names other files, which qemu-img would read."""
    parts = False
    if kind == "qcow2":
        found = image_files.image_facts(path, "qcow2")
        parts = found is None or found.backing or found.data_file
    elif kind in {"vmdk", "qcow"}:
        with open(path, "rb") as file:
            head = file.read(128 << 10)
        parts = head[:21] == b"# Disk DescriptorFile" or b"parentFileNameHint" in head
        parts = parts or (kind == "vmdk" and not any(head[12:20]))  # extents are then in other files
        parts = parts or (kind == "qcow" and any(head[8:16]))
    if parts:
        reason = "it names other files that it consists of"
        raise Refused(f"{path} is not whole", "qemu-img convert makes one file of it", reason=reason)


def _unpack(source: str, target: str, kind: str, moved: Moved, deadline: Deadline) -> None:
    total = os.stat(source).st_size
    try:
        with open(target, "xb") as out:
            if kind == "zstd":
                _unpack_zstd(source, out, deadline)
                return
            with open(source, "rb") as packed, closing(_OPENERS[kind](packed)) as file:
                while chunk := file.read(_CHUNK):
                    out.write(chunk)
                    moved(packed.tell(), total)
                    if deadline.is_over():
                        raise Unresponsive(f"{source} was not unpacked in time", "--timeout SECONDS")
    except (EOFError, lzma.LZMAError) as error:
        raise Refused(f"{source} cannot be unpacked", "use another file", reason=f"{error}") from None
    except OSError as error:
        if error.errno is None:  # what gzip and bz2 raise for damaged data
            raise Refused(f"{source} cannot be unpacked", "use another file", reason=f"{error}") from None
        raise KvmrunError(f"{source} cannot be unpacked", host_fix(error), reason=host_reason(error)) from None


def _unpack_zstd(source: str, out: BinaryIO, deadline: Deadline) -> None:
    if not process.find_program("zstd"):
        raise HostLacks("zstd is missing, which unpacks this image", "apt install zstd")
    argv = confined([process.require_program("zstd"), "-dcq"])
    with open(source, "rb") as packed:
        _run(argv, f"{source} cannot be unpacked", deadline, stdin=packed, stdout=out)


def confined(argv: list[str]) -> list[str]:
    """The command as an account of its own where root runs it: what it reads may be made to attack it."""
    return process.drop_privileges_command(argv, _ACCOUNT if os.geteuid() == 0 else None, None)


def _open_for_account(source: str, target: str, files: ExitStack, deadline: Deadline) -> int:
    """A descriptor of the source that the account can open again by its number; of a copy, where it may not."""
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    files.callback(os.close, fd)
    if os.geteuid() != 0 or os.fstat(fd).st_mode & stat.S_IROTH:
        return fd
    copy = f"{target}.source"
    atomic_write.remove(copy)  # of a command that was killed
    files.callback(atomic_write.remove, copy)
    place(f"/proc/self/fd/{fd}", copy, deadline, move=False)  # what was judged, whatever has its name now
    os.chown(copy, _ACCOUNT, _ACCOUNT)
    fd = os.open(copy, os.O_RDONLY | os.O_CLOEXEC)
    files.callback(os.close, fd)
    return fd


def _convert(source: str, target: str, kind: str, moved: Moved, deadline: Deadline) -> None:
    """By qemu-img, which is told the format: it never guesses one, and so never follows what a raw image holds.

    It has an account of its own, and opens two files by the numbers of their descriptors.
    """
    with ExitStack() as files:
        out = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        files.callback(os.close, out)
        given = _open_for_account(source, target, files, deadline)
        if os.geteuid() == 0:
            os.fchown(out, _ACCOUNT, _ACCOUNT)
        paths = (f"/proc/self/fd/{given}", f"/proc/self/fd/{out}")
        argv = [process.require_program("qemu-img"), "convert", "-p", "-f", kind, "-O", "qcow2", "--", *paths]
        _converting(confined(argv), (given, out), source, moved, deadline)
        os.fchown(out, os.geteuid(), os.getegid())


def _converting(argv: list[str], passed: tuple[int, int], source: str, moved: Moved, deadline: Deadline) -> None:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=passed) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            text = b""
            while piece := os.read(child.stdout.fileno(), 256):
                text = (text + piece)[-64:]
                percent = text.rpartition(b"/100%)")[0].rpartition(b"(")[2]
                if percent.replace(b".", b"").strip().isdigit():
                    moved(int(float(percent) * 100), 10000)
                if deadline.is_over():
                    raise Unresponsive(f"{source} was not converted in time", "--timeout SECONDS")
            said = child.stderr.read().decode(errors="replace")
            code = child.wait(deadline.left(_LIMIT))
        except BaseException:
            child.kill()
            raise
    if code:
        lines = tuple(said.splitlines()[-3:])
        raise KvmrunError(f"{source} cannot be converted", "free some room, or use another file", lines=lines)


def _run(argv: list[str], message: str, deadline: Deadline, *, stdin: BinaryIO, stdout: BinaryIO) -> None:
    limit = deadline.granted(_LIMIT)
    try:
        done = subprocess.run(argv, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise Unresponsive(f"{message} in time", "--timeout SECONDS") from None
    if done.returncode:
        lines = tuple(done.stderr.decode(errors="replace").splitlines()[-3:])
        raise KvmrunError(message, "free some room, or use another file", lines=lines)
