"""The logger of a guest flooded, stopped, killed, its disk full: guest and monitor go on, and it is replaced."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import herd
from support.cli import Cli
from support.proc import reads_ahead
from support.sector import sector
from support.tally import Row, Tally
from support.world import until

from kvmrun.host.process import log_reader, log_writer, process

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(3600)]
WHAT = "the guest's logger flooded, stopped, killed, its disk full: guest and monitor go on"
TEXT = b"all work and no play makes a guest a dull guest \r\n"


def resident(pid: int) -> int:
    used = process.process_usage(pid)
    return used.rss if used else 0


def pid_of(log: Path) -> int:
    return process.holder(f"{log}/lock", inherited=None)


def answers(lab: Path) -> None:
    """The monitor does, at once."""
    ended = herd.run(lab, "monitor", "vm1", "-c", "query-status")
    assert (ended.code, '"running": true' in ended.text) == (0, True), ended.text


@pytest.mark.skipif(reads_ahead(), reason="s6 2.13 processes nothing while input never pauses; serial ports are slower")
@pytest.mark.parametrize(
    ("chunk", "planned"), [(TEXT * 1300, 10 << 30), (b"x" * 65536, 1 << 30), (b"\n" * 4096, 1 << 20)]
)
def test_floods_leave_four_megabytes(tally: Tally, own_directories: Path, chunk: bytes, planned: int) -> None:
    row = tally.row("P-07", WHAT, 1)
    log = own_directories / "state/log/vm1"
    reader, writer = process.pipe()
    os.close(log_writer.start_writer(str(log), None, reader))
    until(lambda: pid_of(log))
    pid = pid_of(log)
    with row.case(f"{planned} bytes of {chunk[:10]!r}"), open(writer, "wb", buffering=0) as pipe:
        before = resident(pid)
        for _ in range((planned if row.full else 16 << 20) // len(chunk)):
            pipe.write(chunk)
        assert resident(pid) - before <= 2 << 20
        kept = [path.stat().st_size for path in log.iterdir() if path.name not in {"lock", "state"}]
        assert sum(kept) <= 4 << 20
    until(lambda: not pid_of(log))


@pytest.fixture
def flooding(lab: Path, kvmrun: Cli, own_directories: Path) -> Path:
    """A guest that prints for ever; where its log is."""
    sector(lab, "vm1", TEXT, flood=True)
    kvmrun.ok("vm1")
    log = own_directories / "state/log/vm1"
    until(lambda: log_reader.end_offset(str(log)))
    return log


def grows(log: Path) -> None:
    """The log of a guest that goes on: there is more in it, or another of it, soon."""
    before = [(path.name, path.stat().st_size) for path in log.iterdir()]
    until(lambda: before != [(path.name, path.stat().st_size) for path in log.iterdir()])


def mended(row: Row, lab: Path, number: int) -> None:
    words = (("repair",), ("log", "vm1", "--restart"), ("vm1",))[number % 3]
    ended = herd.run(lab, *words)
    assert ended.code == 0, ended.text


def test_stopped_it_costs_nothing_until_a_megabyte_waits(tally: Tally, lab: Path, kvmrun: Cli, flooding: Path) -> None:
    row = tally.row("P-07", WHAT, 12)
    time.sleep(log_reader.BEGINS)
    for number in range(row.count(2)):
        with row.case(f"stopped {number}"):
            pid = until(lambda: pid_of(flooding))
            os.kill(pid, signal.SIGSTOP)
            answers(lab)
            until(lambda: log_writer.is_stalled(str(flooding)), limit=300)
            found = until(
                lambda: "does not read on" in (kvmrun.rows()["vm1"]["problem"] or "") and kvmrun.rows()["vm1"]
            )
            assert found["state"] == "unresponsive"
            mended(row, lab, number)
            answers(lab)
            grows(flooding)
            assert pid_of(flooding) not in {0, pid}
            time.sleep(log_reader.BEGINS)
            assert kvmrun.rows()["vm1"]["problem"] is None


def test_killed_it_is_told_and_replaced(tally: Tally, lab: Path, kvmrun: Cli, flooding: Path) -> None:
    row = tally.row("P-07", WHAT, 12)
    time.sleep(log_reader.BEGINS)
    for number in range(row.count(2)):
        with row.case(f"killed {number}"):
            os.kill(pid_of(flooding), signal.SIGKILL)
            until(lambda: not pid_of(flooding))
            answers(lab)
            found = kvmrun.rows()["vm1"]
            assert (found["state"], "logger died" in found["problem"]) == ("running", True)
            mended(row, lab, number)
            answers(lab)
            grows(flooding)
            assert kvmrun.rows()["vm1"]["problem"] is None


def emptied(log: Path) -> bool:
    """Whether the logger has ended: one that has something left to write does not while there is no room."""
    for path in log.glob("@*"):
        path.unlink(missing_ok=True)
    return not pid_of(log)


@pytest.fixture
def small_disk(own_directories: Path) -> Iterator[Path]:
    """The logs are on a file system of their own, of three megabytes."""
    root = own_directories / "state/log"
    root.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=711", "none", root], check=True)
    yield root
    until(lambda: emptied(root / "vm1"))
    subprocess.run(["umount", "-l", root], check=True)


def test_with_its_disk_full_the_guest_goes_on(tally: Tally, small_disk: Path, lab: Path, kvmrun: Cli) -> None:
    row = tally.row("P-07", WHAT, 4)
    sector(lab, "vm1", TEXT, flood=True)
    for number in range(row.count(1)):
        with row.case(f"full disk {number}"):
            emptied(small_disk / "vm1")
            (small_disk / "vm1/current").unlink(missing_ok=True)  # of the case before
            (small_disk / "ballast").write_bytes(bytes(2 << 20))
            kvmrun.ok("vm1")
            until(lambda: os.statvfs(small_disk).f_bavail * 4096 < 8192, limit=300)
            for _ in range(10):
                answers(lab)
                assert kvmrun.rows()["vm1"]["state"] == "running"
                time.sleep(0.3)
            (small_disk / "ballast").unlink()
            answers(lab)
            assert herd.run(lab, "repair").code == 0
            until(lambda: os.statvfs(small_disk).f_bavail * 4096 < 2 << 20, limit=300)  # s6 2.13 when its input pauses
            kvmrun.ok("kill", "vm1")
            until(lambda: emptied(small_disk / "vm1"))
