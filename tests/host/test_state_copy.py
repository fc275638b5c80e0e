"""What a guest keeps, given to another account."""

import os
import shutil
from pathlib import Path

import pytest

from kvmrun.errors import KvmrunError
from kvmrun.host.firmware.state_copy import change_owner, state_copy

OLD, NEW, OTHER = 70001, 70002, 70003
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def test_what_the_account_owns_is_given_and_nothing_else(tmp_path: Path) -> None:
    outside, kept = tmp_path / "outside", tmp_path / "kept"
    (kept / "tpm/inner").mkdir(parents=True)
    outside.touch()
    for name, owner in (
        ("variables", OLD),
        ("machine", 0),
        ("tpm/state", OLD),
        ("tpm/inner/more", OLD),
        ("other", OTHER),
    ):
        (kept / name).touch()
        os.chown(kept / name, owner, owner)
    (kept / "tpm/link").symlink_to(outside)
    os.chown(kept / "tpm/link", OLD, OLD, follow_symlinks=False)
    for path in (outside, kept / "tpm", kept / "tpm/inner"):
        os.chown(path, OLD, OLD)
    os.link(outside, kept / "tpm/hard")
    change_owner(str(kept), OLD, NEW)
    names = ("variables", "machine", "other", "tpm", "tpm/state", "tpm/inner", "tpm/inner/more", "tpm/hard")
    owners = {name: (kept / name).stat().st_uid for name in names}
    assert owners == dict.fromkeys(names, NEW) | {"machine": 0, "other": OTHER, "tpm/hard": OLD}
    assert outside.stat().st_uid == OLD
    assert (kept / "tpm/link").lstat().st_gid == NEW
    assert (kept / "variables").stat().st_gid == NEW


def test_a_copy_that_fails_is_an_error_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """shutil.copytree gathers what failed into an OSError without a number."""

    def full(source: str, target: str, **_: object) -> None:
        raise shutil.Error([(source, target, "[Errno 24] Too many open files")])

    (tmp_path / "vm1").mkdir()
    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(KvmrunError) as caught, state_copy(f"{tmp_path}/vm1", f"{tmp_path}/vm2", {}):
        pass
    assert "Too many open files" in caught.value.reason
    assert [path.name for path in tmp_path.iterdir()] == ["vm1"]
