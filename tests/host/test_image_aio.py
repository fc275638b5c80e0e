"""The aio modes: what a program is linked with, and what the kernel permits."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builders import defined_guest

from kvmrun.host.disk import image_aio

DISK = defined_guest(drive=[{"image": "a.raw"}])
CDROM = defined_guest(drive=[{"image": "a.iso", "media": "cdrom"}])


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    image_aio._lacks.cache_clear()
    yield
    image_aio._lacks.cache_clear()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "qemu"
    path.write_bytes(b"\x7fELF\0libaio.so.1\0liburing.so.2\0")
    return path


@pytest.fixture
def sysctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "io_uring_disabled"
    path.write_text("0\n")
    monkeypatch.setattr(image_aio, "_SYSCTL", str(path))
    return path


@pytest.mark.parametrize("text", [b"", b"#!/bin/sh\nexec qemu-system-x86_64\n", None])
def test_a_program_without_the_libraries_has_neither(program: Path, text: bytes | None) -> None:
    program.unlink() if text is None else program.write_bytes(text)
    assert all(image_aio.aio_facts(DISK, str(program)).values())


@pytest.mark.usefixtures("sysctl")
def test_a_program_has_what_it_is_linked_with(program: Path) -> None:
    assert image_aio.aio_facts(CDROM, str(program)) == {}
    assert image_aio.aio_facts(DISK, str(program))["native"] == ""
    program.write_bytes(b"\x7fELF\0liburing.so.2\0")
    image_aio._lacks.cache_clear()
    assert image_aio.aio_facts(DISK, str(program))["native"] == f"{program} was built without it"


@pytest.mark.parametrize("value", ["1", "2"])
def test_a_kernel_that_disables_io_uring_is_told(program: Path, sysctl: Path, value: str) -> None:
    """1 lets root and a group use it, and QEMU is neither."""
    sysctl.write_text(f"{value}\n")
    assert image_aio.aio_facts(DISK, str(program))["io_uring"] == f"kernel.io_uring_disabled is {value}"


@pytest.mark.parametrize(
    ("answer", "has"), [(errno.EFAULT, True), (0, True), (errno.EPERM, False), (errno.ENOSYS, False)]
)
def test_a_kernel_without_the_setting_is_asked(
    program: Path, sysctl: Path, monkeypatch: pytest.MonkeyPatch, answer: int, has: bool
) -> None:
    sysctl.unlink()
    monkeypatch.setattr(image_aio, "_setup_error", lambda: answer)
    assert (image_aio.aio_facts(DISK, str(program))["io_uring"] == "") == has


def test_this_kernel_answers() -> None:
    """EFAULT where it permits the call; what a kernel without it, a sysctl or a filter answers otherwise."""
    assert image_aio._setup_error() in {errno.EFAULT, errno.EPERM, errno.ENOSYS}
