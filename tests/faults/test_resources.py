"""Disks that are full, descriptors, processes and memory that run out, and clocks that jump."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli, Result
from support.harm import empty, fill
from support.scene import IMAGE, Whole, honest
from support.screen import screen
from support.tally import Tally
from support.world import processes, until

pytestmark = pytest.mark.usefixtures("netns", "tun")

SCRIPT = "import sys\nfrom kvmrun.cli.main import run\ncode = run(sys.argv[1:])\nsys.stdout.flush()\nsys.exit(code)\n"
WRITER = (
    "31c08ed88ed0bc007cfbbe397cb80043b281cd13b02e7302b04550bafd03eca82074fb58baf803ee"
    "668306417c40668126417cffff0100ebd110004000000000100000000000000000"
)
"""A boot sector that writes 32 KiB after 32 KiB to the second drive, and prints a dot for each, an E for an error."""


@contextmanager
def tmpfs(path: Path, size: str) -> Iterator[Path]:
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes=2000,mode=755", "none", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def small(netns: None, own_directories: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 4 MB with everything of ours in it: run directory and state."""
    with tmpfs(own_directories / "fs", "4M") as found:
        monkeypatch.setenv("KVMRUN_RUN_DIR", str(found / "run"))
        monkeypatch.setenv("KVMRUN_STATE_DIR", str(found / "state"))
        (found / "state/images").mkdir(parents=True)
        yield found


