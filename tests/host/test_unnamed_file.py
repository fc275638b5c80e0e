"""Temporary images, on file systems with and without files that have no name."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kvmrun.host.disk import unnamed_file
from kvmrun.model.deadline import NEVER
from kvmrun.model.guest.qemu_option import TemporaryImage
from kvmrun.plan.steps.guest_steps import MakeTemporaryImage


@pytest.mark.parametrize("supported", [True, False])
def test_an_image_without_a_name(own_directories: Path, monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    really = os.open

    def opened(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if not supported and flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return really(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", opened)
    directory = own_directories / "images"
    step = MakeTemporaryImage(file=TemporaryImage(path="/i/a.throwaway"), size=3 << 20, directory=str(directory))
    fd = unnamed_file.make_temporary_image(step, NEVER)
    try:
        found = os.fstat(fd)
        assert (found.st_nlink, stat.S_IMODE(found.st_mode)) == (0, 0o600)
        assert os.pread(fd, 4, 0) == b"QFI\xfb"
        assert int.from_bytes(os.pread(fd, 8, 24)) == 3 << 20
        assert list(directory.iterdir()) == []
    finally:
        os.close(fd)
