"""Clones of guests: the same content under another name, and nothing half made."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli, Run

OVER = '[[drive]]\nimage = "{0}.qcow2"\nbase = "base.raw"\n'
OWN = '[[drive]]\nimage = "{0}"\n'


def disks(images: Path) -> None:
    """A base, an overlay on it with a pattern, and a sparse image without a base."""
    (images / "base.raw").write_bytes(b"B" * (2 << 20))
    over = images / "vm1.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", images / "base.raw", "-F", "raw", over], check=True
    )
    subprocess.run(["qemu-io", "-c", "write -P 120 64k 64k", over], check=True, capture_output=True)
    with (images / "data.raw").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(1 << 20)
        file.write(b"D" * 4096)


def digests(images: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in images.iterdir()}


def reads(path: Path, *patterns: str) -> bool:
    """Whether a guest would read these patterns."""
    words = [word for pattern in patterns for word in ("-c", f"read -P {pattern}")]
    done = subprocess.run(["qemu-io", "-f", path.suffix[1:], *words, path], check=True, capture_output=True, text=True)
    return "failed" not in done.stdout


class TestCloned:
    def test_an_overlay_is_copied_over_the_same_base(self, lab: Path, run: Run, images: Path) -> None:
        disks(images)
        before = digests(images)
        text = '# mine\nuuid = "11111111-2222-3333-4444-555555555555"\ndisplay = "vnc:5901"\n' + TCG
        nic = '[[nic]]\nmac = "52:54:00:00:00:01"\naddress = "192.168.0.9"\nmodel = "e1000"\n'
        guests(lab, "vm1", text=text + OVER.format("vm1") + nic)
        done = run("clone", "vm1", "vm2")
        assert done.code == 0, done.err
        for told in ("uuid", "52:54:00:00:00:01", "192.168.0.9", "vnc:5901"):
            assert told in done.out, told
        assert (lab / "vm2.toml").read_text() == (
            '# mine\ndisplay = "vnc"\n' + TCG + OVER.format("vm2") + '[[nic]]\nmodel = "e1000"\n'
        )
        now = digests(images)
        assert now == before | {"vm2.qcow2": before["vm1.qcow2"]}
        assert reads(images / "vm2.qcow2", "66 0 64k", "120 64k 64k")
        first, second = (run("show", name, "-o", "json").json()["runtime"] for name in ("vm1", "vm2"))
        assert first["uuid"] != second["uuid"]
        assert first["ports"][0]["mac"] != second["ports"][0]["mac"]
        assert run("check").code == 0

    def test_a_full_clone_needs_no_base(self, lab: Path, run: Run, images: Path) -> None:
        disks(images)
        before = digests(images)
        cdrom = '[[drive]]\nimage = "base.raw"\nmedia = "cdrom"\n'
        guests(lab, "vm1", text=TCG + OVER.format("vm1") + OWN.format("data.raw") + OVER.format("fresh") + cdrom)
        refused = run("clone", "vm1", "vm2")
        assert (refused.code, "--full" in refused.err, digests(images)) == (6, True, before)
        done = run("clone", "vm1", "vm2", "--full")
        assert done.code == 0, done.err
        assert (lab / "vm2.toml").read_text() == (
            TCG + OWN.format("vm2.qcow2") + OWN.format("vm2-1.raw") + OWN.format("vm2-2.qcow2") + cdrom
        )
        now = digests(images)
        assert {name: now[name] for name in before} == before
        assert now["vm2-1.raw"] == now["data.raw"]
        assert (images / "vm2-1.raw").stat().st_blocks <= (images / "data.raw").stat().st_blocks + 64
        (images / "base.raw").rename(images / "away")
        assert reads(images / "vm2.qcow2", "66 0 64k", "120 64k 64k", "66 128k 1M")
        assert reads(images / "vm2-2.qcow2", "66 0 2M")
        assert b"base.raw" not in (images / "vm2.qcow2").read_bytes()[:4096]

    def test_images_that_are_still_to_be_made_are_left_so(self, lab: Path, run: Run, images: Path) -> None:
        (images / "base.raw").write_bytes(bytes(1 << 20))
        guests(lab, "vm1", text=TCG + OVER.format("vm1") + OWN.format("vm1-data.qcow2") + 'size = "1M"\n')
        assert run("clone", "vm1", "vm2").code == 0
        assert set(digests(images)) == {"base.raw"}
        assert 'image = "vm2-data.qcow2"' in (lab / "vm2.toml").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="guests have accounts of their own for root alone")
def test_what_a_guest_keeps_is_copied_for_the_account_of_the_clone(
    lab: Path, run: Run, images: Path, own_directories: Path
) -> None:
    guests(lab, "vm1", text=TCG)
    kept, copy = (own_directories / f"state/guest/{name}" for name in ("vm1", "vm2"))
    (kept / "inner").mkdir(parents=True)
    (kept / "machine").write_text("pc-q35-7.2\n")
    (kept / "inner/state").write_bytes(b"state")
    (kept / "inner/link").symlink_to("/etc/passwd")
    account = run("show", "vm1", "-o", "json").json()["runtime"]["uid"]
    for path in (kept / "inner", kept / "inner/state"):
        os.chown(path, account, account)
    assert run("clone", "vm1", "vm2").code == 0
    other = run("show", "vm2", "-o", "json").json()["runtime"]["uid"]
    assert ((copy / "machine").read_text(), (copy / "inner/state").read_bytes()) == ("pc-q35-7.2\n", b"state")
    assert os.readlink(copy / "inner/link") == "/etc/passwd"
    assert [(copy / name).stat().st_uid for name in ("machine", "inner", "inner/state")] == [0, other, other]
    (lab / "vm2.toml").unlink()
    assert run("clone", "vm1", "vm2").code == 6
    assert {path.name for path in kept.parent.iterdir()} == {"vm1", "vm2"}


class TestRefused:
    def test_what_is_there_already_or_cannot_be_copied(self, lab: Path, run: Run, images: Path) -> None:
        disks(images)
        guests(lab, "vm1", text=TCG + OVER.format("vm1"))
        guests(lab, "vm3", text=TCG + 'drive = [{ image = "vm3.qcow2", size = "1M" }]\n')
        guests(lab, "vm4", text=TCG + OWN.format("gone.raw"))
        (images / "taken.qcow2").touch()
        before = digests(images)
        for words, code in (
            (("vm1", "vm3"), 6), (("vm1", "taken"), 6), (("vm1", "networks"), 2), (("vm1", "A"), 2),
            (("nobody", "vm9"), 4), (("vm3", "vm9"), 5), (("vm4", "vm9", "--full"), 6),
        ):  # fmt: skip
            assert run("clone", *words).code == code, words
        assert (digests(images), {path.name for path in lab.iterdir()}) == (
            before,
            {"vm1.toml", "vm3.toml", "vm4.toml"},
        )

    @pytest.mark.usefixtures("netns", "tun")
    def test_a_guest_that_runs_or_whose_image_another_writes_to(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        disks(images)
        guests(lab, "vm1", text=TCG + "nic = []\n" + OVER.format("vm1"))
        (images / "link.qcow2").symlink_to("vm1.qcow2")
        guests(lab, "vm3", text=TCG + "nic = []\n" + OVER.format("link"))
        kvmrun.ok("vm1", "--paused")
        for name, says in (("vm1", "kvmrun stop vm1"), ("vm3", "vm1 is running and has it")):
            done = kvmrun("clone", name, "vm2")
            assert (done.code, says in done.err) == (6, True), done.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a small file system")
@pytest.mark.usefixtures("_own_mounts")
@pytest.mark.parametrize("words", [(), ("--full",)])
def test_without_room_nothing_is_left(lab: Path, kvmrun: Cli, images: Path, words: tuple[str, ...]) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", images], check=True)
    try:
        disks(images)
        guests(lab, "vm1", text=TCG + OVER.format("vm1"))
        room = os.statvfs(images)
        (images / "fill").write_bytes(bytes(room.f_bavail * room.f_bsize - (128 << 10)))
        before, left = digests(images), os.statvfs(images).f_bavail
        assert kvmrun("clone", "vm1", "vm2", *words).code == 1
        assert (digests(images), os.statvfs(images).f_bavail) == (before, left)
        assert not (lab / "vm2.toml").exists()
    finally:
        subprocess.run(["umount", images], check=True)


@pytest.mark.parametrize("words", [(), ("--full",)])
def test_an_interrupt_at_any_moment_leaves_a_whole_guest_or_none(
    lab: Path, kvmrun: Cli, images: Path, own_directories: Path, words: tuple[str, ...]
) -> None:
    disks(images)
    note = own_directories / "note"
    guests(lab, "vm1", text=TCG + OVER.format("vm1"))
    before = digests(images)

    def cloned(moment: int) -> bool:
        kvmrun.call("clone", "vm1", "vm2", *words, harm=("moment:SIGINT", str(note), str(moment)))
        there = (lab / "vm2.toml").exists()
        assert set(digests(images)) - before.keys() == ({"vm2.qcow2"} if there else set()), moment
        for path in (lab / "vm2.toml", images / "vm2.qcow2"):
            path.unlink(missing_ok=True)
        return there

    assert cloned(-1)
    total = int(note.read_text().split()[0])
    assert False in {cloned(moment) for moment in range(total - 1, 0, -(total // 7))}
    assert {name: digest for name, digest in digests(images).items() if name in before} == before
