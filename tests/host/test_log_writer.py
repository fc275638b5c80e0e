"""The logger behind a guest's console: bounded on disk, and read back from where one was."""

import os
from pathlib import Path

import pytest
from support.proc import reads_ahead
from support.world import until

from kvmrun.host.execute.guest_executor import GuestExecutor
from kvmrun.host.process import log_reader, process
from kvmrun.model.guest.qemu_option import Log
from kvmrun.plan.steps.guest_steps import StartLogger

CHUNK = b"".join(b"[%8d.000000] something happened on the console again\r\n" % number for number in range(1000))


def feed(log: Path, chunks: list[bytes]) -> None:
    """What QEMU does: write into the pipe, and end."""
    hand = GuestExecutor()
    hand._log, writer = os.pipe2(os.O_CLOEXEC)
    try:
        with open(writer, "wb") as pipe:
            hand(StartLogger(log=Log(path=str(log)), uid=None))
            for chunk in chunks:
                pipe.write(chunk)
        assert process.wait_exit(hand._logger, 120)
    finally:
        hand.close()


@pytest.mark.skipif(reads_ahead(), reason="s6 2.13 processes nothing while input never pauses; serial ports are slower")
@pytest.mark.parametrize("chunk", [CHUNK, b"x" * 65536], ids=["lines", "one-endless-line"])
def test_fifty_megabytes_keep_four_on_disk(own_directories: Path, chunk: bytes) -> None:
    log = own_directories / "log" / "vm1"
    feed(log, [chunk] * (50_000_000 // len(chunk)))
    kept = [path for path in log.iterdir() if path.name not in {"lock", "state"}]
    assert 1 << 20 < sum(path.stat().st_size for path in kept) <= 4 << 20
    assert log.stat().st_mode & 0o777 == 0o700


def test_what_came_since_is_read_back(own_directories: Path) -> None:
    log = own_directories / "log" / "vm1"
    assert (log_reader.end_offset(str(log)), log_reader.lines_since(str(log), 0)) == (0, [])
    feed(log, [b"one\n", b"two\n"])
    before = log_reader.end_offset(str(log))
    assert before == 8
    feed(log, [b"three\n", b"\xff\xfe\n"])
    assert log_reader.lines_since(str(log), before) == ["three", "\ufffd\ufffd"]
    assert log_reader.lines_since(str(log), 10_000)[0] == "one"
    feed(log, [b"z" * 100 + b"\n"] * 2000)
    assert sum(map(len, log_reader.lines_since(str(log), 0))) <= 64 << 10


def test_a_logger_that_cannot_end_makes_way(own_directories: Path) -> None:
    """One guest has ended, and its logger finds no room for the rest: the next guest's words are kept."""
    log = own_directories / "log" / "vm1"
    first, then = GuestExecutor(), GuestExecutor()
    first._log, held = os.pipe2(os.O_CLOEXEC)
    then._log, writer = os.pipe2(os.O_CLOEXEC)
    try:
        first(StartLogger(log=Log(path=str(log)), uid=None))
        until(lambda: log_reader.has_writer(str(log)))
        then(StartLogger(log=Log(path=str(log)), uid=None))
        assert process.wait_exit(first._logger, 0)
        os.write(writer, b"a word of the next\n")
        os.close(writer)
        assert process.wait_exit(then._logger, 120)
        assert log_reader.lines_since(str(log), 0) == ["a word of the next"]
    finally:
        os.close(held)
        first.close()
        then.close()
