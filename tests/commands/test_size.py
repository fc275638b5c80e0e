"""What a command does grows with the lab as the lab does: counted in calls, for time says little on a busy machine."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.builders import TCG, guests

pytestmark = pytest.mark.usefixtures("netns")

FEW, MANY = 60, 240
COUNT = """
import itertools, os, sys
counter = itertools.count()
def profile(frame, event, arg):
    if event in {"call", "c_call"}:
        next(counter)
from kvmrun.cli import main as cli
out, sys.stdout = sys.stdout, open(os.devnull, "w")
sys.setprofile(profile)
code = cli.run(sys.argv[1:])
sys.setprofile(None)
print(code, next(counter), file=out)
"""
NETWORK = '[network.lan]\nsubnet = "10.9.0.0/16"\n[uplink.net]\ninterface = "lo"\n'
COMMANDS = {
    "list": ("list",),
    "list -o json": ("list", "-o", "json"),
    "check": ("check",),
    "show": ("show", "g7"),
    "dry run": ("up", "--all", "--dry-run"),
    "net status": ("net", "status"),
    "shorewall": ("export", "shorewall"),
    "systemd": ("export", "systemd"),
    "metrics": ("metrics",),
    "stop": ("stop", "@all"),
}


def calls(lab: Path, *words: str) -> int:
    """How many functions that command calls."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT, "-C", str(lab), *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout, done.stderr
    code, count = map(int, done.stdout.split())
    assert code == 0, done.stderr
    return count


@pytest.mark.parametrize("name", COMMANDS)
def test_the_work_grows_as_the_lab_does(lab: Path, name: str) -> None:
    (lab / "networks.toml").write_text(NETWORK)
    counts = []
    for most in (FEW, MANY):
        for number in range(most):
            after = f'after = ["g{number - 1}"]\n' if number else ""
            guests(lab, f"g{number}", text=f'{after}groups = ["all"]\n{TCG}')
        counts.append(calls(lab, *COMMANDS[name]))
    few, many = counts
    assert many < 1.2 * few * MANY / FEW, f"{few} calls for {FEW} guests, {many} for {MANY}"
