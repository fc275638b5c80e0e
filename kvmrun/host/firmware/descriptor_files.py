"""The descriptors of firmware on this host: those of root before those of packages, by file name.

A file of /etc hides the one of the same name of /usr/share, and an empty one hides it without taking its place.
"""

import json
import os
import stat
from collections.abc import Mapping

from kvmrun.config.standard_paths import untrusted_fix
from kvmrun.errors import host_reason
from kvmrun.host.files import small_files
from kvmrun.model.firmware.descriptor import Descriptor, descriptor_from_json
from kvmrun.model.printable import printable

_DIRECTORIES = ("/usr/share/qemu/firmware", "/etc/qemu/firmware")
_LARGEST = 64 << 10
Descriptors = tuple[tuple[Descriptor, ...], Mapping[str, str]]
"""The descriptors in their order, and what is wrong with each file that is none, by path."""


def read_descriptors(*, root: bool) -> Descriptors:
    """Everything that the directories of this host have."""
    found, bad = [], {}
    for name, path in sorted(_files(root=root).items(), key=lambda one: os.fsencode(one[0])):
        try:
            descriptor = _read(name, path, root=root)
        except ValueError as error:
            bad[printable(path, 200)] = printable(error, 200)
            continue
        if descriptor is not None:
            found.append(descriptor)
    return tuple(found), bad


def _files(*, root: bool) -> dict[str, str]:
    """The path of each descriptor by its name; a later directory hides an earlier one."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    files: dict[str, str] = {}
    for directory in (*_DIRECTORIES, *(() if root else (f"{home}/qemu/firmware",))):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        files |= {name: f"{directory}/{name}" for name in names if not name.startswith(".")}
    return files


def _read(name: str, path: str, *, root: bool) -> Descriptor | None:
    """The descriptor in the file, None for one that only hides another. Raises ValueError."""
    try:
        seen = os.stat(path)
    except OSError as error:
        raise ValueError(host_reason(error)) from None
    if not stat.S_ISREG(seen.st_mode):
        raise ValueError("it is not a regular file")
    if seen.st_size == 0:
        return None
    if root and (reason := untrusted_fix(path, os.environ)):
        raise ValueError(f"another user could change it, as {reason}")
    text = small_files.read_text(path, _LARGEST + 1)
    if text is None:
        raise ValueError("it cannot be read")
    if len(text) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST} bytes")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    return descriptor_from_json(name, data)
