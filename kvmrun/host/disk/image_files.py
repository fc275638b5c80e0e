"""Image files: what their headers say, and making new ones with qemu-img."""

import os
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from kvmrun.errors import KvmrunError, Refused, Unresponsive
from kvmrun.host.files import atomic_write, safe_directory
from kvmrun.host.process import process
from kvmrun.model.deadline import NEVER, Deadline
from kvmrun.plan.host_facts import ImageFacts
from kvmrun.plan.steps.guest_steps import MakeImage

_QCOW2 = b"QFI\xfb"
_DATA_FILE = 1 << 2
_HEAD = 128
_MAGIC = (
    ("qcow2", 0, _QCOW2 + b"\0\0\0\2"),
    ("qcow2", 0, _QCOW2 + b"\0\0\0\3"),
    ("qcow", 0, _QCOW2 + b"\0\0\0\1"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("vmdk", 0, b"# Disk DescriptorFile"),
    ("vdi", 64, b"\x7f\x10\xda\xbe"),
    ("vhdx", 0, b"vhdxfile"),
    ("vpc", 0, b"conectix"),
    ("qed", 0, b"QED\0"),
    ("parallels", 0, b"WithoutFreeSpace"),
    ("parallels", 0, b"WithouFreSpacExt"),
    ("bochs", 0, b"Bochs Virtual HD Image"),
    ("gzip", 0, b"\x1f\x8b\x08"),
    ("bzip2", 0, b"BZh91AY"),
    ("xz", 0, b"\xfd7zXZ\0"),
    ("zstd", 0, b"\x28\xb5\x2f\xfd"),
    ("zip", 0, b"PK\x03\x04"),
)
"""(format, offset, bytes) by which files are told that are called raw and are not; as in QEMU's own block/*.c."""
_LIMIT = 60.0
_BASE_NOTE = "user.kvmrun.base"
"""The attribute of an overlay that says what its base was like: bytes, and nanoseconds of the last change."""


def image_facts(path: str, image_format: str = "") -> ImageFacts | None:
    """What is at `path`, None when nothing is. Of a qcow2 image the header is read, and no name in it followed."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    kind = "file" if stat.S_ISREG(found.st_mode) else "device" if stat.S_ISBLK(found.st_mode) else "other"
    if kind == "other":
        return ImageFacts(kind="other", size=found.st_size)
    if image_format != "qcow2":
        size, content = _content(path, found.st_size)
        return ImageFacts(kind=kind, size=size, content=content)  # type: ignore[arg-type]
    backing, size, features = _header(path)
    whole = {"backing": bool(backing), "data_file": bool(features & _DATA_FILE)}
    return ImageFacts(kind=kind, size=size, content="qcow2", **whole)  # type: ignore[arg-type]


def _content(path: str, size: int) -> tuple[int, str]:
    """(size, format that the first or last bytes tell of) of what is called raw; a file we may not read tells nothing.

    The end is looked at for fixed VHD images alone, which have a footer and no header.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return size, ""
    try:
        size = os.lseek(fd, 0, os.SEEK_END)  # of a block device, too, of which stat tells none
        head, foot = os.pread(fd, _HEAD, 0), os.pread(fd, 8, max(0, size - 512))
    except OSError:
        return size, ""
    finally:
        os.close(fd)
    if foot == b"conectix":
        return size, "vpc"
    return size, next((name for name, at, magic in _MAGIC if head[at : at + len(magic)] == magic), "")


def _header(path: str) -> tuple[int, int, int]:
    """(offset of the backing name, virtual size, incompatible features) of a qcow2 image; docs/interop/qcow2.txt."""
    try:
        with open(path, "rb", buffering=0) as file:
            raw = file.read(80)
    except OSError as error:
        raise KvmrunError(f"cannot read {path}", reason=os.strerror(error.errno or 0)) from None
    if len(raw) < 72 or raw[:4] != _QCOW2:
        fix = 'set format = "raw" in that drive, if it is a raw image'
        raise Refused(f"{path} is not a qcow2 image", fix, reason="its first bytes are not those of one")
    version, backing = struct.unpack(">IQ", raw[4:16])
    (size,) = struct.unpack(">Q", raw[24:32])
    features = struct.unpack(">Q", raw[72:80])[0] if version >= 3 and len(raw) >= 80 else 0
    return backing, size, features


def backing_name(path: str) -> str:
    """The name that a qcow2 image gives for its base, "" for any other file. It is told, never followed."""
    try:
        with open(path, "rb", buffering=0, opener=_without_waiting) as file:
            raw = file.read(20)
            offset, length = struct.unpack(">QI", raw[8:20]) if len(raw) == 20 and raw[:4] == _QCOW2 else (0, 0)
            return os.pread(file.fileno(), min(length, 1023), offset).decode(errors="replace") if offset else ""
    except (OSError, OverflowError):
        return ""


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def make_image(step: MakeImage, deadline: Deadline = NEVER) -> None:
    """Carry out `step`; the image must not be there.

    Raises: what `format_image` raises; Refused where something is there.
    """
    with (
        safe_directory.holding(step.path, make=0o755) as (parent, name),
        _worded(step.path),
        parent.part(name) as (fd, part),
    ):
        format_image(fd, step, deadline)
        os.fchmod(fd, 0o600)
        parent.publish(part, name)


@contextmanager
def replacement(step: MakeImage, deadline: Deadline = NEVER) -> Iterator[Callable[[], None]]:
    """An image for the place of the one that is there, with its owner and mode; calling the value puts it there.

    It is gone at the end unless it was put there. A link is followed: what it leads to is replaced.

    Raises: what `format_image` raises.
    """
    with (
        safe_directory.replacing(os.path.realpath(step.path)) as (parent, name),
        _worded(step.path),
        parent.part(name) as (fd, part),
    ):
        format_image(fd, step, deadline)
        now = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        atomic_write.keep_owner(fd, now)
        os.fchmod(fd, stat.S_IMODE(now.st_mode))
        os.fsync(fd)
        yield lambda: parent.move(part, name)


def format_image(fd: int, step: MakeImage, deadline: Deadline = NEVER) -> None:
    """Have qemu-img make of an empty file what `step` says. The base is never opened: its size comes from its own file
    or header.

    qemu-img writes to a file that was made by us in a directory that was judged, by its descriptor: a name could be
    exchanged while it works.

    Raises: KvmrunError, with the output of qemu-img; Unresponsive when its time is over; Refused for a base that is
    gone.
    """
    size = step.size or _base_size(step)
    argv = [process.require_program("qemu-img"), "create", "-q", "-f", step.format]
    if step.base:
        argv += ["-u", "-b", step.base, "-F", step.base_format]
    limit, words = deadline.left(_LIMIT), [*argv, "--", f"/proc/self/fd/{fd}", str(size)]
    try:
        done = subprocess.run(
            words, pass_fds=(fd,), capture_output=True, text=True, timeout=limit, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise Unresponsive(f"qemu-img has not made {step.path} within {limit:.1f} s", "--timeout SECONDS") from None
    if done.returncode:
        lines = tuple(line.replace(f"/proc/self/fd/{fd}", step.path) for line in done.stderr.splitlines()[-3:])
        raise KvmrunError(f"could not make the image {step.path}", "free some room, or correct the drive", lines=lines)
    if step.base and step.notes_base:
        with suppress(OSError):  # not every file system has such attributes, and then nothing is noticed
            os.setxattr(fd, _BASE_NOTE, _base_note(step.base))


def base_differs(image: str, base: str) -> bool:
    """Whether a base is not what it was when its overlay was made, as far as size and time tell."""
    try:
        return os.getxattr(image, _BASE_NOTE) != _base_note(base)
    except OSError:
        return False


def mark_changed_base(files: dict[str, ImageFacts | None], image: str, base: str, store: str) -> None:
    """Have the facts of an overlay among `files`, and of a base in the store, say whether the base has changed."""
    if (overlay := files.get(image)) is not None:
        files[image] = overlay.replace(base_differs=base_differs(image, base))
    if (below := files.get(base)) is not None and os.path.dirname(base) == store:
        from kvmrun.host.images import image_store  # only for a guest over an image of the store

        files[base] = below.replace(changed=image_store.changed_reason(base))


def copy_base_note(source: int, target: int) -> None:
    """Let a copy of an overlay know what its base was like, if the overlay does."""
    with suppress(OSError):
        os.setxattr(target, _BASE_NOTE, os.getxattr(source, _BASE_NOTE))


def _base_note(base: str) -> bytes:
    found = os.stat(base)
    return f"{found.st_size} {found.st_mtime_ns}".encode()


@contextmanager
def _worded(path: str) -> Iterator[None]:
    """What the kernel says of making the image, in words."""
    try:
        yield
    except FileExistsError:
        reason = "something was put there while it was being made"
        raise Refused(f"{path} cannot be made", "check what is there, then try again", reason=reason) from None
    except OSError as error:
        raise safe_directory.cannot("make", path, error) from None


def remove_image(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _base_size(step: MakeImage) -> int:
    found = image_facts(step.base or "", step.base_format)
    if found is None:
        raise Refused(f"{step.path} has no base {step.base}", "correct the path", reason="no such file")
    return found.size