def test_a_full_run_directory_stops_nobody(small: Path, lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("R-01", "the run directory is full while guests run", 20)
    rounds = 2 if row.full else 1
    for _ in range(rounds):
        guests(lab, "vm1", "vm2", "vm3", text=TCG)
        kvmrun.ok("vm1", "vm2", "vm3")
        pids = {name: one["pid"] for name, one in kvmrun.rows().items()}
        fill(str(small))
        for words in FULL:
            with row.case(" ".join(words)):
                kvmrun.ok(*words)
        with row.case("console"), screen(SCRIPT, "-C", str(lab), "console", "vm3") as one:
            one.wait_for("Ctrl-] leaves")
            one.type("\x1d")
            assert one.end() == 0
        with row.case("a start fails"):
            guests(lab, "vm4")
            result = kvmrun("vm4")
            assert result.code == 1
            assert "No space left" in result.err, result.err
        with row.case("nobody was killed"):
            rows = kvmrun.rows()
            assert [(rows[name]["state"], rows[name]["pid"]) for name in ("vm2", "vm3")] == [
                ("running", pids["vm2"]), ("running", pids["vm3"]),
            ]  # fmt: skip
            assert rows["vm1"]["state"] == "stopped"
        with row.case("kill"):
            kvmrun.ok("kill", "vm2")
        with row.case("the rest goes"):
            kvmrun.ok("stop", "--force", "vm3")
            kvmrun.ok("net", "down")
        empty(str(small))
        with row.case("and comes back"):
            kvmrun.ok("vm1")
            kvmrun.ok("kill", "vm1")
            kvmrun.ok("net", "down")
            assert processes() == []


FULL = (
    ("list",),
    ("list", "-v"),
    ("show", "vm1"),
    ("net", "status"),
    ("net", "up"),
    ("monitor", "vm1", "-c", "query-status"),
    ("pause", "vm1"),
    ("resume", "vm1"),
    ("log", "vm1"),
    ("stop", "--force", "vm1"),
)


def test_a_full_disk_at_any_step_of_a_start_is_told_and_undone(
    small: Path, lab: Path, kvmrun: Cli, tally: Tally
) -> None:
    row = tally.row("R-02", "the file system is full from a step of the start on", 18)
    guests(lab, "vm1", text=IMAGE)
    scene = Whole(kvmrun, small)
    steps = small.parent / "steps"
    assert kvmrun.call("vm1", harm=("steps", str(steps), "-1")).code == 0
    scene.end()
    names = steps.read_text().splitlines()
    for number in range(0, len(names), 1 if row.full else 8):
        with row.case(names[number]):
            result = kvmrun.call("vm1", harm=("full", "before", str(number)))
            if result.code:
                honest(scene, result)
                assert "No space left on device" in result.err, result.err
                assert str(small) in result.err or "vm1" in result.err or "lan" in result.err
            else:
                assert scene.running()
                scene.end()
            empty(str(small))
            scene.is_at_rest(locks=False)
        empty(str(small))
        scene.end()


@pytest.mark.boots
def test_a_full_disk_pauses_a_guest_until_there_is_room(
    lab: Path, own_directories: Path, kvmrun: Cli, tally: Tally
) -> None:
    row = tally.row("R-03", "the file system of an image is full", 20)
    rounds = row.count(2)
    with tmpfs(own_directories / "small", "1M") as disk:
        sector = bytes.fromhex(WRITER)
        (lab / "boot.raw").write_bytes((sector.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
        drives = (
            f'[[drive]]\nimage = "./boot.raw"\nreadonly = true\n[[drive]]\nimage = "{disk}/data.raw"\nsize = "64M"\n'
        )
        (lab / "vm1.toml").write_text(f'accel = "tcg"\nmemory = "32M"\nnic = []\n{drives}')
        kvmrun.ok("vm1")
        for size in range(2, 2 + rounds):
            with row.case(f"full for the {size - 1}. time"):
                until(lambda: not room(disk))
                until(lambda: kvmrun.rows()["vm1"]["state"] == "io-error")
                assert "room" in kvmrun.rows()["vm1"]["problem"]
                subprocess.run(["mount", "-o", f"remount,size={size}M", disk], check=True)
                kvmrun.ok("resume", "vm1")
                until(lambda: room(disk) < 200_000)
        with row.case("the guest has seen no error"):
            _, started, said = kvmrun.ok("log", "vm1").out.partition("Booting from Hard Disk...")  # SeaBIOS says
            assert started
            assert set(said) <= {".", "\n"}
        kvmrun.ok("kill", "vm1")


def room(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


LIMITS = {
    "files": [f"--nofile={n}" for n in (6, 7, 8, 9, 10, 12, 14, 16, 20, 64)],
    "memory": [f"--as={n << 20}" for n in (26, 28, 30, 32, 34, 36, 40, 48, 64, 96)],
}


@pytest.mark.parametrize("kind", LIMITS)
def test_a_limit_is_a_refusal_with_nothing_left(
    lab: Path, own_directories: Path, kvmrun: Cli, tally: Tally, kind: str
) -> None:
    """Or, where it is enough, a start like any other."""
    row = tally.row("R-04", "too few descriptors, processes or bytes for a start", 10)
    guests(lab, "vm1", text=IMAGE)
    (own_directories / "state/images").mkdir(parents=True)
    scene = Whole(kvmrun, own_directories)
    for limit in LIMITS[kind] if row.full else LIMITS[kind][1::3]:
        with row.case(limit):
            limited(scene, Cli(["prlimit", limit, *kvmrun.words])("vm1"))
        scene.end()


def test_no_process_to_be_had_is_a_refusal_with_nothing_left(
    lab: Path, own_directories: Path, kvmrun: Cli, tally: Tally
) -> None:
    """Root has no limit of processes: the calls that make one say that it is reached, from one of them on."""
    row = tally.row("R-04", "too few descriptors, processes or bytes for a start", 10)
    guests(lab, "vm1", text=IMAGE)
    (own_directories / "state/images").mkdir(parents=True)
    scene = Whole(kvmrun, own_directories)
    for number in range(1, 11) if row.full else (1, 5):
        with row.case(f"from the {number}. on"):
            inject = f"inject=clone3,vfork,clone:error=EAGAIN:when={number}+"
            limited(scene, Cli(["strace", "-qq", "-o", "/dev/null", "-e", inject, *kvmrun.words])("vm1"))
        scene.end()


NO_ROOM = ("MemoryError", "Fatal read error on datagram transport")
"""What Python, and the event loop below pyroute2, print where there is no room left for a sentence of ours."""


def limited(scene: Whole, result: Result) -> None:
    if result.code:
        if not (result.code == 1 and result.err.startswith(NO_ROOM)):
            honest(scene, result)
        scene.is_at_rest(locks=False)
    else:
        assert scene.running(), result


def test_no_wait_goes_by_the_clock_on_the_wall(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    """It jumps by ten years, forth and back, whenever it is read."""
    row = tally.row("R-05", "the clock jumps by years, or the machine slept", 10)
    guests(lab, "vm1")
    address = ""
    for words, least, most in CLOCKED:
        with row.case(f"clock: {' '.join(words)}"):
            began = time.monotonic()
            result = kvmrun.call(*words, harm=("clock", "", "0"))
            assert result.code == 0, result.err
            assert least <= time.monotonic() - began < most
            if words[0] == "vm1":
                address = kvmrun.rows()["vm1"]["nics"][0]["address"]
    with row.case("address"):
        kvmrun.ok("vm1")
        assert kvmrun.rows()["vm1"]["nics"][0]["address"] == address


CLOCKED: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (("net", "up"), 0, 60),
    (("vm1",), 0, 60),
    (("list",), 0, 60),
    (("net", "status"), 0, 60),
    (("list", "-v"), 0, 60),
    (("monitor", "vm1", "-c", "query-status"), 0, 60),
    (("log", "vm1"), 0, 60),
    (("pause", "vm1"), 0, 60),
    (("resume", "vm1"), 0, 60),
    (("stop", "vm1", "--timeout", "1"), 1, 60),
)


def test_a_machine_that_slept_for_hours_or_years_lists_its_guests_as_before(
    lab: Path, kvmrun: Cli, tally: Tally
) -> None:
    """Another time namespace: its time since boot is ahead of that of the start."""
    row = tally.row("R-05", "the clock jumps by years, or the machine slept", 4)
    guests(lab, "vm1")
    kvmrun.ok("vm1")
    first = kvmrun.rows()["vm1"]
    for seconds in (8 * 3600, 10 * 365 * 86400):
        later = Cli(["unshare", "-T", "-f", "--boottime", f"{seconds}", "--monotonic", f"{seconds}", *kvmrun.words])
        with row.case(f"list after {seconds} s"):
            row_now = later.rows()["vm1"]
            assert (row_now["state"], row_now["pid"]) == ("running", first["pid"])
            assert 0 <= row_now["uptime_s"] - first["uptime_s"] < 60
        with row.case(f"monitor after {seconds} s"):
            later.ok("monitor", "vm1", "-c", "query-status")
    with row.case("stop"):
        later.ok("stop", "vm1", "--timeout", "0.5")
        assert kvmrun.rows()["vm1"]["state"] == "stopped"
