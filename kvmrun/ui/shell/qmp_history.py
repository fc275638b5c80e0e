"""What was typed, kept for the next time: private, bounded, without secrets, and never in the way."""

import os
import re
from collections.abc import Iterable

from prompt_toolkit.history import FileHistory

_LARGEST = 1 << 20
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SECRET = re.compile(r"passw|secret|passphrase|credential", re.IGNORECASE)


class History(FileHistory):
    """Lines in a file of mode 0600. A file that cannot be read or written is a history of this session only."""

    def load_history_strings(self) -> Iterable[str]:
        """The newest lines first."""
        if not os.path.isfile(self.filename):
            return []  # somebody put a FIFO there, which would be waited for without end
        try:
            return list(super().load_history_strings())
        except OSError:
            return []

    def store_string(self, string: str) -> None:
        """Adds one line, unless it speaks of a secret; starts anew when the file has grown past 1 MiB."""
        if _SECRET.search(string):
            return
        path = os.fsdecode(self.filename)
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with os.fdopen(os.open(path, _flags(path), 0o600), "ab") as file:
                file.write(("\n" + "".join(f"+{line}\n" for line in string.split("\n"))).encode(errors="replace"))
        except OSError:
            return


def _flags(path: str) -> int:
    """Never through a link, and a full file is emptied rather than left to grow."""
    full = os.path.exists(path) and os.path.getsize(path) > _LARGEST
    return _APPEND | (os.O_TRUNC if full else 0)
