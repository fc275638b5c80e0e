"""Definitions made, renamed, edited and removed from a program, in a thread, without a command line."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.builders import guests

from kvmrun.api.definition.check_lab import check_lab
from kvmrun.api.definition.definition_options import NewGuestOptions
from kvmrun.api.definition.edit_definition import editing, save_definition
from kvmrun.api.definition.example_lab import write_example
from kvmrun.api.definition.export_lab import export_texts, write_export
from kvmrun.api.definition.new_guest import new_guest
from kvmrun.api.definition.remove_guest import Removal, remove_guest
from kvmrun.api.definition.rename_guest import rename_guest
from kvmrun.api.lab import LabHandle, open_lab
from kvmrun.errors import ConfigError, KvmrunError, NoSuchGuest, UsageError
from kvmrun.host.files.safe_directory import Directory
from kvmrun.host.rundir import rundir


@pytest.fixture
def handle(lab: Path) -> LabHandle:
    guests(lab, "vm1", "vm2")
    return open_lab(str(lab))


def in_thread(do: Callable[[], None]) -> None:
    """Do it in another thread, where neither signals nor the working directory may be changed."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:
            raised.append(error)

    before = os.getcwd()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert (raised, os.getcwd()) == ([], before)


def test_a_guest_is_made_renamed_and_removed(handle: LabHandle, lab: Path) -> None:
    def work() -> None:
        assert new_guest(handle, "web", NewGuestOptions(size="1G", memory="64M")) == f"{lab}/web.toml"
        done = rename_guest(handle, "web", "www")
        assert {one.what for one in done.changes} >= {"UUID"}
        asked: list[Removal] = []
        assert remove_guest(handle, "www", confirm=lambda one: bool(asked.append(one))) is None
        assert asked[0].paths[0] == f"{lab}/www.toml"
        assert (lab / "www.toml").exists()
        assert remove_guest(handle, "www") == asked[0]
        assert not (lab / "www.toml").exists()

    in_thread(work)


def test_what_cannot_be_made_has_an_error_of_its_kind(handle: LabHandle) -> None:
    with pytest.raises(UsageError):
        new_guest(handle, "web", NewGuestOptions(base="a", copy="vm1"))
    with pytest.raises(NoSuchGuest):
        new_guest(handle, "web", NewGuestOptions(copy="vm9"))
    with pytest.raises(NoSuchGuest):
        remove_guest(handle, "vm9")


def test_a_text_is_saved_only_where_it_is_valid(handle: LabHandle, lab: Path) -> None:
    before = (lab / "vm1.toml").read_bytes()
    with pytest.raises(ConfigError) as wrong:
        save_definition(handle, "vm1", b"cpus = 'many'\n")
    assert any("cpus" in line for line in wrong.value.lines)
    assert (lab / "vm1.toml").read_bytes() == before
    assert save_definition(handle, "vm1", before + b"# more\n").is_changed
    assert not save_definition(handle, "vm1", before + b"# more\n").is_changed


def test_a_draft_that_is_not_saved_is_kept(handle: LabHandle) -> None:
    kept: list[str] = []
    with editing(handle, "vm1", kept=kept.append) as text:
        Path(text.draft).write_text("cpus = 0\n")
        assert text.problems()
    assert Path(kept[0]).read_text() == "cpus = 0\n"
    with editing(handle, "vm1", kept=kept.append) as text:
        draft = text.draft
    assert len(kept) == 1
    assert not os.path.exists(draft)


def test_a_lab_is_checked_and_exported(handle: LabHandle, tmp_path: Path) -> None:
    found = check_lab(handle)
    assert found.guests == ("vm1", "vm2")
    assert found.errors() == []
    texts = export_texts(handle, "systemd", program="/opt/kvmrun")
    assert any("/opt/kvmrun" in text for text in texts.values())
    write_export(f"{tmp_path}/units", "systemd", texts)
    assert sorted(os.listdir(tmp_path / "units")) == sorted(texts)
    example = write_example(f"{tmp_path}/lab")
    assert sorted(os.listdir(tmp_path / "lab")) == sorted(example.files)


def test_a_text_is_saved_only_where_nothing_can_fail_afterwards(
    handle: LabHandle, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: str) -> bool:
        raise OSError(errno.EMFILE, "")

    before = (lab / "vm1.toml").read_bytes()
    monkeypatch.setattr(rundir, "is_running", full)
    with pytest.raises(OSError, match="24"):
        save_definition(handle, "vm1", before + b"# more\n")
    with editing(handle, "vm1") as text:
        Path(text.draft).write_bytes(before + b"# more\n")
        with pytest.raises(OSError, match="24"):
            text.save()
    assert (lab / "vm1.toml").read_bytes() == before


def test_an_example_is_written_whole_or_not_at_all(
    handle: LabHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left = Directory.write_new, iter(range(2))

    def full(self: Directory, name: str, data: bytes, mode: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "")
        write(self, name, data, mode)

    with monkeypatch.context() as patched:
        patched.setattr(Directory, "write_new", full)
        with pytest.raises(KvmrunError):
            write_example(f"{tmp_path}/lab")
    assert not (tmp_path / "lab").exists()
    assert write_example(f"{tmp_path}/lab").files
