"""What a guest prints, made safe for a terminal: text, colours and cursor movement pass, all else is dropped.

An escape is passed on only whole, and only when it is known to be harmless. So nothing that reports, answers, sets
titles or clipboards, prints or locks the keyboard comes through, however it is cut, nested or left unfinished; and
what is left of a broken sequence is plain text. The memory used is bounded by the longest sequence that may pass.
"""

import re
from collections.abc import Callable

from kvmrun.model.printable import printable

_PARAMETERS, _LONGEST_NUMBER = 64, 4
_STRING_LIMIT = 4096
"""How much of a string without an end is dropped before what follows is text again."""

_UTF8 = (
    rb"\xc2[\xa0-\xbf]|[\xc3-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
"""One character of two bytes or more; U+0080 to U+009F are not among them: a terminal takes those as controls."""
# Only the inner ++ keeps no way back, which makes text forty times quicker: around a group Python 3.11.2 mismatches.
_TOKEN = re.compile(
    rb"(?P<text>(?:[\x20-\x7e\t\n\v\f\r\a\b]++|" + _UTF8 + rb")+)"
    rb"|(?P<csi>\x1b\[[0-?]{0,%d}[ -/]{0,2}[@-~])" % _PARAMETERS + rb"|(?P<string>\x1b[P\]X^_])"
    rb"|(?P<escape>\x1b[ -/]{0,2}[0-~])"
    rb"|(?P<shift>[\x0e\x0f])"
    rb"|(?P<control>\xc2[\x80-\x9f]|[\x00-\x1f\x7f-\x9f])"
    rb"|(?P<stray>[\x80-\xff])",
    re.DOTALL,
)
_UNFINISHED = re.compile(
    rb"\x1b(?:[ -/]{0,2}|\[[0-?]{0,%d}[ -/]{0,2})\Z" % _PARAMETERS + rb"|(?:[\xc2-\xdf]|\xe0[\xa0-\xbf]?"
    rb"|\xed[\x80-\x9f]?|[\xe1-\xec\xee\xef][\x80-\xbf]?|\xf0(?:[\x90-\xbf][\x80-\xbf]?)?"
    rb"|[\xf1-\xf3][\x80-\xbf]{0,2}|\xf4(?:[\x80-\x8f][\x80-\xbf]?)?)\Z"
)
_STRING_END = re.compile(rb"[\a\n\x18\x1a\x1b]")
_REPLACEMENT = "\ufffd".encode()

_CSI = frozenset(b"@ABCDEFGHIJKLMPSTXZ`abdefmrsu")
_CSI_MODES = frozenset({b"4"})
_PRIVATE_MODES = frozenset(
    {b"1", b"6", b"7", b"12", b"25", b"47", b"1000", b"1002", b"1003", b"1006", b"1047", b"1048", b"1049", b"2004"}
)
_USUAL = {b"7": b"h", b"25": b"h"}
"""What a terminal has on by itself; all other modes are off."""
_NOT_UNDONE = frozenset({b"12", b"1048"})
_ESCAPES = {
    one: b"\x1b" + one for one in (b"7", b"8", b"D", b"E", b"M", b"=", b">", b"(A", b"(B", b"(0", b")A", b")B", b")0")
}
_ESCAPES[b"c"] = b"\x1b[!p\x1b[H\x1b[2J"
"""A full reset would take the lines scrolled away along: a soft one, and an empty screen."""


_LINE = 400

_FAR = 999
"""Who moves the cursor at least so far both ways, and then asks where it is, wants to know how large the screen is."""


def plain_text(line: str) -> str:
    """One line of a console as text: no sequence that steers a terminal, nothing unprintable, no blanks around it."""
    parts = (found for found in _TOKEN.finditer(line.encode(errors="replace")) if found.lastgroup == "text")
    text = b"".join(found[0] for found in parts).decode(errors="replace")
    return printable(text.replace("\a", "").replace("\b", "").strip(), _LINE)


class TerminalFilter:
    """Takes what comes in pieces of any size; the pieces make no difference to what passes.

    With `size`, which gives lines and columns, questions for the size of the screen are answered: not by the terminal,
    which never sees one, but here, in numbers alone.
    """

    def __init__(self, size: Callable[[], tuple[int, int]] | None = None) -> None:
        self._size = size
        self._answers = b""
        self._far = False
        self._held = b""
        self._string_left = 0
        self._changed: dict[bytes, bytes] = {}
        self._region = False
        self._placed = False

    def feed(self, data: bytes) -> bytes:
        """What may be shown of `data`, and of what was held back before."""
        data = self._held + data
        self._held = b""
        out: list[bytes] = []
        at = 0
        while at < len(data):
            if self._string_left:
                at = self._skip(data, at)
            elif _UNFINISHED.match(data, at):
                self._held = data[at:]
                break
            else:
                found = _TOKEN.match(data, at)
                assert found is not None  # the last two kinds leave no byte out
                out.append(self._token(found))
                at = found.end()
        return b"".join(out)

    def answers(self) -> bytes:
        """What the guest is to be told, once."""
        found, self._answers = self._answers, b""
        return found

    def leave(self) -> bytes:
        """What brings a terminal back to its usual modes after all that has passed, and below what was drawn."""
        modes = [
            b"\x1b[?" + mode + (b"l" if state == b"h" else b"h")
            for mode, state in self._changed.items()
            if mode not in _NOT_UNDONE
        ]
        region = b"\x1b7\x1b[r\x1b8" if self._region else b""
        below = b"\x1b[%dH" % _FAR if self._placed else b""
        return b"".join(modes) + region + below + b"\x1b>\x1b[4l\x0f\x1b(B\x1b[0m"

    def _skip(self, data: bytes, at: int) -> int:
        """Drop a string up to its end, which is not dropped where it means something itself."""
        end = _STRING_END.search(data, at, at + self._string_left)
        if end is None:
            dropped = min(len(data) - at, self._string_left)
            self._string_left -= dropped
            return at + dropped
        self._string_left = 0
        return end.start() if end[0] in b"\n\x1b" else end.end()

    def _token(self, found: re.Match[bytes]) -> bytes:
        match found.lastgroup:
            case "text" | "shift":
                return found[0]
            case "csi":
                return self._csi(found[0])
            case "escape":
                return _ESCAPES.get(found[0][1:], b"")
            case "string":
                self._string_left = _STRING_LIMIT
                return b""
            case "stray":
                return _REPLACEMENT
            case _:
                return b""

    def _csi(self, sequence: bytes) -> bytes:
        words, final = sequence[2:-1], sequence[-1]
        self._asked(words, final)
        if words == b"!" and final == ord("p"):
            return sequence
        private = words.startswith(b"?")
        numbers = re.split(rb"[;:]", words[private:])
        if not all(one.isdigit() or not one for one in numbers) or max(map(len, numbers)) > _LONGEST_NUMBER:
            return b""
        if final in b"hl":
            return self._mode(numbers, sequence[-1:], private=private)
        if private or final not in _CSI or (final == ord("J") and b"3" in numbers):
            return b""
        self._region |= final == ord("r")
        self._placed |= final in b"Hdf"
        return sequence

    def _asked(self, words: bytes, final: int) -> None:
        """Answer a question for the size, of either kind."""
        far = self._far
        numbers = words.split(b";")
        self._far = final in b"Hf" and len(numbers) == 2 and all(n.isdigit() and int(n) >= _FAR for n in numbers)
        if self._size is None or len(self._answers) > _STRING_LIMIT:
            return
        if final == ord("t") and words == b"18":
            self._answers += b"\x1b[8;%d;%dt" % self._size()
        elif final == ord("n") and words == b"6" and far:
            self._answers += b"\x1b[%d;%dR" % self._size()

    def _mode(self, numbers: list[bytes], state: bytes, *, private: bool) -> bytes:
        """Those of several modes that may be set."""
        known = _PRIVATE_MODES if private else _CSI_MODES
        kept = [one for one in numbers if one in known]
        for mode in kept if private else []:
            if state == _USUAL.get(mode, b"l"):
                self._changed.pop(mode, None)
            else:
                self._changed[mode] = state
        return b"\x1b[" + b"?" * private + b";".join(kept) + state if kept else b""
