"""Locks of a QEMU that has just ended, on an image that another is to use."""

import fcntl
import os
import struct
from pathlib import Path

import pytest

from kvmrun.host.facts import block_device

WRITES, READS = 101, 100
"""The bytes that QEMU locks for what it does to an image (BLK_PERM_WRITE, BLK_PERM_CONSISTENT_READ)."""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(1 << 20))
    return path


def locked(image: Path, byte: int) -> int:
    """A descriptor with a lock as QEMU's, which is gone when it is closed."""
    fd = os.open(image, os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
    return fd


def claimed(image: Path, *, readonly: bool) -> None:
    at = os.open(image, os.O_PATH)
    os.close(block_device.claim_exclusively(at, str(image), readonly=readonly))
    os.close(at)


@pytest.mark.parametrize(
    ("byte", "readonly", "waits"), [(WRITES, False, 1), (WRITES, True, 1), (READS, False, 1), (READS, True, 0)]
)
def test_locks_that_go_away_are_waited_for(
    image: Path, monkeypatch: pytest.MonkeyPatch, byte: int, readonly: bool, waits: int
) -> None:
    """Somebody who reads does not wait for others who do."""
    holder, slept = locked(image, byte), list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        os.close(holder)

    monkeypatch.setattr(block_device.time, "sleep", sleep)
    claimed(image, readonly=readonly)
    assert len(slept) == waits
    if not waits:
        os.close(holder)


def test_locks_that_stay_are_qemus_to_tell_of(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_device, "_ENDING", 0.02)
    holder = locked(image, WRITES)
    claimed(image, readonly=False)
    os.close(holder)
