"""The viewer that is chosen for a display. No window is opened."""

import os
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli

from kvmrun import open_lab, viewer_command
from kvmrun.errors import HostLacks, Refused
from kvmrun.host.process import process

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")
DISPLAYS = {"socket": 'display = "vnc"\n', "port": 'display = "vnc:5999"\n'}


@pytest.mark.parametrize(
    ("display", "found"),
    [
        ("socket", ["xtigervncviewer", "{run}/vm/vm1/vnc/v"]),
        ("socket", ["vncviewer", "{run}/vm/vm1/vnc/v"]),
        ("socket", ["remote-viewer"]),
        ("port", ["remote-viewer", "vnc://127.0.0.1:5999"]),
        ("port", ["vncviewer", "127.0.0.1::5999"]),
        ("port", []),
    ],
)
def test_each_viewer_is_told_in_its_own_way(
    lab: Path, kvmrun: Cli, monkeypatch: pytest.MonkeyPatch, display: str, found: list[str]
) -> None:
    """`found` is the program that is installed, and its argument where it can show the display."""
    guests(lab, "vm1", text=f"{DISPLAYS[display]}{TCG}nic = []\n")
    kvmrun.ok("vm1")
    monkeypatch.setattr(process, "find_program", lambda name: f"/bin/{name}" if name in found[:1] else "")
    if len(found) < 2:
        with pytest.raises(HostLacks, match="VNC viewer"):
            viewer_command(open_lab(lab), "vm1")
        return
    words = viewer_command(open_lab(lab), "vm1")
    assert words == [f"/bin/{found[0]}", found[1].format(run=os.environ["KVMRUN_RUN_DIR"])]
    assert not words[1].startswith("/") or os.path.exists(words[1])


def test_a_guest_without_a_display_has_nothing_to_show(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=f"{TCG}nic = []\n")
    kvmrun.ok("vm1")
    with pytest.raises(Refused):
        viewer_command(open_lab(lab), "vm1")
    assert kvmrun("view", "vm1").code == 6
    assert kvmrun("view", "vm2").code == 4
