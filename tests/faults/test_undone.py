"""Commands on files, failed by every call of the system that they make: done, or as it was before."""

import builtins
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.builders import ALONE, guests
from support.tally import Tally

from kvmrun.api.definition.definition_options import NewGuestOptions
from kvmrun.api.definition.edit_definition import editing, save_definition
from kvmrun.api.definition.example_lab import write_example
from kvmrun.api.definition.new_guest import new_guest
from kvmrun.api.definition.remove_guest import remove_guest
from kvmrun.api.definition.rename_guest import rename_guest
from kvmrun.api.disk.clone import clone_guest
from kvmrun.api.image.images import remove_images
from kvmrun.api.image.pull_image import PullOptions, import_image
from kvmrun.api.lab import LabHandle, open_lab
from kvmrun.errors import KvmrunError, refused_by_host

CALLS = (
    *("open", "rename", "replace", "link", "symlink", "unlink", "mkdir", "rmdir", "chmod", "fchmod", "chown", "fchown"),
    *("fsync", "listdir", "scandir", "fstat", "read", "write", "dup"),
)
ERRORS = (errno.EMFILE, errno.EACCES, errno.ENOSPC)
Tree = dict[str, tuple[int, bytes]]


class Failing:
    """Makes the call number `at` of all fail with `error`, once."""

    def __init__(self, at: int = -1, error: int = 0) -> None:
        self.at = at
        self.error = error
        self.count = 0
        self.first = 0
        self.what = ""

    def __call__(self, name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            self.count += 1
            if name == "mkdir" and not self.first:
                self.first = self.count  # the lock is taken: from here on something is changed
            if self.count == self.at:
                self.what = f"{name}{words}"
                named = words[:1] if isinstance(words[0], str) else ()
                raise OSError(self.error, os.strerror(self.error), *named)
            return do(*words, **more)

        return call

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            monkeypatch.setattr(os, name, self(name, getattr(os, name)))
        monkeypatch.setattr(builtins, "open", self("open", builtins.open))


def tree(root: Path) -> Tree:
    """All files but locks, parts, and the notes whose a thing is: of these one may stay, or be missing."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name[0] != ".")
    found = [path for path in files if path.relative_to(root).parts[:1] != ("run",) and "owners" not in path.parts]
    return {str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), _data(path)) for path in found}


def _data(path: Path) -> bytes:
    """The content; of a note in the store, which tells times, nothing."""
    return b"" if path.suffix == ".json" else path.read_bytes()


def edit(lab: LabHandle) -> None:
    with editing(lab, "vm1") as text:
        Path(text.draft).write_text(ALONE + "cpus = 2\n")
        text.save()


COMMANDS: dict[str, Callable[[LabHandle], object]] = {
    "rename": lambda lab: rename_guest(lab, "vm1", "vm2"),
    "rename and keep": lambda lab: rename_guest(lab, "vm1", "vm2", keep_identity=True),
    "clone": lambda lab: clone_guest(lab, "vm1", "vm2"),
    "new": lambda lab: new_guest(lab, "vm2", NewGuestOptions(size="1M")),
    "copy": lambda lab: new_guest(lab, "vm2", NewGuestOptions(copy="vm3")),
    "rm": lambda lab: remove_guest(lab, "vm3", images=True),
    "edit": edit,
    "save": lambda lab: save_definition(lab, "vm1", (ALONE + "cpus = 2\n").encode()),
    "init": lambda lab: write_example(f"{lab.paths.vms}/../example"),
    "import": lambda lab: import_image(lab, f"{lab.paths.images}/base.raw", PullOptions(alias="other:1")),
    "image rm": lambda lab: remove_images(lab, ["mine:1"]),
}


AGAIN = ("rm", "image rm")
"""A removal cannot be taken back: the same command comes to the end of it."""


@pytest.fixture
def root(lab: Path, images: Path, own_directories: Path) -> Path:
    overlay = '[[drive]]\nimage = "{0}.qcow2"\nbase = "base.raw"\n'
    guests(lab, "vm1", text=ALONE + overlay.format("vm1"))
    guests(lab, "vm3", text=ALONE + 'after = ["vm1"]\n' + overlay.format("vm3"))
    (images / "base.raw").write_bytes((b"\1" * 510 + b"\x55\xaa").ljust(1 << 20, b"\0"))
    over = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(images / "base.raw")]
    for name in ("vm1", "vm3"):
        subprocess.run([*over, str(images / f"{name}.qcow2")], check=True)
        for kept in ("log", "guest"):
            (own_directories / f"state/{kept}/{name}").mkdir(parents=True)
            (own_directories / f"state/{kept}/{name}/one").write_text(name)
    import_image(open_lab(str(lab)), str(images / "base.raw"), PullOptions(alias="mine:1"))
    return own_directories


@pytest.mark.parametrize("name", COMMANDS)
def test_a_call_that_fails_undoes_what_was_done(name: str, root: Path, tmp_path: Path, tally: Tally) -> None:
    row = tally.row("C-03", "a system call that changes something fails", 30)
    kept, before = tmp_path / "kept", tree(root)
    shutil.copytree(root, kept)

    def carried_out(failing: Failing) -> str:
        """The error, "" where it is done."""
        with pytest.MonkeyPatch.context() as patched:
            failing.patch(patched)
            try:
                COMMANDS[name](open_lab(str(root / "vms.d")))
            except KvmrunError as error:
                return f"{error.message}: {error.reason}"
            except OSError as error:
                refused_by_host("do it", error)  # which raises what would be told as a bug
                return f"{error}"
        return ""

    def begin() -> None:
        for path in root.iterdir():
            shutil.rmtree(path)
        shutil.copytree(kept, root, dirs_exist_ok=True)

    every = Failing()
    assert carried_out(every) == ""
    done = tree(root)
    cells = [(at, error) for at in range(every.first, every.count + 1) for error in ERRORS]
    for at, error_number in row.sample(cells, 8):
        begin()
        failing = Failing(at, error_number)
        with row.case(f"{name} {at}"):
            error = carried_out(failing)
            if error and name in AGAIN and tree(root) != before:
                again = carried_out(Failing())
                assert not again, f"{failing.what}: {error}; {again}"
                error = ""
            found, wanted = tree(root), before if error else done
            wrong = sorted(path for path in {*found, *wanted} if found.get(path) != wanted.get(path))
            assert not wrong, f"{failing.what}: {error or 'done'}: {wrong}"
