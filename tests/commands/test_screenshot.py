"""What a guest's display shows, written by a QEMU that may open no file."""

import os
import signal
from pathlib import Path

import pytest
from support.builders import ALONE, guests
from support.cli import Cli
from support.world import opened

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")


def test_a_picture_is_written(lab: Path, kvmrun: Cli, tmp_path: Path) -> None:
    guests(lab, "vm1", text='display = "vnc"\n' + ALONE)
    kvmrun.ok("vm1")
    target = tmp_path / "screen.png"
    for _ in range(2):
        kvmrun.ok("screenshot", "vm1", str(target))
        assert target.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert target.read_bytes().rstrip(b"\0").endswith(b"IEND\xaeB`\x82")
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_in_the_way_leaves_nothing_behind(lab: Path, kvmrun: Cli, tmp_path: Path) -> None:
    guests(lab, "vm1", text=ALONE)
    target = tmp_path / "screen.png"
    target.write_text("old")
    assert kvmrun("screenshot", "vm1", str(target)).code == 3
    assert kvmrun("screenshot", "vm2", str(target)).code == 4
    assert kvmrun("screenshot", "vm1", "screen.jpeg").code == 2
    kvmrun.ok("vm1")
    done = kvmrun("screenshot", "vm1", str(target))
    assert (done.code, 'display = "vnc"' in done.err) == (6, True)
    done = kvmrun("screenshot", "vm1", str(tmp_path / "no/screen.png"))
    assert (done.code, f"{tmp_path}/no" in done.err) == (1, True)
    os.kill(kvmrun.pid("vm1"), signal.SIGSTOP)
    assert kvmrun("screenshot", "vm1", str(target), "--timeout", "0.5").code == 7
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_no_descriptor_stays_in_qemu(lab: Path, kvmrun: Cli, tmp_path: Path) -> None:
    guests(lab, "vm1", text='display = "vnc"\n' + ALONE)
    kvmrun.ok("vm1")
    before = opened(kvmrun.pid("vm1"))
    for number in range(5):
        kvmrun.ok("screenshot", "vm1", str(tmp_path / f"{number}.png"))
        assert opened(kvmrun.pid("vm1")) == before
