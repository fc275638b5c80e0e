import argparse
import asyncio
import io
import json
import os
import socket
from pathlib import Path

import pytest
from support.builders import TCG, guests, own_socket
from support.cli import Cli
from support.qemu import needs_qemu, qemu
from support.qmp import WAYS, serve
from support.screen import Screen, command, screen

from kvmrun.cli.commands import monitor
from kvmrun.cli.terminal import qmp_session
from kvmrun.errors import KvmrunError, NotRunning, Unresponsive, UsageError
from kvmrun.model.deadline import Deadline
from kvmrun.monitor.qmp.qmp_client import MonitorError, connect

SCRIPT = """
import argparse, sys
from kvmrun.cli.terminal import qmp_session as _converse
from kvmrun.cli.commands import monitor as monitor
from kvmrun.model.deadline import NEVER
parser = argparse.ArgumentParser()
monitor.configure(parser)
usual = argparse.Namespace(vms=None, verbose=0, quiet=False, color="auto", timeout=None, deadline=NEVER)
args = parser.parse_args(sys.argv[2:], usual)
from kvmrun.monitor.guest_socket import GuestSocket
own = GuestSocket(path=sys.argv[1], guest="vm2", accounts=lambda: ())
sys.exit(_converse.converse(own, "", args))
"""


def arguments(*words: str, timeout: float | None = 20) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    monitor.configure(parser)
    deadline = Deadline.begin(timeout)
    given = argparse.Namespace(vms=None, verbose=0, quiet=False, color="auto", timeout=timeout, deadline=deadline)
    return parser.parse_args(["vm2", *words], given)


def converse(path: str, *words: str) -> int | None:
    return qmp_session.converse(own_socket(path), "", arguments(*words))


@pytest.fixture
def path(tmp_path) -> str:
    return f"{tmp_path}/p"


@needs_qemu
class TestOnce:
    def test_each_command_in_turn_on_one_connection(self, path: str, capsys) -> None:
        with qemu(path):
            assert converse(path, "-c", "query-name", "-c", "query-kvm", "-o", "json") == 0
        name, kvm = map(json.loads, capsys.readouterr().out.splitlines())
        assert name == {}
        assert set(kvm) == {"enabled", "present"}

    def test_pretty_is_indented_json_without_colours(self, path: str, capsys) -> None:
        with qemu(path):
            assert converse(path, "-c", "query-status") == 0
        out = capsys.readouterr().out
        assert json.loads(out)["running"] is False
        assert '\n  "running": false' in out

    def test_an_error_ends_it_and_later_ones_are_not_sent(self, path: str, capsys) -> None:
        with qemu(path) as child:
            with pytest.raises(MonitorError, match="nothing") as caught:
                converse(path, "-c", "query-name", "-c", "device_del id=nothing", "-c", "quit")
            assert caught.value.code == 1
            assert child.poll() is None
        assert capsys.readouterr().out == "{}\n"

    def test_a_slip_is_a_usage_error_and_nothing_is_sent(self, path: str) -> None:
        with qemu(path), pytest.raises(UsageError) as caught:
            converse(path, "-c", "query-block-job")
        assert "'query-block-jobs'" in caught.value.fix

    def test_quit_ends_the_guest_and_leaving_does_not(self, path: str) -> None:
        with qemu(path) as child:
            assert converse(path, "-c", "exit", "-c", "quit") == 0
            assert child.poll() is None
            assert converse(path, "-c", "quit") == 0
            assert child.wait(20) == 0
            with pytest.raises(NotRunning):
                converse(path, "-c", "query-status")

    def test_the_human_monitor(self, path: str, capsys) -> None:
        with qemu(path):
            assert converse(path, "--hmp", "info", "status") == 0
            assert "VM status" in capsys.readouterr().out
            assert converse(path, "-c", "/info status") == 0
            assert "VM status" in capsys.readouterr().out
            assert converse(path, "--hmp", "info", "mtree", "-f") == 0
            assert converse(path, "--hmp", "no-such-thing") == 1
            assert converse(path, "-c", "help query-status", "-c", "help") == 0

    def test_lines_from_standard_input(self, path: str, capsys, monkeypatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("# a comment\n\nquery-name\n/info name\nexit\nquit\n"))
        with qemu(path) as child:
            assert converse(path, "-o", "json") == 0
            assert child.poll() is None
        assert capsys.readouterr().out == "{}\n"

    def test_human_lines_from_standard_input(self, path: str, capsys, monkeypatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("info status\n"))
        with qemu(path):
            assert converse(path, "--hmp") == 0
        assert "VM status" in capsys.readouterr().out


def test_two_ways_at_once_are_refused(path: str) -> None:
    with pytest.raises(UsageError, match="exclude"):
        converse(path, "-c", "x", "--hmp", "y")


def test_nobody_there(path: str) -> None:
    with pytest.raises(NotRunning, match="vm2"):
        converse(path, "-c", "query-status")


def test_the_time_limit_is_ours_to_set(path: str) -> None:
    with serve(path, WAYS["accepts-then-silent"]), pytest.raises(Unresponsive, match="query-qmp-schema"):
        qmp_session.converse(own_socket(path), "", arguments("-c", "query-status", timeout=0.2))


@pytest.mark.parametrize("way", ["random-bytes", "half-a-reply", "too-deep", "unsolicited-error", "line-without-end"])
def test_hostile_peers_end_in_our_errors(way: str, path: str) -> None:
    with serve(path, WAYS[way]), pytest.raises(KvmrunError):
        qmp_session.converse(own_socket(path), "", arguments("-c", "query-status", timeout=5))


