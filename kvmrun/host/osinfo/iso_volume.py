"""The primary volume descriptor of an ISO 9660 image, ECMA-119 8.4; pycdlib would read the whole directory tree."""

import os
import stat
import struct

from kvmrun.model.osinfo.media import Volume
from kvmrun.model.printable import printable

_SECTOR = 2048
_FIRST, _MOST = 16, 32
"""The first volume descriptor, and how many are looked at."""
_PRIMARY, _LAST = 1, 255


def read_volume(path: str) -> Volume | None:
    """What the file at `path` says of itself, None where it is no ISO 9660 image or cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        for number in range(_FIRST, _FIRST + _MOST):
            data = os.pread(fd, _SECTOR, number * _SECTOR)
            if len(data) < _SECTOR or data[1:6] != b"CD001" or data[0] == _LAST:
                return None
            if data[0] == _PRIMARY:
                return _volume(data)
    except OSError:
        return None
    finally:
        os.close(fd)
    return None


def _volume(data: bytes) -> Volume:
    blocks, size = struct.unpack_from("<I", data, 80)[0], struct.unpack_from("<H", data, 128)[0]
    return Volume(
        system=_text(data[8:40]),
        volume=_text(data[40:72]),
        publisher=_text(data[318:446]),
        application=_text(data[574:702]),
        size=blocks * size,
    )


def _text(field: bytes) -> str:
    return printable(field.decode("latin-1").rstrip("\0 "))
