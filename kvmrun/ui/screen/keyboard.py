"""Keys as a terminal sends them, by name: letters as they are, the others by the words on them."""

import re

_KNOWN = {
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x1b": "escape",
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
    "\x1b[4~": "end",
}
_KEY = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[@-~]|\x1b\[?[0-?]*|.", re.DOTALL)


def read_key(data: bytes) -> list[str]:
    """The keys in what was typed, in order; a key that is none of ours keeps what the terminal sent."""
    return [_KNOWN.get(found, found) for found in _KEY.findall(data.decode(errors="replace"))]
