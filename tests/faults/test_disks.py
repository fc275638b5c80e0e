"""Disks that the host itself uses are no guest's image: mounted ones, their partitions, the files behind them."""

import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.builders import TCG
from support.cli import Cli

from kvmrun.errors import Refused
from kvmrun.host.facts import block_device

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: for loop devices")
DISK = TCG + 'nic = []\n[[drive]]\nimage = "{}"\nformat = "raw"\n{}'


@pytest.fixture
def loop(own_directories: Path) -> Iterator[tuple[Path, Path]]:
    """(a loop device, the file behind it) with an ext2 file system."""
    if not shutil.which("losetup") or not shutil.which("mke2fs"):
        pytest.skip("needs losetup and mke2fs")
    file = own_directories / "disk.raw"
    file.write_bytes(bytes(4 << 20))
    subprocess.run(["mke2fs", "-q", "-F", str(file)], check=True, capture_output=True)
    made = subprocess.run(["losetup", "-f", "--show", str(file)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr}")
    at = Path(made.stdout.strip())
    yield at, file
    subprocess.run(["losetup", "-d", str(at)], check=True)


@contextmanager
def mounted(at: Path, place: Path) -> Iterator[None]:
    """Mounted in a mount namespace of its own: the claim on the disk is the whole host's."""
    place.mkdir(exist_ok=True)
    script = 'mount -t ext2 "$1" "$2" && echo mounted && read -r _'
    words = ["unshare", "-m", "sh", "-c", script, "sh", str(at), str(place)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin
        assert child.stdout
        if child.stdout.readline() != "mounted\n":
            pytest.skip("the file system cannot be mounted here")
        yield
        child.stdin.close()


@contextmanager
def claimed(at: Path, _: Path) -> Iterator[None]:
    """As swap, LVM and RAID claim a disk: exclusively."""
    fd = os.open(at, os.O_RDWR | os.O_EXCL)
    try:
        yield
    finally:
        os.close(fd)


def opened(path: Path, *, readonly: bool = False) -> int:
    at = os.open(path, os.O_PATH)
    try:
        return block_device.claim_exclusively(at, str(path), readonly=readonly)
    finally:
        os.close(at)


@pytest.mark.usefixtures("netns", "tun")
@pytest.mark.parametrize("use", [mounted, claimed])
def test_a_disk_that_the_host_uses_is_refused(
    lab: Path, kvmrun: Cli, own_directories: Path, loop: tuple[Path, Path], use: Callable[..., Iterator[None]]
) -> None:
    at, file = loop
    link = own_directories / "link"
    link.symlink_to(at)
    before = file.read_bytes()
    with use(at, own_directories / "mnt"):
        for path in (at, file, link):
            for more in ("", "readonly = true\n"):
                (lab / "vm1.toml").write_text(DISK.format(path, more))
                result = kvmrun("vm1")
                assert (result.code, str(path) in result.err) == (6, True), result
    assert kvmrun.rows()["vm1"]["state"] == "stopped"
    assert len(file.read_bytes()) == len(before)


@pytest.mark.usefixtures("netns", "tun")
def test_a_disk_that_nobody_uses_is_a_guests_alone(
    lab: Path, kvmrun: Cli, own_directories: Path, loop: tuple[Path, Path]
) -> None:
    at, _ = loop
    (lab / "vm1.toml").write_text(DISK.format(at, ""))
    kvmrun.ok("vm1", "--paused")
    with pytest.raises(Refused), mounted_or_refused(at):
        pass
    link = own_directories / "link"
    link.symlink_to(at)
    (lab / "vm2.toml").write_text(DISK.format(link, ""))
    result = kvmrun("vm2")
    assert (result.code, "vm1" in result.err) == (6, True), result
    kvmrun.ok("kill", "vm1")
    kvmrun.ok("vm1", "--paused")
    kvmrun.ok("kill", "vm1")
    (lab / "vm1.toml").write_text(DISK.format(at, "readonly = true\n"))
    (lab / "vm2.toml").write_text(DISK.format(at, "readonly = true\n"))
    kvmrun.ok("vm1", "vm2", "--paused")
    kvmrun.ok("kill", "vm1", "vm2")


@contextmanager
def mounted_or_refused(at: Path) -> Iterator[None]:
    """The kernel refuses others what a guest writes to."""
    os.close(opened(at))
    yield


def test_the_file_behind_a_loop_device_that_nobody_uses_may_be_an_image(loop: tuple[Path, Path]) -> None:
    os.close(opened(loop[1]))


def node(directory: Path, name: str) -> Path:
    """A device node for a partition: not every /dev has one by itself."""
    number = Path(f"/sys/class/block/{name}/dev")
    if not number.exists():
        pytest.skip("loop devices have no partitions here")
    major, _, minor = number.read_text().partition(":")
    os.mknod(directory / name, 0o600 | stat.S_IFBLK, os.makedev(int(major), int(minor)))
    return directory / name


def test_a_disk_of_which_a_partition_is_used_and_the_reverse(own_directories: Path) -> None:
    file = own_directories / "parts.raw"
    entries = (struct.pack("<4xB3xII", 0x83, start, 4096) for start in (2048, 8192))
    file.write_bytes(bytes(446) + b"".join(entries) + bytes(32) + b"\x55\xaa" + bytes((8 << 20) - 512))
    made = subprocess.run(["losetup", "-P", "-f", "--show", str(file)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr}")
    whole = Path(made.stdout.strip())
    try:
        first, second = (node(own_directories, f"{whole.name}p{number}") for number in (1, 2))
        with claimed(first, file):
            for path in (first, whole, file):
                with pytest.raises(Refused):
                    opened(path)
            os.close(opened(second))
        with claimed(whole, file), pytest.raises(Refused):
            opened(first)
    finally:
        subprocess.run(["losetup", "-d", str(whole)], check=True)
