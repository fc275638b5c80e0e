"""The end of guests: asked, told, killed, and what a crash of QEMU or of kvmrun leaves to tidy up."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import proc
from support.builders import guests
from support.cli import Cli, Run
from support.world import link, processes, until, world, world_after

from kvmrun.host.links import persistent_taps
from kvmrun.host.rundir import lock

pytestmark = pytest.mark.usefixtures("netns", "tun")


@pytest.fixture
def stalling(own_directories: Path) -> Path:
    """A QEMU that waits before it begins, until somebody opens the pipe beside it, "go"."""
    path = own_directories / "qemu"
    path.write_text('#!/bin/sh\nread -r _ < "${0%/*}/go"\nexec qemu-system-x86_64 "$@"\n')
    path.chmod(0o755)
    os.mkfifo(path.parent / "go")
    (path.parent / "go").chmod(0o644)
    return path


def stalled() -> int:
    """How many QEMUs are waiting."""
    return sum(words.endswith("/sh") for words in processes())


class TestStop:
    def test_a_guest_that_hears_no_power_button_is_told_to_quit(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        out = kvmrun.ok("stop", "vm1", "--timeout", "1").out
        assert (" 1 s" in out, "QEMU" in out) == (True, True)
        assert kvmrun.rows()["vm1"]["state"] == "stopped"

    def test_what_an_ended_guest_left_is_removed_by_the_next(
        self, lab: Path, kvmrun: Cli, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.EMFILE, "")

        guests(lab, "vm1")
        kvmrun.ok("vm1", "--paused")
        with monkeypatch.context() as patched:
            patched.setattr(persistent_taps, "drop_leftovers", full)
            done = run("stop", "vm1")
        assert (done.code, "has ended" in done.err, "stop vm1\n" in done.err) == (1, True, True)
        kvmrun.ok("stop", "vm1")
        assert kvmrun("repair", "-n").code == 0

    def test_a_paused_guest_is_resumed_first(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        kvmrun.ok("monitor", "vm1", "-c", "stop")
        assert kvmrun.rows()["vm1"]["state"] == "paused"
        out = kvmrun.ok("stop", "vm1", "--timeout", "1").out
        assert "resumed" in out
        assert kvmrun.rows()["vm1"]["state"] == "stopped"

    def test_a_frozen_qemu_is_killed_in_the_end(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        os.kill(kvmrun.pid("vm1"), signal.SIGSTOP)
        assert "killed" in kvmrun.ok("stop", "vm1", "--timeout", "0.5").out
        assert kvmrun.rows()["vm1"]["state"] == "stopped"

    def test_again_is_no_error_and_changes_nothing(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        before = world()
        for words in (("stop", "vm1"), ("kill", "vm1"), ("stop", "--all"), ("kill", "--all")):
            kvmrun.ok(*words)
        assert world() == before

    def test_unknown_guests_and_no_guests_are_told_apart(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        assert kvmrun("stop", "vm2").code == 4
        assert kvmrun("stop").code == 2

    def test_a_guest_without_definition_can_still_be_stopped(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        (lab / "vm1.toml").unlink()
        row = kvmrun.rows()["vm1"]
        assert (row["state"], row["nics"][0]["tap"]) == ("running", "tap-vm1")
        kvmrun.ok("stop", "vm1", "--force")
        assert kvmrun.rows() == {}
        assert link("tap-vm1") is None


class TestCrashes:
    def test_a_qemu_that_is_killed_takes_its_tap_along_and_starts_again(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
        until(lambda: kvmrun.rows()["vm1"]["state"] == "stopped")
        assert kvmrun.rows()["vm1"]["state"] == "stopped"
        kvmrun.ok("vm1")
        assert kvmrun.rows()["vm1"]["state"] == "running"

    def test_what_a_killed_qemu_left_is_tidied_by_stop(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        before = world()
        kvmrun.ok("vm1")
        os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
        until(lambda: kvmrun.rows()["vm1"]["state"] == "stopped")
        kvmrun.ok("stop", "vm1")
        kvmrun.ok("net", "down")
        assert world_after(before) == before

    def test_what_is_left_of_a_guest_without_definition_is_stale(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
        until(lambda: kvmrun.rows()["vm1"]["state"] == "stopped")
        (lab / "vm1.toml").unlink()
        row = kvmrun.rows()["vm1"]
        assert (row["state"], "kvmrun repair" in row["problem"].replace(f"-C {lab} ", "")) == ("stale", True)
        kvmrun.ok("stop", "vm1")
        assert kvmrun.rows() == {}

    def test_a_dead_logger_disturbs_neither_guest_nor_monitor(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        pid = kvmrun.pid("vm1")
        os.kill(proc.logger("vm1"), signal.SIGKILL)
        assert kvmrun.ok("monitor", "vm1", "-c", "query-status", "-o", "json").json()["running"] is True
        row = kvmrun.rows()["vm1"]
        assert (row["state"], row["pid"]) == ("running", pid)
        kvmrun.ok("stop", "vm1", "--force")

    def test_a_start_that_was_killed_while_qemu_stalls_is_begun_again(
        self, lab: Path, kvmrun: Cli, stalling: Path
    ) -> None:
        guests(lab, "vm1")
        before = world()
        with kvmrun.begun("vm1", KVMRUN_QEMU=str(stalling)) as child:
            until(stalled)
            child.kill()
            child.communicate()
        assert kvmrun.rows()["vm1"]["state"] == "unresponsive"
        (stalling.parent / "go").write_text("")
        until(lambda: kvmrun.rows()["vm1"]["state"] == "prelaunch")
        assert kvmrun.rows()["vm1"]["problem"]
        unfinished = kvmrun.pid("vm1")
        kvmrun.ok("vm1")
        assert (kvmrun.rows()["vm1"]["state"], kvmrun.pid("vm1") == unfinished) == ("running", False)
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("net", "down")
        assert world_after(before) == before

    def test_a_stalling_qemu_whose_launcher_was_killed_can_be_killed(
        self, lab: Path, kvmrun: Cli, stalling: Path
    ) -> None:
        guests(lab, "vm1")
        before = world()
        with kvmrun.begun("vm1", KVMRUN_QEMU=str(stalling)) as child:
            until(stalled)
            child.kill()
            child.communicate()
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("net", "down")
        assert world_after(before) == before


class TestBystanders:
    """Whoever merely has the lock file open is not the guest."""

    def test_one_that_looks_at_the_lock_is_not_killed(self, lab: Path, kvmrun: Cli, own_directories: Path) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        pid = kvmrun.pid("vm1")
        place = own_directories / "run/vm/vm1"
        (place / "record").write_text("{}")
        lookers = [looker(place / "life") for _ in range(2)]
        try:
            assert kvmrun.pid("vm1") == pid
            kvmrun.ok("kill", "vm1")
            assert [one.poll() for one in lookers] == [None, None]
            assert not lock.is_held(str(place / "life"))
        finally:
            for one in lookers:
                one.kill()
                one.communicate()

    def test_a_start_that_is_under_way_is_waited_for_by_stop(self, lab: Path, kvmrun: Cli, stalling: Path) -> None:
        guests(lab, "vm1", "vm2")
        with kvmrun.begun("vm1", "vm2", KVMRUN_QEMU=str(stalling)) as start:
            until(lambda: stalled() == 2)
            with kvmrun.begun("stop", "vm1", "--force") as end:
                until(lambda: has_open(end.pid, "/vm1/op"))
                (stalling.parent / "go").write_text("")
                said = start.communicate(timeout=60)[0]
                assert (start.returncode, said.count("(tcg")) == (0, 2), said
                assert end.wait(60) == 0
        assert {name: row["state"] for name, row in kvmrun.rows().items()} == {"vm1": "stopped", "vm2": "running"}

    def test_a_start_that_hangs_is_ended_by_kill_and_the_others_go_on(
        self, lab: Path, kvmrun: Cli, stalling: Path
    ) -> None:
        guests(lab, "vm1", "vm2")
        with kvmrun.begun("vm1", "vm2", KVMRUN_QEMU=str(stalling)) as start:
            until(lambda: stalled() == 2)
            kvmrun.ok("kill", "vm1")
            (stalling.parent / "go").write_text("")
            said = start.communicate(timeout=60)[0]
        assert (start.returncode, said.count("(tcg"), "SIGKILL" in said) == (1, 1, True), said
        assert {name: row["state"] for name, row in kvmrun.rows().items()} == {"vm1": "stopped", "vm2": "running"}


def looker(path: Path) -> "subprocess.Popen[bytes]":
    """A process that has `path` open and does nothing with it."""
    words = [
        sys.executable,
        "-c",
        "import sys, time; at = open(sys.argv[1], 'r+'); print('x', flush=True); time.sleep(99)",
    ]
    child = subprocess.Popen([*words, str(path)], stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    return child


def has_open(pid: int, ending: str) -> bool:
    try:
        return any(what.endswith(ending) for what in proc.held(pid).values())
    except OSError:
        return False
