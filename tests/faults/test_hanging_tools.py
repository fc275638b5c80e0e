"""--timeout limits the whole command, whichever program of the system it waits for, and whoever holds a lock."""

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.tally import Tally
from support.world import processes

from kvmrun.host.process import process

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(900)]

ENDS = 9.0
"""The usual limits of these waits are 5 and 10 s, one after the other."""
COMMANDS = {
    "up": ("up", "vm1"),
    "up-wait": ("up", "vm1", "--wait=port:1"),
    "restart": ("restart", "vm2", "-f"),
    "stop": ("stop", "vm2", "-f"),
    "kill": ("kill", "vm2"),
    "pause": ("pause", "vm2"),
    "wait": ("wait", "vm1"),
    "list": ("list",),
    "net-up": ("net", "up"),
    "net-restart": ("net", "restart"),
    "net-down": ("net", "down", "--force"),
    "net-status": ("net", "status"),
    "doctor": ("doctor",),
    "repair": ("repair",),
    "rename": ("rename", "vm4", "vm5", "--keep"),
    "revert": ("revert", "vm1", "-y"),
    "rm": ("rm", "vm3", "-y"),
}


@contextmanager
def hanging(tool: str, place: Path) -> Iterator[None]:
    """Whoever runs that program of the system waits for ever."""
    script = place / f"hanging-{tool}"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    path = process.find_program(tool)
    subprocess.run(["mount", "--bind", script, Path(path).resolve()], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", Path(path).resolve()], check=True)


@contextmanager
def held(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


QUICK = {
    "nft": ("up", "net-restart"),
    "dnsmasq": ("restart", "net-up"),
    "qemu-img": ("up-wait",),
    "lock of a guest": ("rm", "rename"),
    "lock of a network": ("up", "net-down"),
    "lock of settings": ("net-up",),
}
"""Who is waited for, and the commands that wait for it in the quick tier."""
LOCKS = {
    "lock of a guest": ("vm/vm3/op", "vm/vm4/op"),
    "lock of a network": ("net/lan/op",),
    "lock of settings": ("sysctls",),
}


@pytest.mark.parametrize("peer", QUICK)
def test_a_command_ends_in_its_time(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally, peer: str) -> None:
    row = tally.row("T-03", "--timeout while a program of the system hangs, or a lock is held", 12)
    run = own_directories / "run"
    guests(lab, "vm1", text=f'{TCG}[[drive]]\nimage = "{own_directories}/new.qcow2"\nsize = "1M"\n')
    guests(lab, "vm2", "vm3", "vm4", text=TCG)
    for name, words in COMMANDS.items():
        if name not in QUICK[peer] and not row.full:
            continue
        kvmrun.limit = 60.0
        if name in {"restart", "stop", "kill", "pause"}:
            kvmrun.ok("vm2")
        with ExitStack() as stack, row.case(f"{name} {peer}"):
            if not peer.startswith("lock"):
                stack.enter_context(hanging(peer, own_directories))
            for file in LOCKS.get(peer, ()):
                stack.enter_context(held(run / file))
            kvmrun.limit = ENDS
            done = kvmrun("--timeout", "1", *words)
            assert done.code in {0, 1, 3, 6, 7, 69, 75}, done
            assert "bug" not in done.err, done.err
        kvmrun.limit = 60.0
        with row.case(f"after {name} {peer}"):
            kvmrun.ok("kill", "--all", "--force")
            kvmrun.ok("net", "down", "--force")
            assert processes() == []
