"""A file that is being replaced is the old one or the new one, and nothing is left beside it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmrun.host.files import atomic_write, definition_files, safe_directory, small_files


def _in_directory(path: str, data: bytes) -> None:
    with safe_directory.opened(os.path.dirname(path)) as directory:
        directory.write(os.path.basename(path), data, 0o644)


WRITERS: tuple[Callable[[str, bytes], None], ...] = (
    small_files.replace_atomically,
    _in_directory,
    definition_files.replace,
)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("part", ["fill", "move"])
def test_a_write_that_fails_leaves_the_old_file(
    write: Callable[[str, bytes], None], part: str, own_directories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = own_directories / "file"
    write_old(path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic_write, part, full)
    with pytest.raises(Exception, match=r"No space left|cannot write"):
        write(str(path), b"new")
    monkeypatch.undo()
    assert (path.read_bytes(), sorted(os.listdir(own_directories))) == (b"old", before(own_directories))
    write(str(path), b"new")
    assert (path.read_bytes(), sorted(os.listdir(own_directories))) == (b"new", before(own_directories))


def write_old(path: Path) -> None:
    path.write_bytes(b"old")


def before(directory: Path) -> list[str]:
    """The names in the directory, but for those of parts."""
    return sorted(name for name in os.listdir(directory) if not (name.startswith(".") or name.endswith(".new")))


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"target")
    (tmp_path / "file").symlink_to("target")
    small_files.replace_atomically(f"{tmp_path}/file", b"new")
    assert (tmp_path / "target").read_bytes() == b"target"
    assert not (tmp_path / "file").is_symlink()


def test_what_a_killed_command_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file.new").mkdir()
    small_files.replace_atomically(f"{tmp_path}/file", b"new")
    assert os.listdir(tmp_path) == ["file"]
