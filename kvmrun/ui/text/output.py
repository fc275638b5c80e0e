"""Answers, announcements and complaints of a conversation, one printable line at a time."""

import json
import os
import re
import sys
import time
from collections.abc import Mapping

from kvmrun.errors import KvmrunError
from kvmrun.model.event import GuestEvent
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.ui.text.line_folding import fold_to_terminal

BOLD, DIM, RED, YELLOW, CYAN, GREEN, END = (f"\x1b[{code}m" for code in ("1", "2", "31", "33", "36", "32", "0"))
_TOKEN = re.compile(r'(?P<key>"(?:[^"\\]|\\.)*")(?=: )|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>\b(?:true|false|null)\b)')
_LONGEST = 2000
_DEEPEST = 100
_COLOUR = {"key": CYAN, "text": GREEN, "word": YELLOW}


class PrintedValue(Value):
    """What a command returned: shown as JSON."""

    json: object


Answer = PrintedValue | tuple[str, ...] | None


def use_colour(choice: str) -> bool:
    """Whether to use colours on standard output; `choice` is auto, always or never."""
    if choice != "auto":
        return choice == "always"
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"


def print_line(line: str, *, style: str = "", color: bool) -> None:
    """One line; `style` is an escape sequence, used only with `color`."""
    text = _whole(line)
    sys.stdout.write(f"{style}{text}{END}\n" if color and style else f"{text}\n")


def fold(text: str, indent: int) -> str:
    """`text` in lines that fit the terminal on standard output, `indent` after the first; one line where it is none."""
    return fold_to_terminal(text, sys.stdout, indent=indent)


def print_answer(answer: Answer, *, color: bool) -> None:
    """An answer for people: JSON spread over lines, with its parts in colours; text as it is."""
    if isinstance(answer, PrintedValue):
        for line in _json(answer.json, indent=2, ensure_ascii=False).split("\n"):
            text = _whole(line)
            sys.stdout.write((_TOKEN.sub(_paint, text) if color else text) + "\n")
    else:
        for line in answer or ():
            print_line(line, color=False)


def print_json(value: object) -> None:
    """A value for programs: JSON on one line, all of it ASCII that no terminal acts upon."""
    sys.stdout.write(_json(value, sort_keys=True).replace("\x7f", "\\u007f") + "\n")


def print_error(error: KvmrunError, *, color: bool) -> None:
    """An error inside a conversation, where it ends nothing."""
    print_line(error.message, style=RED, color=color)
    from kvmrun.ui.text.caller import fix

    for line in (error.reason, fix(error.fix), *error.lines):
        if line:
            print_line(f"  {line}", color=color)


def shell_event_line(event: Mapping[str, object]) -> str:
    """An event on one line: the time it came, its name, its data."""
    data = event.get("data")
    return f"{time.strftime('%H:%M:%S')} {event.get('event')}" + (f" {_json(data, ensure_ascii=False)}" if data else "")


def event_line(event: GuestEvent) -> str:
    """An event of some guest for people: when, who, what, and as much of its data as one can read."""
    data = f"  {_json(event.data, ensure_ascii=False)}" if event.data else ""
    moment = f"{time.strftime('%H:%M:%S', time.localtime(event.at))}.{int(event.at % 1 * 1000):03}"
    return printable(f"{moment}  {event.guest}  {event.name}{data}", limit=_LONGEST) + "\n"


def _json(value: object, *, indent: int | None = None, ensure_ascii: bool = True, sort_keys: bool = False) -> str:
    require_shallow(value)
    return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii, sort_keys=sort_keys)


def require_shallow(value: object) -> None:
    """Raises KvmrunError where `value` is nested too deeply to be shown."""
    if _is_too_deep(value):
        raise KvmrunError("the answer is nested too deeply to be shown")


def _is_too_deep(value: object) -> bool:
    """Whether something in `value` is more than _DEEPEST lists and mappings down.

    Python's own limit is no protection: from 3.14 on it is the size of the stack, and 40 KB of brackets, indented, are
    800 MB of text.
    """
    level = [value]
    for _ in range(_DEEPEST + 1):
        tables = [one.values() for one in level if isinstance(one, Mapping)]
        level = [inner for one in (*tables, *(one for one in level if isinstance(one, list | tuple))) for inner in one]
        if not level:
            return False
    return True


def _whole(line: str) -> str:
    """Printable and not cut: an answer was asked for. An escape takes at most ten characters."""
    return printable(line, limit=max(4096, 10 * len(line)))


def _paint(token: re.Match[str]) -> str:
    return f"{_COLOUR[token.lastgroup or 'word']}{token[0]}{END}"
