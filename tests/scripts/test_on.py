"""scripts/test --on: its answers to wrong calls, to a mirror that does not answer and to a disk that is too small."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
makes_roots = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to make a root file system"),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap"),
]


def on(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [SCRIPTS / "test", "--on", *words]
    return subprocess.run(command, env={**os.environ, **env}, text=True, capture_output=True, check=False, timeout=120)


@pytest.mark.parametrize("words", [(), ("--oldest",), ("../trixie",), ("Trixie",), ("trixie/x",), ("",)])
def test_a_release_is_one_word(words: tuple[str, ...]) -> None:
    done = on(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: scripts/test --on")


@pytest.mark.parametrize("release", [pytest.param("trixie", marks=makes_roots)])
def test_a_mirror_that_fails_is_named_and_leaves_no_half_of_a_root(release: str, tmp_path: Path) -> None:
    mirror = f"file://{tmp_path}/nonesuch"
    done = on(release, KVMRUN_TEST_CACHE=str(tmp_path / "cache"), KVMRUN_TEST_MIRROR=mirror)
    assert done.returncode == 69
    assert f"could not make a root file system of {release} from {mirror}; all of it: {tmp_path}/cache" in done.stderr
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["mount", "trixie.lock", "trixie.log"]


@pytest.mark.usefixtures("_own_mounts")
@pytest.mark.parametrize("release", [pytest.param("trixie", marks=makes_roots)])
def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(release: str, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "small", tmp_path], check=True)
    try:
        done = on(release, KVMRUN_TEST_CACHE=str(tmp_path), KVMRUN_TEST_MIRROR="file:///nonesuch")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert done.returncode == 74
    assert f"{tmp_path} has 10 MiB free, and trixie needs" in done.stderr
