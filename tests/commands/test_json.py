"""Every command that prints facts prints them for programs as well: a schema, sorted keys, plain characters."""

import json
import os
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.sector import sector
from support.world import until

from kvmrun.cli import commands
from kvmrun.cli.arguments import CommandParser

DO = {
    *("up", "stop", "kill", "pause", "resume", "reset", "restart", "freeze", "thaw", "repair"),
    *("new", "edit", "rename", "rm", "init", "build", "export", "screenshot", "revert", "resize", "clone"),
}
"""Commands that do something, and tell only that they did."""
SPEAK = {"console", "ssh", "exec", "cp", "completion", "help", "man", "metrics", "shell", "ssh-config", "view"}
"""Commands whose output is somebody else's, or has a format of its own."""


@pytest.mark.parametrize("name", [name for name in commands.names() if name not in DO | SPEAK])
def test_every_command_that_prints_facts_has_json(name: str) -> None:
    module = commands.load(name)
    assert module is not None
    assert "json" in (CommandParser(name, module)._option_string_actions["--output"].choices or ())


def documents(text: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in text.splitlines()]
    assert found
    assert text.isascii()
    assert all(one["schema"] == 1 and list(one) == sorted(one) for one in found)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")
def test_what_they_say(lab: Path, kvmrun: Cli) -> None:
    sector(lab, "vm1", "one\r\ntwø \x1b]0;x\x07\r\n".encode())
    guests(lab, "vm2", text=TCG + 'nic = []\nafter = ["vm1"]\n')
    (plan,) = documents(kvmrun.ok("up", "--all", "-n", "-o", "json").out)
    first, second = plan["guests"]  # type: ignore[misc]
    assert (first["name"], second["name"]) == ("vm1", "vm2")
    assert "qemu-system" in first["command"][0]
    assert "for vm1" in " ".join(first["steps"])
    assert kvmrun.rows()["vm1"]["state"] == "stopped"
    kvmrun.ok("vm1", "--wait=console:one")
    until(lambda: len(kvmrun.ok("log", "vm1", "-o", "json").out.splitlines()) >= 2)
    lines = documents(kvmrun.ok("log", "vm1", "-o", "json").out)
    assert [line["line"] for line in lines][:2] == ["one", "twø \x1b]0;x\x07"]
    waited = kvmrun("wait", "vm1", "vm2", "-o", "json", "--timeout", "0.5")
    (said,) = documents(waited.out)
    assert waited.code == 7
    assert [(one["name"], one["met"]) for one in said["guests"]] == [("vm1", True), ("vm2", False)]  # type: ignore[attr-defined]
    for words in (("list",), ("show", "vm2"), ("check",), ("net", "status")):
        documents(kvmrun.ok(*words, "-o", "json").out)
