"""The road of a new user: from the example lab to a guest that boots a drive or CD-ROM of its own."""

import os
from pathlib import Path

import pytest
from support import sector
from support.cli import Cli

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")


@pytest.mark.parametrize(("kind", "medium"), [("--image", "drive"), ("--cdrom", "CD-ROM")])
@pytest.mark.usefixtures("netns", "tun")
def test_in_the_example_lab_a_new_guest_boots_its_own_medium(
    own_directories: Path, images: Path, kvmrun: Cli, kind: str, medium: str
) -> None:
    target = str(own_directories / "mine")
    kvmrun.ok("init", target)
    kvmrun.words[-1] = target
    path = images / ("own.raw" if kind == "--image" else "own.iso")
    (sector.disk if kind == "--image" else sector.cdrom)(path, b"hello from the medium")
    kvmrun.ok("new", "own", kind, str(path))
    text = Path(target, "own.toml").read_text().replace('display = "vnc"', 'display = "none"')
    Path(target, "own.toml").write_text(text)
    kvmrun.ok("own", "--accel", "tcg", "--wait=console:hello from the medium")
    assert "SeaBIOS" in kvmrun.ok("log", "own").out


def test_a_start_says_that_a_kernel_of_the_defaults_boots_instead(lab: Path, images: Path, kvmrun: Cli) -> None:
    sector.disk(images / "own.raw", b"hello")
    (images / "k").write_bytes(Path(__file__).read_bytes())
    (lab / "defaults.toml").write_text('accel = "tcg"\nmemory = "32M"\nnic = []\n[boot]\nkernel = "k"\n')
    (lab / "own.toml").write_text('[[drive]]\nimage = "own.raw"\n')
    done = kvmrun("own")
    assert "warning: own.toml: boot.kernel" in done.err
    assert 'unset = ["boot"]' in done.err
    assert 'unset = ["boot"]' in kvmrun("check").out
    (lab / "own.toml").write_text('unset = ["boot"]\n[[drive]]\nimage = "own.raw"\n')
    assert "warning" not in kvmrun.ok("own", "--wait=console:hello").err
