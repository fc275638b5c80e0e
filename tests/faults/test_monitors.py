"""The list among guests that hang, and monitors behind whose names somebody else listens."""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import herd
from support.builders import TCG, guests
from support.cli import Cli
from support.tally import Tally

from kvmrun.api.status.live_status import LIMIT

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to be another user"),
    pytest.mark.usefixtures("netns", "tun"),
]
THEIRS = 4242


def used_by_children() -> float:
    """Seconds of processor time that commands have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_fifty_guests_of_which_five_hang(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("Q-21", "the list of 50 guests, 5 of them stopped: in 3 s, every row right", 20)
    names = [f"vm{number:02}" for number in range(50)]
    guests(lab, *names, text=TCG.replace("32M", "8M") + "nic = []\n")
    kvmrun.limit = 170
    kvmrun.ok("up", "--all", "--paused")
    pids = {name: guest["pid"] for name, guest in kvmrun.rows().items()}
    hung = names[::10]
    for name in hung:
        os.kill(pids[name], signal.SIGSTOP)
    for number in range(row.count(quick=6)):  # a QEMU that hangs lets five clients wait: it is silent to the sixth too
        with row.case(number):
            began, used = time.monotonic(), used_by_children()
            told = herd.run(lab, "list", "-o", "json")
            # on a machine with nothing else to do it waits for the five alone: 2 s, and what it takes itself
            assert LIMIT + used_by_children() - used < 3
            assert time.monotonic() - began < 60
            rows = {guest["name"]: guest for guest in json.loads(told.text)["guests"]}
            assert {name: guest["pid"] for name, guest in rows.items()} == pids
            assert {name: guest["state"] for name, guest in rows.items()} == {
                name: "unresponsive" if name in hung else "paused" for name in names
            }
            assert {name for name, guest in rows.items() if guest["problem"]} == set(hung)
    kvmrun.ok("kill", "--all")


IMPOSTOR = """
import json, os, socket, sys, threading
directory, uuid = sys.argv[1:]
greeting = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": ["oob"]}}
answers = {"query-uuid": {"UUID": uuid}, "query-kvm": {"enabled": True, "present": True},
           "query-status": {"status": "running", "running": True, "singlestep": False}}
def talk(peer):
    heard, file = peer.makefile("r"), peer.makefile("w")
    file.write(json.dumps(greeting) + "\\n"); file.flush()
    text = ""
    while more := heard.read(1):
        text += more
        try:
            said = json.loads(text)
        except ValueError:
            continue
        text = ""
        print(said["execute"], flush=True)
        answer = {"return": answers.get(said["execute"], {})} | {key: said[key] for key in ("id",) if key in said}
        file.write(json.dumps(answer) + "\\n"); file.flush()
def serve(at):
    while True:
        threading.Thread(target=talk, args=(at.accept()[0],), daemon=True).start()
for name in "qep":
    at = socket.socket(socket.AF_UNIX); at.bind(directory + "/" + name); at.listen(4)
    threading.Thread(target=serve, args=(at,), daemon=True).start()
print("up", flush=True)
threading.Event().wait()
"""


@contextmanager
def impostor(root: Path, place: Path, uuid: str) -> Iterator[None]:
    """Another account serves the three monitors of the guest in `place`, and knows its UUID, which is no secret."""
    theirs = root / "theirs"
    theirs.mkdir()
    os.chown(theirs, THEIRS, THEIRS)
    child = subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", IMPOSTOR, str(theirs), uuid], stdout=subprocess.PIPE, text=True,
        user=THEIRS, group=THEIRS, extra_groups=[],
    )  # fmt: skip
    with child:
        try:
            assert child.stdout
            assert child.stdout.readline() == "up\n"
            for name in "qep":
                (theirs / name).rename(place / name)
            yield
        finally:
            child.kill()
    theirs.rmdir()


STRANGE = "another account"
REFUSED = {
    "monitor": ("monitor", "vm1", "-c", "query-status"),
    "human": ("monitor", "vm1", "--hmp", "info", "status"),
    "pause": ("pause", "vm1"),
    "resume": ("resume", "vm1"),
    "reset": ("reset", "vm1"),
}


def test_a_monitor_is_believed_only_as_its_qemus_account(
    lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally
) -> None:
    row = tally.row("Q-20", "another account behind a monitor's name, with the right UUID, under every command", 20)
    guests(lab, "vm1", "vm2", text=TCG + "nic = []\n")
    place = own_directories / "run/vm/vm1"
    ends = {"stop": ("stop", "vm1", "--timeout", "1"), "force": ("stop", "--force", "vm1"), "kill": ("kill", "vm1")}
    for end in ends if tally.full else ["stop"]:
        kvmrun.ok("vm1", "vm2")
        pid, uuid = kvmrun.pid("vm1"), kvmrun.rows()["vm1"]["uuid"]
        with impostor(own_directories, place, uuid):
            for words in (("list", "-o", "json"), ("list", "-v", "-o", "json")):
                with row.case(f"{' '.join(words)}, before {end}"):
                    found = {one["name"]: one for one in kvmrun.ok(*words).json()["guests"]}
                    assert (found["vm1"]["state"], found["vm1"]["accel"], found["vm1"]["pid"]) == (
                        "unresponsive",
                        "tcg",
                        pid,
                    )
                    assert STRANGE in found["vm1"]["problem"]
                    assert found["vm2"]["state"] == "running"
            for what, words in REFUSED.items():
                with row.case(f"{what}, before {end}"):
                    result = kvmrun(*words)
                    assert (result.code, STRANGE in result.err) == (6, True), result
                    assert not result.out
            with row.case(f"events, before {end}"), kvmrun.begun("events", "vm1") as following:
                assert following.stdout
                assert STRANGE in following.stdout.readline()
            with row.case(f"a second start, before {end}"):
                kvmrun.ok("vm1")
                assert kvmrun.pid("vm1") == pid
            with row.case(end):
                kvmrun.ok(*ends[end])
                assert kvmrun.rows()["vm1"]["state"] == "stopped"
            with row.case(f"a new start after {end}"):
                kvmrun.ok("vm1")
                assert kvmrun.rows()["vm1"]["problem"] is None
        kvmrun.ok("kill", "vm1", "vm2")
