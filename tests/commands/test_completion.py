"""Tab in the shells themselves: what the one documented line of each makes of it."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.builders import guests
from support.screen import screen

from kvmrun.cli import commands, completion_engine, main

COMMANDS = set(commands.names())
BASH = """
eval "$(kvmrun completion bash)"
while IFS= read -r line; do
    COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMPREPLY=()
    _python_argcomplete kvmrun
    echo "${COMPREPLY[*]}"
done
"""
SHELL = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
ENVIRON = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture
def filled(lab: Path) -> Path:
    guests(lab, "vm1", "vm2", text='groups = ["lab"]\n')
    guests(lab, "web", text="memory = 0\n")
    (lab / "x y.toml").touch()
    (lab / "networks.toml").write_text("[network.lan]\n[network.dmz]\nbridge='br1'\nsubnet='10.9.0.0/24'\n")
    return lab


def tabs(lab: Path, *lines: str) -> dict[str, set[str]]:
    """What bash is offered after each of `lines`."""
    done = subprocess.run(
        ["bash", "-c", BASH],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **ENVIRON, "KVMRUN_VMS": str(lab)},
    )
    return dict(zip(lines, (set(line.split()) for line in done.stdout.split("\n")), strict=False))


def test_what_may_come_next(filled: Path) -> None:
    some = {"vm1", "vm2", "web"}
    wanted = {
        "kvmrun ": COMMANDS | some | {"@lab"},
        "kvmrun mon": {"monitor"},
        "kvmrun vm1 ": {"vm2", "web", "@lab"},
        "kvmrun vm1 --acc": {"--accel"},
        "kvmrun vm1 --accel ": {"kvm", "tcg"},
        "kvmrun -v list -o ": {"table", "json"},
        "kvmrun net ": {"up", "down", "restart", "status"},
        "kvmrun net up ": {"lan", "dmz"},
        "kvmrun stop -f vm2 ": {"vm1", "web", "@lab"},
        "kvmrun stop @": {"lab"},  # bash itself takes @ for the end of a word
        "kvmrun show v": {"vm1", "vm2"},
        "kvmrun log -n 5 w": {"web"},
        "kvmrun vm1 --wait=p": {"port:"},
        "kvmrun vm1 -- -d": set(),
        "kvmrun help ne": {"networks", "net", "new"},
        "kvmrun man s": {"security", "seeds"},
        "kvmrun man --install --rem": {"--remove"},
        "kvmrun nothing --nonsense ": some | {"@lab"},
    }
    assert tabs(filled, *wanted) == wanted


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_completed_by_being_there(name: str) -> None:
    parser = completion_engine._parser([name, ""], main._command)
    assert {"--help", "--vms", "--timeout"} <= parser._option_string_actions.keys()


def test_cards_are_those_of_the_guest_that_was_named(filled: Path) -> None:
    (filled / "vm1.toml").write_text('[[nic]]\nname = "wan"\n[[nic]]\nnetwork = "dmz"\n')
    typed = argparse.Namespace(vms=str(filled), guest="vm1")
    assert list(completion_engine._COMPLETERS["NIC"](parsed_args=typed)) == ["wan", "eth1"]
    assert not completion_engine._COMPLETERS["NIC"](parsed_args=argparse.Namespace(vms=str(filled), guest=None))


def test_a_lab_that_root_must_not_read_offers_nothing(filled: Path) -> None:
    filled.chmod(0o777)
    found = tabs(filled, "kvmrun show ", "kvmrun chec")
    assert found["kvmrun chec"] == {"check"}
    assert found["kvmrun show "] == (set() if os.geteuid() == 0 else {"vm1", "vm2", "web"})


@pytest.mark.parametrize("shell", [("bash", "--norc", "-i"), ("zsh", "-f", "-i")])
def test_at_the_keyboard(filled: Path, shell: tuple[str, ...]) -> None:
    if not shutil.which(shell[0]):
        pytest.skip(f"needs {shell[0]}")
    with screen(SHELL, *shell, **ENVIRON, KVMRUN_VMS=str(filled), PS1="%% ", HOME=str(filled)) as one:
        one.type(f'eval "$(kvmrun completion {shell[0]})"; echo rea""dy\r')
        one.wait_for("ready\r\n")
        for typed, shown in (("kvmrun scr", "eenshot"), ("we", "b"), ("--col", "or")):
            one.type(f"{typed}\t")
            one.wait_for(typed + shown)
        one.type("\x15exit\r")
        one.end()


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
def test_in_fish(filled: Path) -> None:
    line = 'kvmrun completion fish | source; complete -C "kvmrun scr"; complete -C "kvmrun stop v"'
    environ = {**os.environ, **ENVIRON, "KVMRUN_VMS": str(filled), "HOME": str(filled)}
    done = subprocess.run(["fish", "-c", line], capture_output=True, text=True, timeout=60, check=True, env=environ)
    assert [one.split("\t")[0] for one in done.stdout.splitlines()] == ["screenshot", "vm1", "vm2"]
