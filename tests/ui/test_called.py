"""The program in fixes: as it was called, by every way there is to call it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INSTALLED = Path(sys.executable).with_name("kvmrun")
pytestmark = pytest.mark.skipif(not INSTALLED.exists(), reason="needs the installed command")


def fixes(words: list[str], **environ: str) -> str:
    done = subprocess.run(
        [*words, "show", "nobody"], env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    return next(line.partition("fix: ")[2] for line in done.stderr.splitlines() if "fix: " in line)


def test_every_way_to_call_it(lab: Path, own_directories: Path) -> None:
    elsewhere = own_directories / "a b"
    elsewhere.mkdir()
    link = elsewhere / "kvmrun"
    link.symlink_to(INSTALLED)
    path = f"{INSTALLED.parent}:/usr/bin:/bin"
    environ = {"KVMRUN_VMS": str(lab)}
    assert fixes([str(INSTALLED)], PATH=path, **environ).startswith("kvmrun --list")
    assert fixes([str(INSTALLED)], PATH="/usr/bin:/bin", **environ).startswith(f"{INSTALLED} --list")
    assert fixes([str(link)], PATH="/usr/bin:/bin", **environ).startswith(f"'{link}' --list")
    assert fixes([sys.executable, "-m", "kvmrun"], **environ).startswith(f"{sys.executable} -m kvmrun --list")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="becomes another user")
def test_a_user_is_told_a_command_for_root_that_sudo_finds(lab: Path, own_directories: Path) -> None:
    lab.chmod(0o755)
    text = "from kvmrun.ui.called import fix; import sys; sys.argv = {argv}; print(fix('sudo kvmrun vm1'))"
    words = ["setpriv", "--reuid", "70001", "--regid", "70001", "--clear-groups", sys.executable, "-c"]

    def told(argv: list[str], **environ: str) -> str:
        given = {**os.environ, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", **environ}
        command = [*words, text.format(argv=repr(argv))]
        return subprocess.run(command, env=given, capture_output=True, text=True, check=True, cwd="/").stdout.strip()

    if subprocess.run([*words, "pass"], check=False, capture_output=True).returncode:
        pytest.skip("another user cannot run this Python")
    program = own_directories / "kvmrun"
    program.write_text("")
    program.chmod(0o755)
    assert told([str(program), "up", "vm1"]) == f"sudo {program} vm1"
    assert told([str(program), "up", "vm1"], KVMRUN_VMS=str(lab)) == f"sudo {program} -C {lab} vm1"
