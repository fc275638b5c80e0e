"""Definitions to QEMU commands, both forms, as files to read in a change; and QEMU's own word that it takes them.

KVMRUN_GOLDEN=1 rewrites the files.
"""

import json
import os
import shlex
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import pytest

from kvmrun.config.load_lab import load_lab
from kvmrun.model.guest.drive import FileUse
from kvmrun.model.guest.qemu_option import BootFile, Handle, Option, Tap, argv
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths

HERE = Path(__file__).parent
QEMU = shutil.which("qemu-system-x86_64")
WHERE = Paths(vms=str(HERE / "vms.d"), run="/@TMP@/run", state="/@TMP@/state", root=True)
GUESTS = (
    *("minimal", "drives", "microvm", "cards", "screen", "viewer", "pc", "events"),
    *("seeded", "ignited", "credentialed"),
)
ALONE = {"-enable-kvm": ["-accel", "tcg"], "host": ["max"]}
HELLO = '{"execute": "qmp_capabilities"} {"execute": "query-status"} {"execute": "quit"}'


@pytest.fixture(scope="module")
def lab() -> Lab:
    return load_lab(WHERE.vms, WHERE.images)


def options(lab: Lab, guest: str) -> tuple[Option, ...]:
    use = FileUse(aio=("io_uring", "native"))
    return tuple(lab.guests[guest].options(lab.derived_runtimes(WHERE)[guest], vhost=True, use=use))


def table(options: Iterable[Option]) -> dict[Handle, Sequence[int]]:
    """Made-up descriptors for every handle, counted from 10."""
    numbers = count(10)
    handles = dict.fromkeys(handle for option in options for handle in option.handles())
    width = {one: one.queues * (1 + one.vhost) if isinstance(one, Tap) else 1 for one in handles}
    return {one: [next(numbers) for _ in range(width[one])] for one in handles}


def lines(words: Iterable[Sequence[str]]) -> str:
    return "".join(shlex.join(option) + "\n" for option in words)


def typed(lab: Lab, guest: str) -> list[Sequence[str]]:
    raw = [shlex.split(words) for words in lab.guests[guest].args]
    return [*argv(options(lab, guest), None), *raw]


def test_every_definition_is_valid_and_told(lab: Lab) -> None:
    assert not [problem for problem in lab.problems if not problem.warning]
    assert sorted(lab.guests) == sorted(GUESTS)


@pytest.mark.parametrize("guest", GUESTS)
def test_the_command_is_the_one_in_the_file(lab: Lab, guest: str) -> None:
    found = options(lab, guest)
    text = f"# as typed\n{lines(typed(lab, guest))}\n# as run\n{lines(argv(found, table(found)))}"
    file = HERE / f"{guest}.txt"
    if os.environ.get("KVMRUN_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("guest", GUESTS)
def test_no_drive_or_display_is_before_a_nic_on_the_bus(lab: Lab, guest: str) -> None:
    """Linux names a NIC after its slot: an installed guest keeps its network when its CD-ROM or display is removed."""
    devices = [str(one.props["id"]) for one in options(lab, guest) if one.flag == "device"]
    ports = lab.derived_runtimes(WHERE)[guest].ports
    assert devices[: len(ports)] == [port.name for port in ports]


@pytest.mark.skipif(not QEMU, reason="needs qemu-system-x86_64")
@pytest.mark.parametrize("guest", GUESTS)
def test_qemu_takes_the_command(lab: Lab, guest: str, own_directories: Path) -> None:
    place = lab.derived_runtimes(WHERE)[guest]
    for path in (place.directory, place.log, place.vnc, place.seed, WHERE.images):
        Path(here(path, own_directories)).mkdir(parents=True, exist_ok=True)
    for option in options(lab, guest):
        for handle in option.handles():
            if isinstance(handle, BootFile) and handle.path.startswith(place.seed):
                Path(here(handle.path, own_directories)).write_text("io.systemd.credential:name=value")
    for drive in lab.guests[guest].drives(place):
        make(drive.base, drive.chain_format(), own_directories)
        make(drive.image, drive.image_format(), own_directories)
    make(lab.guests[guest].boot.kernel, "kernel", own_directories)
    make(lab.guests[guest].boot.initrd, "raw", own_directories)
    words = [alone(here(word, own_directories)) for option in typed(lab, guest) for word in option]
    command = [str(QEMU), *(word for some in words for word in some), "-qmp", "stdio"]
    done = subprocess.run(command, input=HELLO, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert '"status": "prelaunch"' in done.stdout


def here(text: str, root: Path) -> str:
    return text.replace("/@TMP@", str(root))


def make(path: str | None, kind: str, root: Path) -> None:
    """An image of 1 MiB at `path`, or a kernel that says no more than that it is one."""
    if path and kind == "kernel":
        header = bytearray(4096)
        struct.pack_into("<B", header, 0x1F1, 1)
        struct.pack_into("<4sH", header, 0x202, b"HdrS", 0x20C)
        struct.pack_into("<I", header, 0x22C, 0x7FFFFFFF)
        Path(here(path, root)).write_bytes(header)
    elif path:
        made = ["qemu-img", "create", "-q", "-f", kind, here(path, root), "1M"]
        subprocess.run(made, check=True)


def alone(word: str) -> list[str]:
    """`word` for a QEMU that has neither KVM nor taps."""
    if word.startswith('{"type": "tap"'):
        return [json.dumps({"type": "user", "id": json.loads(word)["id"]})]
    return ALONE.get(word, [word])
