"""Image files: what their headers say, and making new ones with qemu-img."""

import os
import stat
import struct
import subprocess

from kvmrun.errors import KvmrunError, Refused
from kvmrun.host import process, small
from kvmrun.plan.facts import File
from kvmrun.plan.steps import MakeImage

_QCOW2 = b"QFI\xfb"
_DATA_FILE = 1 << 2
_LIMIT = 60.0


def look(path: str, image_format: str = "") -> File | None:
    """What is at `path`, None when nothing is. Of a qcow2 image the header is read, and no name in it followed."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    kind = "file" if stat.S_ISREG(found.st_mode) else "device" if stat.S_ISBLK(found.st_mode) else "other"
    if image_format != "qcow2" or kind == "other":
        return File(kind=kind, size=found.st_size)  # type: ignore[arg-type]
    backing, size, features = _header(path)
    return File(kind=kind, size=size, backing=bool(backing), data_file=bool(features & _DATA_FILE))  # type: ignore[arg-type]


def _header(path: str) -> tuple[int, int, int]:
    """(offset of the backing name, virtual size, incompatible features) of a qcow2 image; docs/interop/qcow2.txt."""
    try:
        with open(path, "rb", buffering=0) as file:
            raw = file.read(80)
    except OSError as why:
        raise KvmrunError(f"cannot read {path}", why=os.strerror(why.errno or 0)) from None
    if len(raw) < 72 or raw[:4] != _QCOW2:
        hint = 'correct its format ("raw"?), or make it anew'
        raise Refused(f"{path} is not a qcow2 image", hint, why="its first bytes say so")
    version, backing = struct.unpack(">IQ", raw[4:16])
    (size,) = struct.unpack(">Q", raw[24:32])
    features = struct.unpack(">Q", raw[72:80])[0] if version >= 3 and len(raw) >= 80 else 0
    return backing, size, features


def make(step: MakeImage) -> None:
    """Carry out `step`. The base is never opened: its size comes from its own file or header."""
    size = step.size or _base_size(step)
    argv = [process.tool("qemu-img"), "create", "-q", "-f", step.format]
    if step.base:
        argv += ["-u", "-b", step.base, "-F", step.base_format]
    os.makedirs(os.path.dirname(step.path), exist_ok=True)
    part = f"{step.path}.part"
    with small.moved(part, step.path):
        done = subprocess.run(
            [*argv, "--", part, str(size)],
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
            errors="replace",
        )
        if done.returncode:
            lines = tuple(done.stderr.splitlines()[-3:])
            hint = "free some room, or correct the drive"
            raise KvmrunError(f"could not make the image {step.path}", hint, lines=lines)
        os.chmod(part, 0o600)


def remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _base_size(step: MakeImage) -> int:
    found = look(step.base or "", step.base_format)
    if found is None:
        raise Refused(f"{step.path} has no base {step.base}", "correct the path", why="no such file")
    return found.size
