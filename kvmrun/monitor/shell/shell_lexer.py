"""A line of the monitor shell as words: shell quotes, JSON kept whole, dotted keys as tables."""

import json
import re
from collections.abc import Iterable

from kvmrun.errors import UsageError
from kvmrun.model.printable import printable
from kvmrun.model.value import Value

_KEY = re.compile(r"([A-Za-z_][\w.-]*)=")
_DECODER = json.JSONDecoder()


class Token(Value):
    """One word: `key=` before it, its text without quotes, and the JSON list or object it was written as."""

    key: str = ""
    text: str
    quoted: bool = False
    data: object = None


Tree = dict[str, "Token | Tree"]


def tokenize(line: str) -> tuple[Token, ...]:
    """The words of a line; quotes as in a shell, JSON lists and objects whole. Raises UsageError when unbalanced."""
    words: list[Token] = []
    at = 0
    while at < len(line):
        if line[at].isspace():
            at += 1
            continue
        key = _KEY.match(line, at)
        word, at = _word(line, key.end() if key else at, key=key[1] if key else "")
        words.append(word)
    return tuple(words)


def nest_dotted_keys(words: Iterable[Token]) -> Tree:
    """Dotted keys as nested tables. Raises UsageError for a word without a key, and for one given twice."""
    top: Tree = {}
    for word in words:
        if not word.key:
            raise UsageError(f"'{printable(word.text, 80)}' is not of the form argument=value")
        _hang(top, word)
    return top


def _hang(top: Tree, word: Token) -> None:
    *branches, last = word.key.split(".")
    for branch in branches:
        below = top.setdefault(branch, {})
        if isinstance(below, Token):
            raise UsageError(f"'{branch}' is given as a value and by its parts")
        top = below
    if last in top:
        raise UsageError(f"'{word.key}' is given twice")
    top[last] = word


def _word(line: str, at: int, *, key: str) -> tuple[Token, int]:
    if key and line[at : at + 1] in ("[", "{", '"'):
        try:
            data, end = _DECODER.raw_decode(line, at)
        except (ValueError, RecursionError) as fault:
            if line[at] != '"':
                reason = printable(fault, 120)
                raise UsageError(
                    f"the value of '{key}' is not valid JSON", "to send it as text, quote it", reason=reason
                ) from None
        else:
            if end == len(line) or line[end].isspace():
                return _json_word(key, data, line[at:end]), end
    text, quoted, end = _shell_word(line, at)
    return Token(key=key, text=text, quoted=quoted), end


def _json_word(key: str, data: object, source: str) -> Token:
    if isinstance(data, str):
        return Token(key=key, text=data, quoted=True)
    return Token(key=key, text=source, data=data)


def _shell_word(line: str, at: int) -> tuple[str, bool, int]:
    text: list[str] = []
    quote, quoted = "", False
    while at < len(line) and (quote or not line[at].isspace()):
        char = line[at]
        if char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote, quoted = char, True
        elif char == "\\" and quote != "'" and at + 1 < len(line):
            at += 1
            text.append(line[at])
        else:
            text.append(char)
        at += 1
    if quote:
        raise UsageError(f"a quote ({quote}) is opened and not closed")
    return "".join(text), quoted, at
