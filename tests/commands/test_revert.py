"""Reverting guests to the bases of their drives: what is replaced, what stays, and what is refused."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli, Run
from support.screen import screen

TYPED = "import sys; from kvmrun.cli.main import run; sys.exit(run(sys.argv[1:]))"
DRIVE = '[[drive]]\nimage = "{0}.qcow2"\nbase = "base.raw"\n'


def overlay(images: Path, name: str, *, data: bytes = b"") -> Path:
    """An overlay on the base, into which `data` was written as a guest would."""
    base, path = images / "base.raw", images / f"{name}.qcow2"
    if not base.exists():
        base.write_bytes(b"B" * (1 << 20))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", path], check=True)
    if data:
        subprocess.run(["qemu-io", "-c", f"write -P {data[0]} 0 64k", path], check=True, capture_output=True)
    return path


def content(path: Path) -> bytes:
    """The first bytes that a guest would read."""
    raw = path.with_suffix(".out")
    subprocess.run(["qemu-img", "convert", "-O", "raw", path, raw], check=True)
    return raw.read_bytes()[:4]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(images: Path) -> set[str]:
    return {path.name for path in images.iterdir()}


class TestReverted:
    def test_drives_with_a_base_are_fresh_and_all_else_stays(self, lab: Path, run: Run, images: Path) -> None:
        first, second = overlay(images, "vm1", data=b"x"), overlay(images, "data", data=b"y")
        own = images / "own.raw"
        own.write_bytes(b"O" * 4096)
        first.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(first, 12345, 12345)
        text = TCG + DRIVE.format("vm1") + DRIVE.format("data") + '[[drive]]\nimage = "own.raw"\n'
        guests(lab, "vm1", text=text)
        before = first.stat()
        base, kept = digest(images / "base.raw"), digest(own)
        identity = run("show", "vm1", "-o", "json").json()["runtime"]
        done = run("revert", "vm1", "-y")
        assert (done.code, str(own) in done.out) == (0, True), done.err
        assert [content(first), content(second)] == [b"BBBB"] * 2
        now = first.stat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
        assert (digest(images / "base.raw"), digest(own)) == (base, kept)
        assert (lab / "vm1.toml").read_text() == text
        assert run("show", "vm1", "-o", "json").json()["runtime"] == identity
        assert not [name for name in names(images) if name.startswith(".")]

    def test_the_size_is_that_of_the_definition(self, lab: Path, run: Run, images: Path) -> None:
        path = overlay(images, "vm1", data=b"x")
        guests(lab, "vm1", text=TCG + DRIVE.format("vm1") + 'size = "4M"\n')
        assert run("revert", "vm1", "-y").code == 0
        assert int.from_bytes(path.read_bytes()[24:32]) == 4 << 20

    def test_a_group_is_reverted_guest_by_guest(self, lab: Path, run: Run, images: Path) -> None:
        for name in ("vm1", "vm2", "vm3"):
            overlay(images, name, data=b"x")
            guests(lab, name, text=TCG + 'groups = ["web"]\n' + DRIVE.format(name))
        (lab / "vm2.toml").write_text(TCG + 'groups = ["web"]\nprotect = true\n' + DRIVE.format("vm2"))
        assert run("revert", "@web", "--yes").code == 6
        assert [content(images / f"vm{number}.qcow2") for number in (1, 2, 3)] == [b"BBBB", b"xxxx", b"BBBB"]

    def test_a_link_is_followed(self, lab: Path, run: Run, images: Path) -> None:
        path = overlay(images, "real", data=b"x")
        (images / "vm1.qcow2").symlink_to(path.name)
        guests(lab, "vm1", text=TCG + DRIVE.format("vm1"))
        assert run("revert", "vm1", "-y").code == 0
        assert (content(path), (images / "vm1.qcow2").is_symlink()) == (b"BBBB", True)

    def test_an_image_that_is_still_to_be_made_is_left_to_the_first_start(
        self, lab: Path, run: Run, images: Path
    ) -> None:
        (images / "base.raw").write_bytes(bytes(1 << 20))
        guests(lab, "vm1", text=TCG + DRIVE.format("vm1"))
        assert run("revert", "vm1").code == 0
        assert names(images) == {"base.raw"}


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (TCG, "no drive with a base"),
            (TCG + '[[drive]]\nimage = "own.raw"\n', "own.raw"),
            (TCG + '[[drive]]\nimage = "own.raw"\nformat = "qcow2"\nbase = "base.raw"\n', "not a qcow2 image"),
            (TCG + '[[drive]]\nimage = "whole.qcow2"\nbase = "base.raw"\n', "is no overlay"),
            (TCG + '[[drive]]\nimage = "vm1.qcow2"\nbase = "gone.raw"\n', "gone.raw"),
            (TCG + DRIVE.format("vm1") + 'size = "1K"\n', "hide the end of its base"),
        ],
    )
    def test_what_is_no_overlay_on_a_base(self, lab: Path, run: Run, images: Path, text: str, says: str) -> None:
        overlay(images, "vm1", data=b"x")
        (images / "own.raw").write_bytes(b"O" * 4096)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", images / "whole.qcow2", "1M"], check=True)
        guests(lab, "vm1", text=text)
        before = {name: digest(images / name) for name in names(images)}
        done = run("revert", "vm1", "-y")
        assert (done.code, says in done.err) == (6, True), done.err
        assert {name: digest(images / name) for name in names(images)} == before

    def test_without_a_terminal_nobody_can_be_asked(self, lab: Path, run: Run, images: Path) -> None:
        path = overlay(images, "vm1", data=b"x")
        guests(lab, "vm1", text=TCG + DRIVE.format("vm1"))
        assert run("revert", "vm1").code == 2
        with screen(TYPED, "revert", "vm1", "-C", str(lab)) as one:
            one.wait_for("revert it?")
            one.type("n\r")
            assert one.end() == 1
        assert content(path) == b"xxxx"
        with screen(TYPED, "revert", "vm1", "-C", str(lab)) as one:
            one.wait_for("revert it?")
            one.type("y\r")
            assert one.end() == 0
        assert content(path) == b"BBBB"

    def test_an_image_of_two_guests(self, lab: Path, run: Run, images: Path) -> None:
        path = overlay(images, "vm1", data=b"x")
        guests(lab, "vm1", "vm2", text=TCG + DRIVE.format("vm1"))
        done = run("revert", "vm1", "-y")
        assert (done.code, "vm2" in done.err, content(path)) == (6, True, b"xxxx"), done.err

    @pytest.mark.usefixtures("netns", "tun")
    def test_a_guest_that_runs_or_whose_image_another_has(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        path = overlay(images, "vm1", data=b"x")
        guests(lab, "vm1", text=TCG + "nic = []\n" + DRIVE.format("vm1"))
        (images / "link.qcow2").symlink_to(path.name)
        guests(lab, "vm2", text=TCG + "nic = []\n" + DRIVE.format("link"))
        kvmrun.ok("vm1", "--paused")
        for name, says in (("vm1", "kvmrun stop vm1"), ("vm2", "vm1 is running and has it")):
            done = kvmrun("revert", name, "-y")
            assert (done.code, says in done.err) == (6, True), done.err
        kvmrun.ok("kill", "vm1")
        assert content(path) == b"xxxx"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a small file system")
@pytest.mark.usefixtures("_own_mounts")
def test_a_full_disk_changes_nothing(lab: Path, kvmrun: Cli, images: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", images], check=True)
    try:
        for name in ("vm1", "data"):
            overlay(images, name, data=b"x")
        guests(lab, "vm1", text=TCG + DRIVE.format("vm1") + DRIVE.format("data"))
        room = os.statvfs(images)
        (images / "fill").write_bytes(bytes(room.f_bavail * room.f_bsize - (300 << 10)))
        before = {name: digest(images / name) for name in names(images)}
        assert kvmrun("revert", "vm1", "-y").code == 1
        assert {name: digest(images / name) for name in names(images)} == before
    finally:
        subprocess.run(["umount", images], check=True)


def test_an_interrupt_at_any_moment_leaves_all_drives_as_they_were_or_fresh(
    lab: Path, kvmrun: Cli, images: Path, own_directories: Path
) -> None:
    note = own_directories / "note"
    guests(lab, "vm1", text=TCG + DRIVE.format("vm1") + DRIVE.format("data"))

    def reverted(moment: int) -> list[bytes]:
        paths = [overlay(images, name, data=b"x") for name in ("vm1", "data")]
        kvmrun.call("revert", "vm1", "-y", harm=("moment:SIGINT", str(note), str(moment)))
        assert not [name for name in names(images) if name.startswith(".")]
        found = [content(path) for path in paths]
        for path in paths:
            path.unlink()
        return found

    assert reverted(-1) == [b"BBBB"] * 2
    total = int(note.read_text().split()[0])
    for moment in range(total - 1, 0, -(total // 9)):
        assert reverted(moment) in ([b"xxxx"] * 2, [b"BBBB"] * 2), moment
