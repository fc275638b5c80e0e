"""Guests that nothing is kept of: their images are the same afterwards, however QEMU ends."""

import hashlib
import os
import signal
import subprocess
from pathlib import Path

import pytest
from support import proc
from support.builders import TCG, guests
from support.cli import Cli
from support.world import until

pytestmark = pytest.mark.usefixtures("netns", "tun")
NAMES = ("raw.raw", "own.qcow2", "over.qcow2", "base.raw")
DRIVES = (
    '[[drive]]\nimage = "raw.raw"\n[[drive]]\nimage = "own.qcow2"\ninterface = "scsi"\n'
    '[[drive]]\nimage = "over.qcow2"\nbase = "base.raw"\n[[drive]]\nimage = "new.qcow2"\nsize = "3M"\n'
    '[[drive]]\nimage = "fresh.qcow2"\nbase = "base.raw"\nsize = "2M"\n'
    '[[drive]]\nimage = "base.raw"\nreadonly = true\n'
)
SIZES = (1, 1, 1, 3, 2)
"""Those of the drives that are written to, in MiB."""


def make(images: Path) -> dict[str, str]:
    """The images that are there, and their digests: of two drives of the guest there is none yet."""
    for name in ("raw.raw", "base.raw"):
        (images / name).write_bytes(name[:1].encode() * (1 << 20))
    create = ["qemu-img", "create", "-q", "-f", "qcow2"]
    subprocess.run([*create, images / "own.qcow2", "1M"], check=True)
    subprocess.run([*create, "-b", images / "base.raw", "-F", "raw", images / "over.qcow2"], check=True)
    return digests(images)


def digests(images: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in images.iterdir()}


def backend(number: int) -> str:
    """The device of a drive, for QEMU's own reading and writing."""
    return f"drive{number}" if number == 1 else f"drive{number}/virtio-backend"


FAILED = "Pattern verification failed"


def io(kvmrun: Cli, number: int, words: str) -> None:
    """What QEMU says to that is in the log of the guest."""
    kvmrun.ok("monitor", "vm1", "--hmp", f'qemu-io -d {backend(number)} "{words}"')


def failed(kvmrun: Cli) -> int:
    """How many reads have found something else, once those before have been told."""
    kvmrun.ok("monitor", "vm1", "--hmp", f'qemu-io -d {backend(0)} "length"')
    log = until(lambda: text if (text := kvmrun.ok("log", "vm1", "-n", "1000").out).endswith("MiB\n") else "")
    return str(log).count(FAILED)


def access(pid: int, number: int) -> int:
    """Whether a process may write to what it has open."""
    info = Path(f"/proc/{pid}/fdinfo/{number}").read_text()
    return int(info.split("flags:")[1].split()[0], 8) & os.O_ACCMODE


def test_whatever_is_written_is_gone_with_qemu(lab: Path, kvmrun: Cli, images: Path) -> None:
    before = make(images)
    guests(lab, "vm1", text=TCG + "nic = []\n" + DRIVES)
    kvmrun.ok("vm1", "--throwaway", "--paused")
    for number, size in enumerate(SIZES):
        io(kvmrun, number, "write -P 120 0 64k")
        io(kvmrun, number, f"write -P 121 {(size << 20) - 65536} 64k")
        io(kvmrun, number, "read -P 120 0 64k")
    io(kvmrun, 0, "read -P 114 64k 64k")  # the rest is that of the image
    assert failed(kvmrun) == 0
    io(kvmrun, 0, "read -P 114 0 64k")
    assert failed(kvmrun) == 1
    pid = kvmrun.pid("vm1")
    named = [
        (number, path) for number, path in proc.held(pid).items() if path in {str(images / name) for name in NAMES}
    ]
    assert len({path for _, path in named}) == len(NAMES)
    assert {access(pid, number) for number, _ in named} == {os.O_RDONLY}
    assert digests(images) == before
    os.kill(pid, signal.SIGKILL)
    until(lambda: kvmrun.rows()["vm1"]["state"] == "stopped")
    assert digests(images) == before
    kvmrun.ok("vm1", "--paused")
    io(kvmrun, 0, "read -P 114 0 64k")
    assert failed(kvmrun) == 1
    assert set(digests(images)) == {*before, "new.qcow2", "fresh.qcow2"}


