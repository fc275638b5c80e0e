"""The list: what it says is what is there, whatever the records say."""

import errno
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.hosts import host
from support.screen import COMMAND, screen
from support.world import ip, world

from kvmrun.model import derive

pytestmark = pytest.mark.usefixtures("netns", "tun")


@pytest.fixture
def record(own_directories: Path) -> Path:
    return own_directories / "run/vm/vm1/record"


def test_a_row_has_every_field_of_the_interface(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    resting = kvmrun.rows()["vm1"]
    kvmrun.ok("vm1")
    row = kvmrun.rows()["vm1"]
    assert resting.keys() == row.keys()
    same = ("uuid", "memory_bytes", "cpus", "nics", "accel")
    assert {key: row[key] for key in same} == {key: resting[key] for key in same}
    assert row["uuid"] == derive.uuid("", "vm1")
    assert row["memory_bytes"] == 32 << 20
    assert row["rss_bytes"] > 1 << 20
    assert all(type(row[key]) is int for key in ("pid", "uptime_s", "rss_bytes"))
    assert (resting["state"], resting["pid"], resting["uptime_s"]) == ("stopped", None, None)


def test_a_pipe_gets_plain_columns(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    (lab / "bad.toml").write_text("memory = 7\n")
    kvmrun.ok("vm1")
    head, bad, vm1 = kvmrun.ok("--list").out.splitlines()
    assert head.split()[:4] == ["NAME", "STATE", "ACCEL", "PID"]
    assert (bad.split()[:2], vm1.split()[:3]) == (["bad", "invalid"], ["vm1", "running", "tcg"])
    assert "\x1b" not in head + bad + vm1


def test_an_empty_lab_is_an_empty_list_that_writes_nothing(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    assert kvmrun.ok("list", "-o", "json").json() == {"guests": [], "schema": 1}
    assert [path.name for path in own_directories.iterdir()] == ["vms.d"]


def test_a_frozen_qemu_costs_its_own_row_and_can_be_killed(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2", "vm3")
    kvmrun.ok("up", "--all")
    pid = kvmrun.pid("vm2")
    os.kill(pid, signal.SIGSTOP)
    rows = kvmrun.rows()
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"vm1": "running", "vm2": "unresponsive", "vm3": "running"}
    assert rows["vm2"]["pid"] == pid
    assert " 2 s" in rows["vm2"]["problem"]
    kvmrun.ok("kill", "vm2")
    assert kvmrun.rows()["vm2"]["state"] == "stopped"


def test_a_guest_whose_tap_was_pulled_is_degraded(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1")
    ip("link", "set", "tap-vm1", "nomaster")
    row = kvmrun.rows()["vm1"]
    told = [fact for fact in ("tap-vm1", "br0", "kvmrun repair") if fact in row["problem"]]
    assert (row["state"], told) == ("degraded", ["tap-vm1", "br0", "kvmrun repair"])


def test_guests_that_are_off_or_paused_are_told_apart(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1", "--", "-no-shutdown")
    kvmrun.ok("monitor", "vm1", "-c", "stop")
    assert kvmrun.rows()["vm1"]["state"] == "paused"


def test_a_running_guest_keeps_what_it_was_started_with(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1")
    before = kvmrun.rows()["vm1"]
    (lab / "vm1.toml").write_text('accel = "tcg"\nmemory = "64M"\n[[nic]]\nmac = "52:54:00:00:00:01"\n')
    row = kvmrun.rows()["vm1"]
    assert (row["memory_bytes"], row["nics"]) == (before["memory_bytes"], before["nics"])


def test_listing_writes_nothing(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2")
    kvmrun.ok("vm1")
    before = world()
    kvmrun.rows()
    assert world() == before


def _as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _as_sparse(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, 1 << 30)


def _as_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


class TestRecord:
    """A record is a hint: no harm done to it changes what runs, or what is said of it."""

    def test_cut_anywhere(self, lab: Path, kvmrun: Cli, record: Path) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        row, whole = kvmrun.rows()["vm1"], record.read_bytes()
        for length in range(0, len(whole), 40):
            record.write_bytes(whole[:length])
            found = kvmrun.rows()["vm1"]
            assert (found["state"], found["pid"], found["nics"]) == ("running", row["pid"], row["nics"]), length
        kvmrun.ok("vm1")
        assert kvmrun.pid("vm1") == row["pid"]
        kvmrun.ok("stop", "vm1", "--force")
        assert kvmrun.rows()["vm1"]["state"] == "stopped"

    @pytest.mark.parametrize(
        "harm",
        [
            lambda path: path.write_bytes(os.urandom(4096)),
            lambda path: path.write_text("[" * 100_000),
            lambda path: path.write_text('{"schema": 1, "pid": 1, "name": "vm1", "ports": []}'),
            lambda path: path.write_text('{"schema": 99, "pid": "no", "ports": 7}'),
            Path.unlink,
            _as_fifo,
            _as_directory,
            _as_sparse,
            _as_link,
        ],
        ids=["noise", "deep", "incomplete", "other-schema", "gone", "fifo", "directory", "sparse", "link"],
    )
    def test_replaced(self, lab: Path, kvmrun: Cli, record: Path, harm: Callable[[Path], None]) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        pid = kvmrun.pid("vm1")
        harm(record)
        row = kvmrun.rows()["vm1"]
        assert (row["state"], row["pid"]) == ("running", pid)
        kvmrun.ok("stop", "vm1", "--force")
        assert kvmrun.rows()["vm1"]["state"] == "stopped"

    def test_the_pid_of_somebody_else_is_not_believed(self, lab: Path, kvmrun: Cli, record: Path) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        pid = kvmrun.pid("vm1")
        text = record.read_text()
        record.write_text(text.replace(f'"pid": {pid}', f'"pid": {os.getpid()}'))
        assert record.read_text() != text
        assert kvmrun.pid("vm1") == pid
        kvmrun.ok("kill", "vm1")
        assert kvmrun.rows()["vm1"]["state"] == "stopped"

    def test_one_left_by_a_dead_qemu_starts_nothing_and_kills_nobody(
        self, lab: Path, kvmrun: Cli, record: Path
    ) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        text = record.read_text().replace(f'"pid": {kvmrun.pid("vm1")}', f'"pid": {os.getpid()}')
        kvmrun.ok("kill", "vm1")
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(text)
        assert kvmrun.rows()["vm1"]["state"] == "stopped"
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("vm1")


def test_some_guests_are_listed_by_name_or_group(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2", text=TCG + 'nic = []\ngroups = ["web"]\n')
    guests(lab, "vm3", text=TCG + "nic = []\n")
    kvmrun.ok("vm3", "--paused")

    def listed(*words: str) -> list[str]:
        return [row["name"] for row in kvmrun.ok("list", *words, "-o", "json").json()["guests"]]

    assert listed("vm2") == ["vm2"]
    assert listed("@web") == ["vm1", "vm2"]
    assert listed("vm3", "@web") == ["vm1", "vm2", "vm3"]
    assert kvmrun.ok("--list", "vm3").out.count("\n") == 2
    assert kvmrun.ok("list", "-v", "vm3").out.count("\n") == 2
    done = kvmrun("list", "vm9", "vm1", "@nosuch")
    assert (done.code, done.out.splitlines()[1].split()[0]) == (4, "vm1")
    assert ("vm9" in done.err, "nosuch" in done.err) == (True, True)
    (lab / "vm3.toml").unlink()
    assert listed("vm3") == ["vm3"]


def test_a_person_with_an_empty_lab_is_told_what_fills_it(lab: Path, kvmrun: Cli) -> None:
    with screen(COMMAND, "list", "-C", str(lab)) as one:
        assert one.end() == 0
        text = " ".join(one.text.split())
    assert f"kvmrun -C {lab} new NAME" in text
    assert "ADDRESS" in kvmrun.ok("list").out


def test_an_address_that_nobody_reserved_is_shown_with_how_it_is_known(lab: Path, kvmrun: Cli) -> None:
    (lab / "networks.toml").write_text(
        '[network.lan]\n[network.office]\nbridge = "office0"\nexternal = true\nsubnet = "10.9.9.0/24"\n'
    )
    guests(lab, "vm1", text=f'{TCG}[[nic]]\nnetwork = "office"\n')
    guests(lab, "vm2", text=f'{TCG}[[nic]]\naddress = "192.168.0.7"\n')
    ip("link", "add", "office0", "type", "bridge")
    ip("address", "add", "10.9.9.1/24", "dev", "office0")
    ip("link", "set", "office0", "up")
    ip("link", "add", "other0", "up", "type", "bridge")
    ip("address", "add", "10.9.8.1/24", "dev", "other0")
    kvmrun.ok("vm1", "vm2")
    one, two = (kvmrun.rows()[name]["nics"][0] for name in ("vm1", "vm2"))
    assert (one["address"], one["address_source"]) == (None, None)
    assert (two["address"], two["address_source"]) == ("192.168.0.7", "reservation")
    with host("v2", bridge="other0", mac=one["mac"], address="10.9.8.9/24"), socket.socket() as client:
        assert client.connect_ex(("10.9.8.9", 9)) == errno.ECONNREFUSED
        assert kvmrun.rows()["vm1"]["nics"][0]["address"] is None, "another machine with its MAC, on another bridge"
        assert "10.9.8.9" not in kvmrun("ssh", "vm1", "--timeout", "1", "--", "-G").out
    with host("v1", bridge="office0", mac=one["mac"], address="10.9.9.9/24"), socket.socket() as client:
        assert client.connect_ex(("10.9.9.9", 9)) == errno.ECONNREFUSED
        seen = kvmrun.rows()["vm1"]["nics"][0]
        assert (seen["address"], seen["address_source"]) == ("10.9.9.9", "neighbour")
        assert "10.9.9.9 (neighbour)" in kvmrun.ok("list", "-v").out
        assert "hostname 10.9.9.9" in kvmrun("ssh", "vm1", "--", "-G").out.splitlines()
    kvmrun.ok("kill", "vm1")
    assert kvmrun.rows()["vm1"]["nics"][0]["address"] is None
