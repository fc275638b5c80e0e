"""What each command says, kept in one file per command: the sentences, to be read in a change.

Other tests ask for exit codes, states and JSON, so that a sentence can be improved without them. What a command can do,
and its options, are in the generated page kvmrun(1).
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from support import golden
from support.builders import TCG
from support.cli import Cli

from kvmrun.cli import commands

GUESTS = {
    "vm1": TCG,
    "vm2": TCG + 'groups = ["web"]\nprotect = true\n',
    "disk": TCG + '[[drive]]\nimage = "disk.qcow2"\nsize = "1G"\n',
    "broken": 'cpus = 0\nmemroy = "1G"\n[[drive]]\nimage = "no-such.qcow2"\n',
}
LINES: Mapping[str, tuple[str, ...]] = {
    "build": ("", "nonsense"),
    "check": ("", "vm1", "nobody"),
    "clone": ("nobody vm9", "vm1 vm2", "vm1 a/b", "vm1"),
    "completion": ("tcsh",),
    "console": ("vm1", "nobody", "vm1 --escape long"),
    "cp": ("a b", "vm1:/a b", "nobody:/a b", "vm1:/a vm2:/b"),
    "doctor": ("nobody", "--probe=5"),
    "edit": ("nobody",),
    "events": ("nobody",),
    "exec": ("vm1 true", "vm1", "nobody true", "-t vm1 sh"),
    "export": ("nonsense",),
    "freeze": ("vm1", "nobody", ""),
    "help": ("nonsense",),
    "image": ("info nothing:1", "pull debian:nothing", "rm nothing:1", "import /no/such.qcow2", "sideways"),
    "init": ("LAB",),
    "kill": ("vm1", "nobody", "", "--all vm1"),
    "list": ("", "-v", "vm1 nobody", "@web", "@wbe", "@other", "-o yaml"),
    "log": ("vm1", "nobody"),
    "man": ("nonsense",),
    "media": ("vm1", "nobody", "vm1 no-such.iso", "vm1 --eject", "vm1 a.iso --eject"),
    "metrics": ("/no/such/directory/kvmrun.prom",),
    "monitor": ("vm1 -c query-status", "nobody"),
    "net": ("status nowhere", "up nowhere", "down nowhere", "restart nowhere", "sideways"),
    "new": ("vm1", "a/b", "vm9 --memory lots", "vm9 --copy nobody", "vm9 --base missing.qcow2", "vm9 --os a/b"),
    "pause": ("vm1", "nobody", ""),
    "rename": ("nobody vm9", "vm1 vm2", "vm1 a/b"),
    "repair": ("nobody",),
    "reset": ("vm1", "nobody", ""),
    "restart": ("nobody", "broken", ""),
    "resize": ("nobody 1G", "vm1 1G", "disk lots", "disk:2 1G", "disk 2G", "disk"),
    "resume": ("vm1", "nobody", ""),
    "revert": ("nobody", "vm1", "vm2", "broken", ""),
    "rm": ("nobody", "vm2", ""),
    "screenshot": ("vm1 a.png", "vm1 a.bmp", "nobody a.png"),
    "shell": ("vm1", "nobody"),
    "show": ("broken", "nobody"),
    "ssh": ("vm1", "nobody"),
    "ssh-config": ("/no/such/directory/config",),
    "stop": ("vm1", "nobody", "", "--all vm1"),
    "thaw": ("vm1", "nobody", ""),
    "top": ("nobody",),
    "up": ("nobody", "broken", "create vm9", "--all vm1", "-o json vm1"),
    "view": ("vm1", "nobody"),
    "wait": ("vm1", "nobody", "vm1 --for moon"),
}
RUNNING = (
    *("net up", "net up", "up vm1", "up vm1", "pause vm1", "pause vm1", "resume vm1", "resume vm1"),
    *("log vm1 --restart", "exec vm1 true", "freeze vm1", "wait vm1 --for stopped --timeout 0.3"),
    *("reset vm1", "rm vm1", "rename vm1 vm9", "net down", "repair -n", "stop vm1 --timeout 0.3", "stop vm1"),
    *("net down", "net down", "repair -n"),
)
"""What is typed, in this order, beside a guest that runs: what is done already, and what cannot be done."""


@pytest.mark.skipif(os.geteuid() != 0, reason="to others than root the messages propose sudo")
@pytest.mark.usefixtures("netns", "tun")
def test_sentences(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    for name, text in GUESTS.items():
        (lab / f"{name}.toml").write_text(text)
    assert set(LINES) == set(commands.names())
    texts = {f"{name}.txt": session(kvmrun, name, lines) for name, lines in LINES.items()}
    for line in RUNNING:
        name, _, rest = line.partition(" ")
        texts[f"{name}.txt"] += "\n" + session(kvmrun, name, (rest,))
    golden.same("messages", {name: steady(text, own_directories, lab) for name, text in texts.items()})


def session(kvmrun: Cli, name: str, lines: tuple[str, ...]) -> str:
    """The command lines with what they print and their exit codes, as on a terminal."""
    parts = []
    for line in lines:
        words = line.replace("LAB", kvmrun.words[-1]).split()
        ended = kvmrun(name, *words, COLUMNS="80")
        parts.append(f"$ kvmrun {name} {line}".rstrip() + f"\n{ended.out}{ended.err}[{ended.code}]\n")
    return "\n".join(parts)


def steady(text: str, root: Path, lab: Path) -> str:
    """The text without what differs from machine to machine."""
    text = text.replace(str(lab), "LAB").replace(str(root), "ROOT")
    text = re.sub(r"\bafter \d+\.\d s\n", "after SECONDS s\n", re.sub(r"\bpid \d+", "pid PID", text))
    text = re.sub(r"(?m)^usage: (?:.+\n)+?(?=kvmrun)", "usage: ...\n", text)
    return re.sub(r"(?<=\(choose from ).*(?=\))", lambda chosen: chosen[0].replace("'", ""), text)
