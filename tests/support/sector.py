"""A guest of 57 bytes: it prints a text on its serial line, then echoes what is typed, or prints it for ever."""

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
