"""Drives made larger: stopped, running and by the definition alone; never smaller, and nobody else's."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.builders import TCG, guests
from support.cli import Cli, Run
from support.qemu import held_by_another
from support.world import until

from kvmrun.errors import KvmrunError, NotRunning
from kvmrun.host.files import definition_files
from kvmrun.monitor.qmp.fd_passing import QmpConnection

DRIVE = '[[drive]]\nimage = "{0}"\n'


def made(path: Path, size: str = "1M", *words: str) -> Path:
    form = "qcow2" if path.suffix == ".qcow2" else "raw"
    subprocess.run(["qemu-img", "create", "-q", "-f", form, *words, path, size], check=True)
    return path


def size(path: Path) -> int:
    data = path.read_bytes()
    return int.from_bytes(data[24:32]) if data[:4] == b"QFI\xfb" else len(data)


class TestStopped:
    @pytest.mark.parametrize("name", ["own.raw", "own.qcow2"])
    def test_an_image_and_its_definition(self, lab: Path, run: Run, images: Path, name: str) -> None:
        path = made(images / name)
        path.chmod(0o640)
        before = path.stat()
        subprocess.run(
            ["qemu-io", "-f", path.suffix[1:], "-c", "write -P 7 0 64k", path], check=True, capture_output=True
        )
        guests(lab, "vm1", text=TCG + "# mine\n" + DRIVE.format(name) + 'size = "1M"  # small\n')
        done = run("resize", "vm1", "5M")
        assert done.code == 0, done.err
        assert size(path) == 5 << 20
        assert (lab / "vm1.toml").read_text().endswith('size = "5M"  # small\n')
        now = path.stat()
        assert (now.st_mode, now.st_uid, now.st_ino) == (before.st_mode, before.st_uid, before.st_ino)
        check = ["qemu-io", "-f", path.suffix[1:], "-c", "read -P 7 0 64k", "-c", "read -P 0 64k 4M", path]
        assert "failed" not in subprocess.run(check, check=True, capture_output=True, text=True).stdout
        if path.suffix == ".qcow2":
            subprocess.run(["qemu-img", "check", "-q", path], check=True)
        again = run("resize", "vm1", "5M")
        assert (again.code, "already" in again.out) == (0, True), again.err
        assert "drive[0].size" not in run("check").out

    @pytest.mark.parametrize("lost", ["block_resize", "quit"])
    def test_an_answer_that_is_lost(
        self, lab: Path, run: Run, images: Path, monkeypatch: pytest.MonkeyPatch, lost: str
    ) -> None:
        execute = QmpConnection.execute

        def heard(self: QmpConnection, command: str, *words: Any, **more: Any) -> Any:
            answer = execute(self, command, *words, **more)
            if command == lost:
                raise NotRunning("the connection is closed")
            return answer

        monkeypatch.setattr(QmpConnection, "execute", heard)
        path = made(images / "own.qcow2")
        guests(lab, "vm1", text=TCG + DRIVE.format(path.name) + 'size = "1M"\n')
        done = run("resize", "vm1", "5M")
        assert (done.code, size(path)) == (0, 5 << 20), done.err
        assert 'size = "5M"' in (lab / "vm1.toml").read_text()

    def test_a_definition_that_cannot_be_written(
        self, lab: Path, run: Run, images: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(path: str, _: bytes) -> None:
            raise KvmrunError(f"cannot write {path}")

        monkeypatch.setattr(definition_files, "replace", full)
        path = made(images / "own.qcow2")
        guests(lab, "vm1", text=TCG + DRIVE.format(path.name) + 'size = "1M"\n')
        assert (run("resize", "vm1", "5M").code, size(path)) == (1, 1 << 20)

    def test_an_overlay_gets_a_size_and_keeps_it_when_it_is_reverted(self, lab: Path, run: Run, images: Path) -> None:
        base = made(images / "base.qcow2", "2M")
        path = made(images / "vm1.qcow2", "2M", "-b", str(base), "-F", "qcow2")
        text = base.read_bytes()
        guests(lab, "vm1", text=TCG + DRIVE.format("vm1.qcow2") + 'base = "base.qcow2"\n')
        assert run("resize", "vm1", "4M").code == 0
        assert 'size = "4M"' in (lab / "vm1.toml").read_text()
        assert run("revert", "vm1", "-y").code == 0
        assert (size(path), base.read_bytes()) == (4 << 20, text)
        assert run("resize", "vm1", "1M").code == 6

    def test_one_that_is_still_to_be_made(self, lab: Path, run: Run, images: Path) -> None:
        guests(lab, "vm1", text=TCG + DRIVE.format("new.qcow2") + 'size = "1M"\n')
        assert run("resize", "vm1", "512K").code == 0
        assert ('size = "512K"' in (lab / "vm1.toml").read_text(), list(images.iterdir())) == (True, [])

    def test_one_of_several(self, lab: Path, run: Run, images: Path) -> None:
        first, second = made(images / "a.raw"), made(images / "b.qcow2")
        guests(
            lab,
            "vm1",
            text=TCG + DRIVE.format("a.raw") + DRIVE.format("b.qcow2") + DRIVE.format("c.iso") + "readonly = true\n",
        )
        before = (lab / "vm1.toml").read_text()
        refused = run("resize", "vm1", "2M")
        assert (refused.code, "vm1:1 (b.qcow2)" in refused.err) == (2, True)
        assert run("resize", "vm1:3", "2M").code == 2
        assert run("resize", "vm1:c.iso", "2M").code == 6
        assert run("resize", "vm1:b.qcow2", "2M").code == 0
        assert run("resize", "vm1:0", "3M").code == 0
        assert (size(first), size(second)) == (3 << 20, 2 << 20)
        assert (lab / "vm1.toml").read_text() == before  # an image of one's own needs no size

    def test_what_is_refused_changes_nothing(self, lab: Path, run: Run, images: Path) -> None:
        path = made(images / "own.qcow2", "2M")
        text = TCG + DRIVE.format("own.qcow2") + 'size = "2M"\n'
        guests(lab, "vm1", text=text)
        guests(lab, "vm2", text='nic = [] # [[drive]]\ndrive = [{ image = "two.qcow2", size = "1M" }]\n')
        guests(lab, "vm3", text=TCG + DRIVE.format("gone.qcow2"))
        before = path.read_bytes()
        for words, code in (
            (("vm1", "1M"), 6), (("vm1", "lots"), 2), (("vm1", "3000"), 2), (("vm2", "2M"), 5), (("vm3", "2M"), 6),
            (("nobody", "2M"), 4),
        ):  # fmt: skip
            assert run("resize", *words).code == code, words
        assert (path.read_bytes(), (lab / "vm1.toml").read_text()) == (before, text)

    def test_what_another_program_has_open_is_left(self, lab: Path, run: Run, images: Path) -> None:
        path = made(images / "own.qcow2")
        guests(lab, "vm1", text=TCG + DRIVE.format("own.qcow2") + 'size = "1M"\n')
        with held_by_another(path):
            done = run("resize", "vm1", "2M")
        assert (done.code, "lock" in done.err) == (1, True), done.err
        assert 'size = "1M"' in (lab / "vm1.toml").read_text()


@pytest.mark.usefixtures("netns", "tun")
class TestRunning:
    def test_each_drive_of_a_guest_that_runs(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        base = made(images / "base.raw")
        made(images / "vm1.qcow2", "1M", "-b", str(base), "-F", "raw")
        made(images / "own.raw")
        text = TCG + "nic = []\n" + DRIVE.format("vm1.qcow2") + 'base = "base.raw"\n' + DRIVE.format("own.raw")
        guests(lab, "vm1", text=text + 'interface = "scsi"\n')
        kvmrun.ok("vm1", "--paused")
        kvmrun.ok("resize", "vm1:1", "3M")
        kvmrun.ok("resize", "vm1:vm1.qcow2", "2M")
        blocks = kvmrun.ok("monitor", "vm1", "-c", "query-block", "-o", "json").json()
        sizes = {one["qdev"]: one["inserted"]["image"]["virtual-size"] for one in blocks if "inserted" in one}
        assert sorted(sizes.values()) == [2 << 20, 3 << 20]
        assert (size(images / "own.raw"), 'size = "2M"' in (lab / "vm1.toml").read_text()) == (3 << 20, True)
        assert kvmrun("resize", "vm1:0", "1M").code == 6
        (lab / "vm1.toml").write_text(TCG + "nic = []\n" + DRIVE.format("other.raw"))
        made(images / "other.raw")
        assert kvmrun("resize", "vm1", "9M").code == 6
        assert size(images / "other.raw") == 1 << 20

    def test_a_throwaway_guest_is_refused(self, lab: Path, kvmrun: Cli, images: Path) -> None:
        path = made(images / "own.raw")
        guests(lab, "vm1", text=TCG + "nic = []\n" + DRIVE.format("own.raw"))
        kvmrun.ok("vm1", "--paused", "--throwaway")
        assert (kvmrun("resize", "vm1", "2M").code, size(path)) == (6, 1 << 20)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a small file system")
@pytest.mark.usefixtures("_own_mounts")
def test_a_full_disk_leaves_image_and_definition(lab: Path, kvmrun: Cli, images: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", images], check=True)
    try:
        path = made(images / "own.qcow2", "1M")
        room = os.statvfs(images)
        (images / "fill").write_bytes(bytes(room.f_bavail * room.f_bsize))
        text = TCG + DRIVE.format("own.qcow2") + 'size = "1M"\n'
        guests(lab, "vm1", text=text)
        assert kvmrun("resize", "vm1", "900T").code == 1
        assert (size(path), (lab / "vm1.toml").read_text()) == (1 << 20, text)
        subprocess.run(["qemu-img", "check", "-q", path], check=True)
    finally:
        subprocess.run(["umount", images], check=True)


@pytest.mark.usefixtures("netns", "tun")
def test_a_linux_guest_sees_it_and_what_it_writes_when_it_is_thrown_away_is_gone(
    lab: Path, kvmrun: Cli, demo: str, images: Path
) -> None:
    path = made(images / "own.raw")
    boot = f'[boot]\nkernel = "{demo}/demo-vmlinuz"\ninitrd = "{demo}/demo-agent"\ncmdline = "console=ttyS0"\n'
    guests(lab, "vm1", text='accel = "tcg"\nmemory = "192M"\nnic = []\n' + boot + DRIVE.format("own.raw"))
    kvmrun.limit = 180
    kvmrun.ok("vm1", "--wait=agent", "--timeout", "150")
    assert kvmrun.ok("exec", "vm1", "cat", "/sys/block/vda/size").out == "2048\n"
    kvmrun.ok("resize", "vm1", "3M")
    until(lambda: kvmrun.ok("exec", "vm1", "cat", "/sys/block/vda/size").out == "6144\n")
    kvmrun.ok("restart", "--force", "vm1", "--throwaway", "--wait=agent", "--timeout", "150")
    before = path.read_bytes()
    kvmrun.ok("exec", "vm1", "sh", "-c", "yes | dd of=/dev/vda bs=4096 count=768 conv=fsync")
    assert kvmrun.ok("exec", "vm1", "head", "-c", "4", "/dev/vda").out == "y\ny\n"
    os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
    until(lambda: kvmrun.rows()["vm1"]["state"] == "stopped")
    assert path.read_bytes() == before
