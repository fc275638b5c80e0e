"""What was found out about the host: one sentence, how severe it is, and how to fix it."""

from typing import Literal

from kvmrun.model.value import Value


class Finding(Value):
    """`subject` is the part of the host; `fix` a command or an edit, "" where nothing has to be fixed; `lasts` until
    what the fix holds, where that is not for good, and `permanent` what makes it hold.
    """

    subject: str
    level: Literal["ok", "warning", "problem"]
    text: str
    fix: str = ""
    permanent: str = ""
    lasts: str = ""


def ok(subject: str, text: str) -> Finding:
    return Finding(subject=subject, level="ok", text=text)


def warning(subject: str, text: str, fix: str) -> Finding:
    return Finding(subject=subject, level="warning", text=text, fix=fix)


def problem(subject: str, text: str, fix: str) -> Finding:
    return Finding(subject=subject, level="problem", text=text, fix=fix)