def answered(one: Screen, line: str, wanted: str) -> None:
    one.type(f"{line}\r")
    one.wait_for(wanted)


async def stop_and_go(path: str) -> None:
    async with connect(own_socket(path), limit=20) as other:
        await other.execute("cont")


@needs_qemu
class TestAtTheKeyboard:
    def test_a_session(self, path: str, tmp_path) -> None:
        other = f"{tmp_path}/q"
        more = ("-chardev", f"socket,id=q,path={other},server=on,wait=off", "-qmp", "chardev:q")
        with qemu(path, *more) as child, screen(SCRIPT, path, "vm2", KVMRUN_STATE_DIR=str(tmp_path)) as one:
            one.wait_for("Ctrl-D")
            one.wait_for("vm2> ")
            one.type("query-statu\t")
            one.wait_for("query-status")
            answered(one, "", '"running": false')
            one.wait_for("vm2> ")
            one.type("block_resize d\t")
            one.wait_for("device=")
            one.type("\x03")
            one.wait_for("vm2> ")
            one.type("/info stat\t\t")
            one.wait_for("info stat")
            one.type("\x03")
            answered(one, "/info status", "VM status")
            answered(one, "help query-status", "returns object")
            answered(one, "query-statuss", "did you mean 'query-status'?")
            one.wait_for("vm2> ")
            one.type("query-st")
            asyncio.run(stop_and_go(other))
            one.wait_for(" RESUME\r\n")
            one.wait_for("vm2> query-st")
            answered(one, "atus", '"running": true')
            one.wait_for("vm2> ")
            one.type("\x04")
            assert one.end() == 0
            assert child.poll() is None

    def test_quit_is_asked_about_and_the_end_is_told(self, path: str, tmp_path) -> None:
        with qemu(path) as child, screen(SCRIPT, path, "vm2", KVMRUN_STATE_DIR=str(tmp_path)) as one:
            one.wait_for("vm2> ")
            answered(one, "quit", "do it? [y/N]")
            one.type("\r")
            answered(one, "query-name", "{}")
            assert child.poll() is None
            answered(one, "quit", "do it? [y/N]")
            answered(one, "y", "vm2 has ended")
            assert one.end() == 0
            assert child.wait(20) == 0

    def test_the_death_of_the_guest_is_announced(self, path: str, tmp_path) -> None:
        with qemu(path) as child, screen(SCRIPT, path, "vm2", KVMRUN_STATE_DIR=str(tmp_path)) as one:
            one.wait_for("vm2> ")
            child.kill()
            one.wait_for("vm2 has ended")
            assert one.end() == 0

    def test_the_human_shell(self, path: str, tmp_path) -> None:
        with qemu(path) as child, screen(SCRIPT, path, "vm2", "--hmp", KVMRUN_STATE_DIR=str(tmp_path)) as one:
            one.wait_for("vm2 (human)> ")
            answered(one, "info status", "VM status")
            one.type("info cpu\t")
            one.wait_for("info cpus")
            one.type("\x03")
            answered(one, "q", "do it? [y/N]")
            one.type("n\r")
            answered(one, "exit", "exit")
            assert one.end() == 0
            assert child.poll() is None


class TestWhoIsThere:
    """Who has the monitor is named, scripts are let in beside a shell, and a shell can be taken over."""

    @pytest.fixture
    def vm1(self, lab: Path, kvmrun: Cli) -> Path:
        guests(lab, "vm1", text=TCG + "nic = []\n")
        kvmrun.ok("vm1")
        return lab.parent / "run/vm/vm1"

    def test_a_script_is_let_in_beside_a_shell_which_can_be_taken_over(self, lab: Path, kvmrun: Cli, vm1: Path) -> None:
        with command(lab, "monitor", "vm1") as first:
            first.wait_for("vm1>")
            for words in (("-c", "query-status"), ("--hmp", "info", "status")):
                assert "running" in kvmrun.ok("monitor", "vm1", *words).out
            with command(lab, "monitor", "vm1") as second:
                assert second.end() == 75
            assert b"is connected to it" in second.raw
            assert b"--steal" in second.raw
            with command(lab, "monitor", "vm1", "--steal") as third:
                third.wait_for("vm1>")
                assert first.end() == 75
                assert b"was taken over" in first.raw
                third.type("exit\r")
                assert third.end() == 0
        assert kvmrun.rows()["vm1"]["state"] == "running"

    def test_another_program_on_our_own_monitor_is_named_and_the_guest_not_to_be_killed(
        self, kvmrun: Cli, vm1: Path
    ) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(f"{vm1}/q")
            assert other.recv(1)
            done = kvmrun("pause", "vm1", "--timeout", "1")
            assert (done.code, f"(pid {os.getpid()})" in done.err) == (7, True), done.err
            assert "kill" not in done.err
            problem = kvmrun.rows()["vm1"]["problem"]
            assert f"(pid {os.getpid()})" in problem
        kvmrun.ok("pause", "vm1")
        assert kvmrun.rows()["vm1"]["state"] == "paused"

    def test_another_program_on_the_monitor_for_people_is_named(self, kvmrun: Cli, vm1: Path) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(f"{vm1}/p")
            assert other.recv(1)
            done = kvmrun("monitor", "vm1", "-c", "query-status", "--timeout", "1")
            assert (done.code, f"(pid {os.getpid()})" in done.err) == (7, True), done.err
