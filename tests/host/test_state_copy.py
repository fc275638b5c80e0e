"""What a guest keeps, given to another account."""

import os
from pathlib import Path

import pytest

from kvmrun.host.firmware.state_copy import change_owner

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
