"""The quick paths load little: what is loaded is what they cost, and unlike time it can be counted."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli

HEAVY = {
    *(
        "argcomplete",
        "asyncio",
        "dataclasses",
        "difflib",
        "glob",
        "inspect",
        "logging",
        "pathlib",
    ),
    *("prompt_toolkit", "psutil", "pyroute2", "qemu", "rich", "shlex", "subprocess", "tempfile", "uuid"),
}
"""What costs more than the work it would do on these paths."""
if sys.version_info >= (3, 14):
    HEAVY -= {"dataclasses", "inspect"}  # argparse loads them there, for its colours
PROGRAM = """
import sys
del sys.modules["site"]
before = set(sys.modules)
def tell(event, _):
    if event == "os.posix_spawn" and not told:
        told.append(set(sys.modules))
told = []
sys.addaudithook(tell)
from kvmrun.cli import main as cli
code = cli.run(sys.argv[1:])
for loaded in (*told, set(sys.modules)):
    print("loaded", *sorted(loaded - before), file=sys.stderr)
sys.exit(code)
"""


def loaded(lab: Path, *words: str) -> list[set[str]]:
    """What was loaded when the first child was begun, if one was, and at the end."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "-C", str(lab), *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [set(line.split()[1:]) for line in done.stderr.splitlines() if line.startswith("loaded")]


@pytest.mark.usefixtures("netns", "tun")
def test_list_and_start_load_nothing_heavy(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2")
    (lab / "networks.toml").write_text("[network.lan]\ndhcp = false\ndns = false\n")
    kvmrun.ok("vm1", "--paused")
    (at_spawn, at_end), (listed,) = loaded(lab, "vm2", "--paused"), loaded(lab, "--list")
    assert "kvmrun.host.process.process" in at_spawn
    assert sorted(HEAVY & at_spawn) == []
    assert sorted(HEAVY & at_end) == []
    assert sorted(HEAVY & listed) == []


def test_the_overview_loads_nothing_heavy(lab: Path) -> None:
    (at_end,) = loaded(lab, "--help")
    assert sorted(HEAVY & at_end) == []


@pytest.mark.usefixtures("netns", "tun")
def test_an_end_loads_nothing_heavy_but_threads(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2")
    (lab / "networks.toml").write_text("[network.lan]\ndhcp = false\ndns = false\n")
    kvmrun.ok("vm1", "vm2", "--paused")
    (at_end,) = loaded(lab, "stop", "--force", "vm1", "vm2")
    assert HEAVY & at_end <= {"collections", "functools", "threading"}
    assert not {name for name in at_end if name.startswith(("kvmrun.config.l", "kvmrun.monitor.agent.agent_client"))}
