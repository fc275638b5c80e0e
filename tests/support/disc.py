"""Media that boot by the BIOS alone: what they print, they print on the screen or where the firmware sends it."""

import struct
from pathlib import Path

_PRINT = "31c0 8ed8 be157c ac 84c0 7406 b40e cd10 ebf5 f4 ebfd"
"""Prints the text at 0x7c15 up to its zero by int 0x10, then halts."""
_BLOCK = 2048


def boot_sector(text: bytes) -> bytes:
    return (bytes.fromhex(_PRINT) + text + b"\0").ljust(510, b"\0") + b"\x55\xaa"


def disk(path: Path, text: bytes) -> None:
    """A disk of 1 MiB whose boot sector prints `text`."""
    path.write_bytes(boot_sector(text).ljust(1 << 20, b"\0"))


def cdrom(path: Path, text: bytes) -> None:
    """A CD-ROM whose El Torito boot image, without emulation, prints `text`."""
    volume = b"\1CD001\1".ljust(_BLOCK, b"\0")
    record = (b"\0CD001\1" + b"EL TORITO SPECIFICATION".ljust(64, b"\0") + struct.pack("<I", 19)).ljust(_BLOCK, b"\0")
    end = b"\xffCD001\1".ljust(_BLOCK, b"\0")
    entry = struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, 1, 20).ljust(32, b"\0")
    check = b"\1".ljust(30, b"\0") + b"\x55\xaa"
    total = -sum(struct.unpack("<16H", check)) & 0xFFFF
    check = check[:28] + struct.pack("<H", total) + check[30:]
    catalog = (check + entry).ljust(_BLOCK, b"\0")
    image = boot_sector(text).ljust(_BLOCK, b"\0")
    path.write_bytes(bytes(16 * _BLOCK) + volume + record + end + catalog + image + bytes(1 << 20))