def test_it_is_told_of_a_guest_that_runs(lab: Path, kvmrun: Cli, images: Path) -> None:
    before = make(images)
    guests(lab, "vm1", text=TCG + "nic = []\n" + DRIVES)
    assert "throwaway" in kvmrun.ok("vm1", "--throwaway", "-n").out
    kvmrun.ok("vm1", "--paused")
    refused = kvmrun("vm1", "--throwaway")
    assert (refused.code, "kvmrun restart vm1 --throwaway" in refused.err) == (6, True), refused.err
    assert kvmrun.rows()["vm1"]["throwaway"] is False
    kvmrun.ok("restart", "--force", "vm1", "--throwaway", "--paused")
    assert kvmrun.rows()["vm1"]["throwaway"] is True
    assert " +throwaway " in kvmrun.ok("list").out
    assert "+throwaway" in kvmrun.ok("show", "vm1").out
    assert kvmrun.ok("show", "vm1", "-o", "json").json()["throwaway"] is True
    assert "lost" in kvmrun.ok("vm1").out
    kvmrun.ok("vm1", "--throwaway")
    kvmrun.ok("kill", "vm1")
    assert kvmrun.rows()["vm1"]["throwaway"] is False
    assert set(before) <= set(digests(images))


def test_it_is_known_after_the_record_was_lost(lab: Path, kvmrun: Cli, images: Path, own_directories: Path) -> None:
    make(images)
    guests(lab, "vm1", "vm2", text=TCG + 'nic = []\n[[drive]]\nimage = "NAME.qcow2"\nsize = "1M"\ncache = "unsafe"\n')
    for name in ("vm1", "vm2"):
        path = lab / f"{name}.toml"
        path.write_text(path.read_text().replace("NAME", name))
    kvmrun.ok("vm1", "--throwaway")
    kvmrun.ok("vm2")
    for name in ("vm1", "vm2"):
        (own_directories / f"run/vm/{name}/record").unlink()
    kvmrun.ok("repair")
    assert {name: row["throwaway"] for name, row in kvmrun.rows().items()} == {"vm1": True, "vm2": False}


def test_a_definition_may_say_so_and_several_share_an_image(lab: Path, kvmrun: Cli, images: Path) -> None:
    before = make(images)
    text = TCG + 'nic = []\nthrowaway = true\n[[drive]]\nimage = "own.qcow2"\n'
    guests(lab, "vm1", "vm2", text=text)
    kvmrun.ok("vm1", "vm2", "--paused")
    assert [kvmrun.rows()[name]["throwaway"] for name in ("vm1", "vm2")] == [True, True]
    (images / "link.qcow2").symlink_to("own.qcow2")
    guests(lab, "vm3", text=text.replace("throwaway = true\n", "").replace("own", "link"))
    refused = kvmrun("vm3")
    assert (refused.code, "is running and has it" in refused.err) == (6, True), refused.err
    kvmrun.ok("kill", "--all")
    kvmrun.ok("vm3", "--paused")
    assert kvmrun("vm1").code == 6
    kvmrun.ok("kill", "--all")
    assert digests(images).keys() == {*before, "link.qcow2"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a small file system")
def test_without_room_nothing_is_left(lab: Path, kvmrun: Cli, images: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", images], check=True)
    try:
        (images / "own.raw").write_bytes(bytes(1 << 20))
        room = os.statvfs(images)
        (images / "fill").write_bytes(bytes(room.f_bavail * room.f_bsize - (64 << 10)))
        guests(lab, "vm1", text=TCG + 'nic = []\n[[drive]]\nimage = "own.raw"\n')
        before = digests(images)
        assert kvmrun("vm1", "--throwaway").code == 1
        assert (digests(images), os.statvfs(images).f_bavail) == (before, 16)
    finally:
        subprocess.run(["umount", images], check=True)
