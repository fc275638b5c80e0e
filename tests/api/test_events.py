"""The events of guests as an iterator, which may be left at any time."""

import threading
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli

from kvmrun.api.conversation.events import events
from kvmrun.api.conversation.guest_log import read_log
from kvmrun.api.conversation.qmp_monitor import execute
from kvmrun.api.lab import open_lab
from kvmrun.errors import NoSuchGuest, NotRunning


@pytest.mark.usefixtures("netns")
def test_one_guest_is_asked_and_followed_from_a_thread(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1", "--paused")
    handle = open_lab(str(lab))
    assert execute(handle, "vm1", "query-status")["running"] is False
    found: list[str] = []

    def follow() -> None:
        for event in events(handle, ["vm1"], timeout=60):
            found.append(event.name)
            if event.name == "RESUME":
                return

    thread = threading.Thread(target=follow)
    thread.start()
    while thread.is_alive():
        execute(handle, "vm1", "stop")
        execute(handle, "vm1", "cont")
        thread.join(0.2)
    assert found[-1] == "RESUME"
    assert list(events(handle, ["vm1"], timeout=0)) == []
    assert read_log(handle, "vm1", lines=0) == []
    kvmrun.ok("kill", "vm1")
    with pytest.raises(NotRunning):
        execute(handle, "vm1", "query-status")
    with pytest.raises(NoSuchGuest):
        events(handle, ["vm9"])
