"""Processes that are not who they were, do not answer, are about to end or lost what they are known by."""

import ctypes
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support import herd
from support.builders import TCG, guests
from support.cli import Cli
from support.hosts import host
from support.tally import Tally
from support.world import until, world, world_after

from kvmrun.host.rundir import lock, rundir, socket_lookup

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(3600)]
_CLONE3 = 435
LOOKALIKE = ["/bin/sh", "-c", "exec 9<>{life}; sleep 1000 & wait", "qemu", "-name", "guest=vm1", "-uuid"]


def with_pid(pid: int, words: list[str], uid: int) -> None:
    """A process of exactly this number: the kernel is told so. Waits until the number is free."""

    def tried() -> bool:
        if helper := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1]) == 0
        numbers = (ctypes.c_int * 1)(pid)
        how = struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(numbers), 1, 0)
        if (made := ctypes.CDLL(None).syscall(_CLONE3, how, len(how))) == 0:
            os.setsid()
            os.setuid(uid)
            os.execv(words[0], words)
        os._exit(0 if made == pid else 1)

    until(tried)
    until(lambda: socket_lookup.command_line(pid)[:1] == words[:1])


def is_alive(pid: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    return False


def ended_at_last(pid: int) -> None:
    until(lambda: not is_alive(pid))


def test_a_pid_that_is_somebody_elses_now(tally: Tally, lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    row = tally.row("C-08", "pids of QEMU and dnsmasq taken over by bystanders, who are left alone", 200)
    guests(lab, "vm1")
    run = own_directories / "run"
    commands = (
        ("kill", "vm1"),
        ("stop", "vm1"),
        ("repair",),
        ("list",),
        ("kill", "--all"),
        ("net", "restart", "--force"),
    )
    record, pid, uid = "", 0, 0
    for number in range(row.count(6)):
        with row.case(number):
            if number % 20 == 0:
                kvmrun.ok("vm1")
                pid, record = kvmrun.pid("vm1"), (run / "vm/vm1/record").read_text()
                uid = os.stat(f"/proc/{pid}").st_uid
                os.kill(pid, signal.SIGKILL)
                until(lambda: not rundir.is_running(f"{run}/vm/vm1"))
            (run / "vm/vm1").mkdir(mode=0o700, parents=True, exist_ok=True)
            (run / "vm/vm1/record").write_text(record)
            life = run / "vm/vm1/life"
            life.touch(mode=0o666)
            look = [word.format(life=life) for word in LOOKALIKE]
            words = (["/bin/sleep", "1000"], look, ["/bin/sleep", "1000"])[number % 3]
            with_pid(pid, words, (0, 0, uid)[number % 3])
            if number % 2:
                (run / "net/lan/dnsmasq").write_text(f"{pid}")
            assert kvmrun.rows()["vm1"]["state"] == "stopped" if number % 5 == 0 else True
            ended = herd.run(lab, *commands[number % len(commands)])
            assert ended.code == 0, ended.text
            assert is_alive(pid), f"{commands[number % len(commands)]} ended a bystander"
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        ended_at_last(pid)


@pytest.fixture
def freezer(own_directories: Path) -> Iterator[Path]:
    """A control group whose processes can be frozen; skips where there is none of the first kind."""
    root = own_directories / "freezer"
    root.mkdir()
    if subprocess.run(
        ["mount", "-t", "cgroup", "-o", "freezer", "none", root], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs the freezer of the first control groups")
    group = root / f"kvmrun-{os.getpid()}"
    group.mkdir()
    yield group
    (group / "freezer.state").write_text("THAWED")
    until(lambda: not (group / "tasks").read_text())
    group.rmdir()
    subprocess.run(["umount", root], check=True)


def test_a_qemu_that_is_stopped(tally: Tally, lab: Path, kvmrun: Cli) -> None:
    row = tally.row("C-09", "QEMU stopped, frozen or in the middle of its end: said so, never called stopped", 20)
    guests(lab, "vm1")
    for number in range(row.count(2)):
        with row.case(f"SIGSTOP {number}"):
            kvmrun.ok("vm1")
            pid = kvmrun.pid("vm1")
            os.kill(pid, signal.SIGSTOP)
            listed = herd.run(lab, "list")
            assert (listed.code, "unresponsive" in listed.text, f" {pid} " in listed.text) == (0, True, True)
            assert listed.seconds < 30
            assert herd.run(lab, "vm1").code == 0
            assert is_alive(pid)
            killed = herd.run(lab, ("kill", "stop")[number % 2], "vm1", *(["--force"] if number % 2 else []))
            assert killed.code == 0, killed.text
            assert not is_alive(pid)
        kvmrun("kill", "vm1")


def test_a_qemu_that_is_frozen(tally: Tally, lab: Path, kvmrun: Cli, freezer: Path) -> None:
    row = tally.row("C-09", "QEMU stopped, frozen or in the middle of its end: said so, never called stopped", 20)
    guests(lab, "vm1")
    for number in range(row.count(1)):
        with row.case(f"frozen {number}"):
            kvmrun.ok("vm1")
            pid = kvmrun.pid("vm1")
            (freezer / "cgroup.procs").write_text(f"{pid}")
            (freezer / "freezer.state").write_text("FROZEN")
            until(lambda: (freezer / "freezer.state").read_text().strip() == "FROZEN")
            listed = herd.run(lab, "list")
            assert (listed.code, "unresponsive" in listed.text, f" {pid} " in listed.text) == (0, True, True)
            killed = herd.run(lab, "kill", "vm1")
            assert killed.code == 7, killed.text
            assert kvmrun.rows()["vm1"]["state"] == "unresponsive"
            (freezer / "freezer.state").write_text("THAWED")
            until(lambda: kvmrun.rows()["vm1"]["state"] == "stopped")  # its threads end one by one
        kvmrun("kill", "vm1")


ENDING = """
import ctypes, os, sys, threading, time
fd = os.open(sys.argv[1], os.O_RDWR)
os.set_inheritable(fd, True)
import fcntl, struct
fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
threading.Thread(target=time.sleep, args=(1000,)).start()
ctypes.CDLL(None).syscall(60, 0)
"""


def ending(directory: str) -> subprocess.Popen[bytes]:
    """A process that is almost gone, and holds the guest's lock."""
    child = subprocess.Popen([sys.executable, "-c", ENDING, f"{directory}/life"])
    until(lambda: lock.is_held(f"{directory}/life"))
    until(lambda: not is_alive(child.pid))
    return child


def test_a_qemu_in_the_middle_of_its_end(tally: Tally, lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    """Its first thread has ended, another has not: /proc shows no descriptors any more, and the lock is held."""
    row = tally.row("C-09", "QEMU stopped, frozen or in the middle of its end: said so, never called stopped", 20)
    guests(lab, "vm1", text=TCG + "nic = []\n")
    directory = f"{own_directories}/run/vm/vm1"
    for number in range(row.count(2)):
        with row.case(f"ending {number}"):
            kvmrun.ok("vm1")
            os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
            until(lambda: not rundir.is_running(directory))
            child = ending(directory)
            try:
                listed = herd.run(lab, "list")
                assert (listed.code, "unresponsive" in listed.text) == (0, True), listed.text
                assert herd.run(lab, "vm1").code == 0
                for words in (("kill", "vm1"), ("stop", "vm1", "--force")):
                    ended = herd.run(lab, *words)
                    assert ended.code == 7, ended.text
                assert herd.run(lab, "repair").code == 1
            finally:
                child.kill()
                child.wait()
        kvmrun("kill", "vm1")


def _with_another(path: Path) -> None:
    path.unlink()
    path.touch(mode=0o600)


def _with(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.unlink()
        make(path)

    return harm


def _moved(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


def _moved_and_made(path: Path) -> None:
    _moved(path)
    path.mkdir(mode=0o700)


FILE_HARMS: tuple[Callable[[Path], object], ...] = (
    Path.unlink,
    _with_another,
    _with(os.mkfifo),
    _with(lambda path: path.mkdir()),
    _with(lambda path: path.symlink_to("/etc/passwd")),
)
TREE_HARMS: tuple[Callable[[Path], object], ...] = (shutil.rmtree, _moved, _moved_and_made)
LOST = ("vm/vm1/life", "vm/vm1/q", "vm/vm1", "vm", "")


@contextmanager
def second_start_refused(lab: Path, pid: int) -> Iterator[None]:
    yield
    again = herd.run(lab, "vm1")
    assert (again.code in {0, 6, 7}, "(tcg" in again.text) == (True, False), f"exit {again.code}: {again.text}"
    assert is_alive(pid)


def test_what_a_guest_is_known_by_is_taken(tally: Tally, lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    row = tally.row("C-10", "lock, monitor or run directory of a running guest deleted or replaced", 60)
    run = own_directories / "run"
    guests(lab, "vm1", text=TCG)
    clean = world()
    rounds = [(name, harm) for name in LOST for harm in (FILE_HARMS if name in LOST[:2] else TREE_HARMS)]
    rounds = rounds * 4 if row.full else rounds[::5]
    for name, harm in rounds:
        with row.case(f"{name or 'everything'}: {getattr(harm, '__qualname__', harm)}"):
            kvmrun.ok("vm1")
            pid = kvmrun.pid("vm1")
            with second_start_refused(lab, pid):
                harm(run / name)
            found = kvmrun.rows()["vm1"]
            assert found["pid"] == pid
            assert found["state"] != "stopped"
            assert found["problem"], "the damage is told"
            repaired = herd.run(lab, "repair")
            assert is_alive(pid)
            if name in LOST[:2]:
                assert repaired.code == 0, repaired.text
                assert kvmrun.rows()["vm1"]["problem"] is None
            else:
                assert (repaired.code, "stop vm1" in repaired.text) == (1, True), repaired.text
            ended = herd.run(lab, "stop", "vm1", "--force")
            assert ended.code == 0, ended.text
            assert not is_alive(pid)
        with row.case("nothing left"):
            for place in own_directories.rglob("elsewhere"):
                shutil.rmtree(place)
            kvmrun("kill", "vm1")
            kvmrun("repair")
            kvmrun.ok("net", "down")
            assert world_after(clean) == clean


def test_dnsmasq_is_killed_again_and_again(tally: Tally, lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    row = tally.row("C-12", "dnsmasq killed: told, and serving again after the next command, the same addresses", 100)
    guests(lab, "vm1")
    kvmrun.ok("vm1")
    with host("v1", bridge="br0") as one:
        first = one.lease()["ip"]
        for number in range(row.count(4)):
            with row.case(number):
                pid = int((own_directories / "run/net/lan/dnsmasq").read_text())
                os.kill(pid, signal.SIGKILL)
                ended_at_last(pid)
                assert "dnsmasq" in kvmrun.rows()["vm1"]["problem"]
                words = (("net", "up"), ("vm1",), ("repair",))[number % 3]
                began = time.monotonic()
                mended = herd.run(lab, *words)
                assert mended.code == 0, mended.text
                if number % 5 == 0 or not row.full:
                    assert one.lease()["ip"] == first
                assert time.monotonic() - began < 60
                assert kvmrun.rows()["vm1"]["problem"] is None
