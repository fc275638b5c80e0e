"""Reading what a guest's logger has kept: the console and QEMU's own words, newest last."""

import os

_TAIL = 64 << 10


def position(directory: str) -> int:
    """How much the current log holds now, to tell later what is new."""
    try:
        return os.stat(f"{directory}/current").st_size
    except OSError:
        return 0


def since(directory: str, start: int) -> list[str]:
    """The lines that came after `position` said `start`; a log begun anew meanwhile is read whole. At most 64 KiB."""
    try:
        with open(f"{directory}/current", "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(start if start <= size else 0, size - _TAIL))
            data = file.read(_TAIL)
    except OSError:
        return []
    return data.decode(errors="replace").splitlines()
