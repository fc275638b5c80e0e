"""Findings about the host for people: a mark and a sentence for each, and the fix below it."""

from collections.abc import Iterable, Iterator

from kvmrun.model.finding import Finding
from kvmrun.model.printable import printable
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.output import BOLD, END, GREEN, RED, YELLOW, fold

_MARKS = {"ok": "ok", "warning": "warning", "problem": "PROBLEM"}
_WELL = "nothing that was looked at is in the guests' way"
_COLOURS = {"ok": GREEN, "warning": YELLOW, "problem": RED}


def pasteable(one: Finding) -> Finding:
    """The finding with commands that mean this lab, for people and for programs."""
    return one.replace(text=fix(one.text), fix=fix(one.fix), permanent=fix(one.permanent))


def finding_lines(found: Iterable[Finding], *, color: bool) -> Iterator[str]:
    """The word tells how bad it is; a colour only repeats it."""
    for one in found:
        mark = f"{_MARKS[one.level]:<8}"
        text = fold(f"{mark} {printable(one.subject, 60)}: {printable(one.text, 1000)}", 9)
        yield f"{_COLOURS[one.level]}{mark}{END}{text[len(mark) :]}" if color else text
        yield from fix_lines(one, 9, color=color)


def fix_lines(one: Finding, indent: int, *, color: bool) -> Iterator[str]:
    """The fix, how long it lasts and what makes it permanent, a line for each."""
    lasts = f"until {one.lasts}" if one.lasts else ""
    for word, text in (("fix", one.fix), ("lasts", lasts), ("permanent", one.permanent)):
        if text:
            bold, end = (BOLD, END) if color and word != "lasts" else ("", "")
            yield f"{'':<{indent}}{word}: {bold}{printable(text, 1000)}{end}"


def doctor_verdict(found: Iterable[Finding]) -> str:
    """What may be said of the whole: only what was looked at or tried is known to be well."""
    problems = sum(one.level == "problem" for one in found)
    return f"{problems} problem{'s' if problems > 1 else ''} in the way" if problems else _WELL
