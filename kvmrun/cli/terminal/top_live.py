"""kvmrun top on a screen of its own: what guests use, and keys that pause one or open its console."""

from collections.abc import Callable

from kvmrun.api.guest.pause_resume_reset import pause, resume
from kvmrun.api.lab import LabHandle
from kvmrun.api.status.live_status import hidden_guests_note
from kvmrun.cli.arguments import Args
from kvmrun.errors import KvmrunError
from kvmrun.model.guest.guest_usage import UsageSnapshot
from kvmrun.model.printable import printable
from kvmrun.ui.screen import fullscreen
from kvmrun.ui.screen.top_view import Top
from kvmrun.ui.text.caller import fix

_FIRST = 0.5
"""The first rates come sooner than the others."""


def live(args: Args, lab: LabHandle, look: Callable[[], UsageSnapshot], every: float) -> int:
    """Show the screen until q or a signal, with what `look` finds every so many seconds; the exit code."""
    from kvmrun.cli.commands import console

    feed = fullscreen.Poller(look, every, first=min(every, _FIRST))
    view = Top(feed, lambda name, state: _pausing(lab, name, state), every)
    view.note = hidden_guests_note(lab.paths)
    while (left := fullscreen.show(view, feed.fd, color=args.color)) == "console":
        try:
            console.run(Args(**vars(args), guest=view.selected, escape="^]", steal=False, unfiltered=False))
        except KvmrunError as error:
            view.note = _in_a_line(error)
    return fullscreen.exit_code(left)


def _pausing(lab: LabHandle, name: str, state: str) -> tuple[str, Callable[[], str]] | None:
    """What p asks and does: a guest that runs is paused, one that is paused goes on."""
    if state in {"running", "degraded"}:
        return f"pause {name}?", lambda: _told(pause(lab, [name])[name])
    if state == "paused":
        return f"let {name} go on?", lambda: _told(resume(lab, [name])[name])
    return None


def _told(result: object) -> str:
    return _in_a_line(result) if isinstance(result, KvmrunError) else f"{result}"


def _in_a_line(error: KvmrunError) -> str:
    return printable(": ".join(filter(None, [error.message, error.reason, fix(error.fix)])), 400)
