"""What boots by the BIOS alone: a guest of 57 bytes that talks on its serial line, and media that print a text.

The guest prints a text, then echoes what is typed, or prints the text for ever.
"""

import struct
from pathlib import Path

_START = "31c0 8ed8 be397c ac 84c0 7405 e81b00 ebf6"
"""Prints the text at 0x7c39 up to its zero."""
_ECHO = "bafd03 ec a801 74fb baf803 ec 3c12 7504 b0fe e664 e80200 ebe7"
"""Waits for a byte on COM1 and prints it; Ctrl-R reboots by way of the keyboard controller."""
_FLOOD = "ebed" + "90" * 23
PANIC = "ba0505 b001 ee"
"""Tells the pvpanic device that the guest has crashed."""
_PUT = "50 bafd03 ec a820 74fb 58 baf803 ee c3"
"""Prints the byte in al, once the line takes it."""

TEXT = 'accel = "tcg"\nmemory = "32M"\nnic = []\ndisplay = "vnc"\n[[drive]]\nimage = "%s.raw"\nreadonly = true\n'


"""With a display, so that the firmware leaves the serial line to the guest: it would print there, and take input."""


def pause(seconds: float) -> str:
    """Code that waits, by the BIOS's own clock."""
    high, low = divmod(int(seconds * 1e6), 1 << 16)
    return f"b486 b9{high.to_bytes(2, 'little').hex()} ba{low.to_bytes(2, 'little').hex()} cd15"


def sector(lab: Path, name: str, text: bytes, *, flood: bool = False, more: str = "", first: str = "") -> None:
    """Defines the guest `name`, which prints `text`; `more` are lines of its definition, `first` is code before it."""
    start = _START.replace("be397c", f"be{0x39 + len(bytes.fromhex(first)):02x}7c")
    code = bytes.fromhex(first + start + (_FLOOD if flood else _ECHO) + _PUT) + text + b"\0"
    images = lab.parent / "state/images"
    images.mkdir(parents=True, exist_ok=True)
    (images / f"{name}.raw").write_bytes((code.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
    (lab / f"{name}.toml").write_text(more + TEXT % name)


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
