"""Text from outside (guests, files, QMP) made fit to print: the one place where that is done."""

LIMIT = 4096
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})


def printable(text: object, limit: int = LIMIT) -> str:
    """One line of `text` with every control, bidi, zero-width, odd space or unassigned character written as an escape.

    Newlines become spaces. The result has no C0, C1 or DEL, and at most `limit` characters.
    """
    words = str(text)[: limit + 1]
    if not words.isascii() or not words.isprintable():
        words = "".join(map(_visible, words))
    return words if len(words) <= limit else words[: limit - 1] + "…"


def quoted(path: str) -> str:
    """The path as one word of a command that is shown to be pasted."""
    from shlex import quote  # 2 ms that only a message with such a command costs

    return quote(path)


def _visible(char: str) -> str:
    from unicodedata import category  # not loaded for plain text, which most is

    if char in "\n\r\t":
        return " "
    if char != " " and category(char) in _REFUSED:
        code = ord(char)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return char


def duration(seconds: float) -> str:
    """Seconds as people read them: 0.4 s, 63 s."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
