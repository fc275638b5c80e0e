"""Images by other names than their own, and once whoever had them has ended: never two at a time, never one too few."""

import os
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fcntl import F_WRLCK, fcntl
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.proc import held
from support.tally import Tally
from support.world import world, world_after

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: bridges, taps and block devices"),
    pytest.mark.usefixtures("netns", "tun"),
]
MIB = 1 << 20
_F_OFD_GETLK = 36


def _img(*words: object) -> None:
    subprocess.run(["qemu-img", "create", "-q", *map(str, words)], check=True)


def on(path: object, more: str = "", nic: str = "nic = []\n") -> str:
    """A guest with a raw drive at `path`."""
    return TCG + nic + f'[[drive]]\nimage = "{path}"\nformat = "raw"\n{more}'


@contextmanager
def loop(path: Path, *words: str) -> Iterator[str]:
    """A loop device over `path`."""
    done = subprocess.run(
        ["losetup", "--find", "--show", *words, str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no loop device to be had: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=False)


def _node(path: Path, device: str) -> Path:
    """Another node of the same device."""
    os.mknod(path, 0o600 | stat.S_IFBLK, os.stat(device).st_rdev)
    return path


def aliases(images: Path, stack: ExitStack) -> Iterator[tuple[str, str, str, bool]]:
    """(what, the first guest, the second, whether both may run) of ways to one disk by its devices."""
    file = images / "a.raw"
    first, second = (stack.enter_context(loop(file)) for _ in range(2))
    half = stack.enter_context(loop(file, "--offset", f"{MIB}", "--sizelimit", f"{MIB}"))
    above = stack.enter_context(loop(Path(first)))
    node = _node(images / "node", first)
    other = stack.enter_context(loop(images / "b.raw"))
    yield "a file, and a loop device over it", on(file), on(first), False
    yield "a loop device, and its file", on(first), on(file), False
    yield "two loop devices over one file", on(first), on(second), False
    yield "a second node of the same device", on(first), on(node), False
    yield "a node first", on(node), on(first), False
    yield "a file, and a loop device over a part of it", on(file), on(half), False
    yield "a part, and the whole of another device", on(half), on(second), False
    yield "a loop device over a loop device", on(file), on(above), False
    yield "the lower of them last", on(above), on(first), False
    yield "a second that only reads", on(file), on(first, "readonly = true\n"), False
    yield "two that only read", on(file, "readonly = true\n"), on(first, "readonly = true\n"), True
    yield "another file's device", on(first), on(other), True
    yield from mappings(file, first, stack)


def mappings(file: Path, lower: str, stack: ExitStack) -> Iterator[tuple[str, str, str, bool]]:
    """The same by the device mapper, where the kernel has one."""
    if "device-mapper" not in Path("/proc/misc").read_text():
        return
    name = f"kvmrun-test-{os.getpid()}"
    subprocess.run(["dmsetup", "create", name, "--table", f"0 2048 linear {lower} 0"], check=True)
    stack.callback(subprocess.run, ["dmsetup", "remove", name], check=False)
    yield "a file, and a mapping onto it", on(file), on(f"/dev/mapper/{name}"), False
    yield "a mapping, and its device", on(f"/dev/mapper/{name}"), on(lower), False


@pytest.mark.timeout(300)
def test_one_disk_by_two_devices_is_one_disk(
    lab: Path, kvmrun: Cli, own_directories: Path, images: Path, tally: Tally
) -> None:
    row = tally.row("D-02", "one disk as file, loop device, second node, mapping: the second refused, nothing made", 10)
    for name in ("a.raw", "b.raw"):
        (images / name).write_bytes(bytes(2 * MIB))
    with ExitStack() as stack:
        every = list(aliases(images, stack))
        for what, first, second, both in every if tally.full else every[::4]:
            guests(lab, "vm1", text=first)
            guests(lab, "vm2", text=second.replace("nic = []\n", ""))
            with row.case(what):
                kvmrun.ok("--paused", "vm1")
                before = world()
                result = kvmrun("--paused", "vm2")
                assert result.code == (0 if both else 6), result
                assert both or "vm1" in result.err
                if not both:
                    assert world_after(before) == before
            kvmrun("kill", "vm1", "vm2")


def kinds(images: Path, stack: ExitStack) -> dict[str, tuple[str, list[Path]]]:
    """Guests by what they have, with the files that their QEMU locks."""
    for name in ("a.raw", "b.raw"):
        (images / name).write_bytes(bytes(2 * MIB))
    _img("-f", "qcow2", images / "base.qcow2", "1M")
    (images / "k").write_bytes(bytes(MIB))
    device = Path(stack.enter_context(loop(images / "b.raw")))
    raw, base = images / "a.raw", images / "base.qcow2"
    every = ("scsi", "ide", "nvme")
    found = {
        "a raw image": (on(raw, nic=""), [raw]),
        "an overlay": ('[[drive]]\nimage = "over.qcow2"\nbase = "base.qcow2"\n', [images / "over.qcow2", base]),
        "a new image": ('[[drive]]\nimage = "new.qcow2"\nsize = "1M"\n', [images / "new.qcow2"]),
        "an image only to read": (on(raw, "readonly = true\n"), [raw]),
        "a medium": (on(raw, 'media = "cdrom"\n'), [raw]),
        "a kernel": ('boot = { kernel = "k" }\n' + on(raw).removeprefix(TCG), [raw]),
        "a block device": (on(device), [device]),
    }
    found |= {f"on {one}": (on(raw, f'interface = "{one}"\n'), [raw]) for one in every}
    found["all of it"] = (on(raw) + on(device).removeprefix(TCG + "nic = []\n"), [raw, device])
    return {what: (text if TCG in text else TCG + text, files) for what, (text, files) in found.items()}


def is_locked(path: Path) -> bool:
    """Whether somebody would keep us from writing there."""
    fd = os.open(path, os.O_RDWR)
    try:
        asked = struct.pack("hhqqi4x", F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return bool(struct.unpack("hhqqi4x", fcntl(fd, _F_OFD_GETLK, asked))[0] == F_WRLCK - 1)
    finally:
        os.close(fd)


def having(paths: list[Path]) -> set[str]:
    """The pids and names of all processes that have one of these files open, by whatever name."""
    wanted = [path.stat() for path in paths]
    found = set()
    for pid in (int(one) for one in os.listdir("/proc") if one.isdigit()):
        try:
            opened = [os.stat(f"/proc/{pid}/fd/{number}") for number in held(pid)]
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        if any(os.path.samestat(one, two) for one in opened for two in wanted):
            found.add(f"{name} {pid}")
    return found


@pytest.mark.timeout(300)
def test_an_image_is_free_when_its_qemu_has_ended(lab: Path, kvmrun: Cli, images: Path, tally: Tally) -> None:
    row = tally.row("D-03", "images of a killed QEMU: nobody else had them open, their locks gone within 1 s", 10)
    limit = 1.0 if tally.full else 10.0  # other tests are at work beside this one
    with ExitStack() as stack:
        for number, (what, (text, files)) in enumerate(kinds(images, stack).items()):
            if not tally.full and number % 4:
                continue
            guests(lab, "vm1", text=text)
            with row.case(what):
                kvmrun.ok("--paused", "vm1")  # with network, name server and logger, which begin beside it
                pid = kvmrun.pid("vm1")
                assert having(files) == {f"qemu-system-x86 {pid}"}
                assert all(map(is_locked, files))
                os.kill(pid, signal.SIGKILL)
                began = time.monotonic()
                while any(map(is_locked, files)):
                    assert time.monotonic() < began + limit
                kvmrun.ok("--paused", "vm1")
            kvmrun("kill", "vm1")
