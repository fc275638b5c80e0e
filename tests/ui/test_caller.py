"""The program in fixes: as it was called, by every way there is to call it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli
from support.warm import MODULE

from kvmrun.ui.text import caller

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
    named = f"-C {lab} --list"
    assert fixes([str(INSTALLED)], PATH=path, **environ).startswith(f"kvmrun {named}")
    assert fixes([str(INSTALLED)], PATH="/usr/bin:/bin", **environ).startswith(f"{INSTALLED} {named}")
    assert fixes([str(link)], PATH="/usr/bin:/bin", **environ).startswith(f"'{link}' {named}")
    assert fixes([sys.executable, "-m", "kvmrun"], **environ).startswith(f"{sys.executable} -m kvmrun {named}")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="becomes another user")
def test_a_user_is_told_a_command_for_root_that_sudo_finds(lab: Path, own_directories: Path) -> None:
    lab.chmod(0o755)
    text = "from kvmrun.ui.text.caller import fix; import sys; sys.argv = {argv}; print(fix('sudo kvmrun vm1'))"
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


COMMANDS = (
    *(
        "stop nosuch",
        "list nosuch",
        "start web",
        "create www --memory 2G",
        "sotp web",
        "console web",
        "stop web --all",
        "wait",
        "exec web",
        "up",
    ),
    *("new web --image x", "doctor", "log web", "cp a b", "rm web", "edit web"),
)
"""Commands that end with a fix, or a note, that names a command."""
FORMS = {
    "-C": ["-C", "{}"],
    "-CDIR": ["-C{}"],
    "--vms": ["--vms", "{}"],
    "--vms=": ["--vms={}"],
    "abbreviated": ["--vm={}"],
    "bundled": ["-vC{}"],
    "environment": [],
}


@pytest.mark.parametrize("lab_name", ["own", "it's o$n"])
@pytest.mark.parametrize("form", FORMS)
def test_every_fix_means_the_lab_of_its_command(
    form: str, lab_name: str, own_directories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default lab of the place is another one, which a fix without a lab would mean."""
    monkeypatch.chdir(own_directories)
    mine = own_directories / lab_name
    for one in (own_directories / "vms.d", mine):
        one.mkdir()
        guests(one, "web")
    (mine / "broken.toml").write_text("memory = 1\n")
    given = mine.name if form in {"-C", "--vms=", "environment"} else str(mine)
    option = [word.format(given) for word in FORMS[form]]
    environ = {} if option else {"KVMRUN_VMS": given}
    kvmrun = Cli(MODULE)
    for line in COMMANDS:
        name, *words = line.split()
        done = kvmrun.call(name, *option, *words, environ=environ)
        text = re.sub("(?m)^kvmrun: ", "", done.out + done.err)
        found = re.findall(r"(?<![/\w])kvmrun ([^;,?\n]*)", text)
        assert found, (line, done)
        for words in map(shlex.split, found):
            assert words[0] == "-C", (line, done)
            assert os.path.samefile(words[1], mine), (line, done)


def test_rows_of_another_lab_name_that_lab(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "_typed", [str(lab)])
    monkeypatch.setattr(sys, "argv", ["kvmrun", "list", "--all-labs"])
    assert caller.fix("kvmrun kill a ends it") == f"kvmrun -C {lab} kill a ends it"
    assert caller.fix("kvmrun kill a ends it", "/the other") == "kvmrun -C '/the other' kill a ends it"
