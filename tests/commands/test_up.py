"""Starting guests for real: bridge, tap, QEMU under TCG, each test in a network namespace of its own."""

import errno
import os
import re
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli, Run
from support.world import bridge, ip, link, processes, until, world, world_after

from kvmrun.api.guest import watchers
from kvmrun.model import derive

pytestmark = pytest.mark.usefixtures("netns", "tun")

NONSENSE = TCG + 'args = ["-device nonsense"]\n'


def test_a_guest_starts_is_listed_and_stops_without_a_trace(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    before = world()
    kvmrun.ok("vm1")
    row = kvmrun.rows()["vm1"]
    assert (row["state"], row["accel"], row["problem"]) == ("running", "tcg", None)
    kvmrun.ok("stop", "--force", "vm1")
    kvmrun.ok("net", "down")
    assert world_after(before) == before


def test_starting_a_running_guest_says_so_and_changes_nothing(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1")
    before = world(), kvmrun.pid("vm1")
    kvmrun.ok("vm1")
    assert (world(), kvmrun.pid("vm1")) == before


def test_a_dry_run_tells_the_plan_and_changes_nothing(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    guests(lab, "vm1")
    before = world(), sorted(own_directories.rglob("*"))
    out = kvmrun.ok("vm1", "--dry-run").out
    assert (world(), sorted(own_directories.rglob("*"))) == before
    for told in ("make bridge br0", "plug tap tap-vm1 into br0", "start /usr/bin/qemu", "ifname=tap-vm1", "-sandbox"):
        assert told in out.replace('": "', "=").replace('"ifname', "ifname")


class TestLinks:
    def test_the_tap_is_a_port_of_the_bridge_that_goes_with_its_guest(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        tap = link("tap-vm1")
        assert tap
        assert (tap["master"], tap["ifalias"], "UP" in tap["flags"]) == ("br0", f"kvmrun:vm1:eth0:{lab}", True)
        assert tap["address"] == "fe" + derive.mac("", "vm1", "eth0")[2:]
        assert tap["linkinfo"]["info_kind"] == "tun"
        assert tap["linkinfo"]["info_data"]["persist"] is False

    def test_the_bridge_has_all_that_keeps_it_steady(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        found = bridge("br0")
        assert found
        assert found["address"] == derive.mac("", "bridge", "br0")
        assert (found["stp_state"], found["forward_delay"]) == (0, 0)
        assert (found["ifalias"], "UP" in found["flags"]) == (f"kvmrun:net:lan:{lab}", True)
        assert found["addresses"] == ["192.168.0.254/24"]

    def test_a_guest_without_nics_needs_no_bridge(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=TCG + "nic = []\n")
        kvmrun.ok("vm1")
        assert link("br0") is None
        assert kvmrun.rows()["vm1"]["state"] == "running"

    def test_several_nics_and_queues_on_several_networks(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "networks.toml").write_text(
            '[network.lan]\n[network.dmz]\nbridge = "br1"\nsubnet = "10.7.0.0/24"\nmtu = 1400\n'
        )
        guests(lab, "vm1", text=TCG + 'cpus = 2\n[[nic]]\nqueues = 2\n[[nic]]\nnetwork = "dmz"\nmodel = "e1000"\n')
        kvmrun.ok("vm1")
        one, other, below = link("tap-vm1"), link("tap-vm1-eth1"), link("br1")
        assert one
        assert other
        assert below
        assert (one["master"], other["master"]) == ("br0", "br1")
        assert (one["mtu"], other["mtu"], below["mtu"]) == (1500, 1400, 1400)
        assert one["linkinfo"]["info_data"]["multi_queue"] is True

    @pytest.mark.parametrize("machine", ["q35", "pc", "microvm"])
    def test_every_board_starts(self, lab: Path, kvmrun: Cli, machine: str) -> None:
        guests(lab, "vm1", text=TCG + f'machine = "{machine}"\n')
        kvmrun.ok("vm1")
        assert kvmrun.rows()["vm1"]["state"] == "running"

    def test_a_display_is_a_socket_in_a_private_directory(self, lab: Path, kvmrun: Cli, own_directories: Path) -> None:
        guests(lab, "vm1", text=TCG + 'display = "vnc"\n')
        before = world()
        assert f"VNC at {own_directories}/run/vm/vm1/vnc/v" in kvmrun.ok("vm1").out
        assert (own_directories / "run/vm/vm1/vnc/v").is_socket()
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("net", "down")
        assert world_after(before) == before

    def test_a_display_is_a_port_of_its_own(self, lab: Path, kvmrun: Cli, tmp_path: Path) -> None:
        guests(lab, "vm1", text=TCG + 'display = "vnc:5901"\n')
        guests(lab, "vm3", text=TCG + 'display = "vnc:5902"\n')
        kvmrun.ok("vm1")
        with socket.create_connection(("127.0.0.1", 5901), 10) as viewer:
            assert viewer.recv(12) == b"RFB 003.008\n"
        assert [row["display"] for row in kvmrun.rows().values()] == ["127.0.0.1:5901", None]
        assert "127.0.0.1:5901" in kvmrun.ok("list").out
        assert "display    VNC at 127.0.0.1:5901\n" in kvmrun.ok("show", "vm1").out
        kvmrun.ok("screenshot", "vm1", str(tmp_path / "screen.png"))
        guests(lab, "vm2", text=TCG + 'display = "vnc:5901"\n')
        refused = kvmrun("vm2")
        assert (refused.code, re.search(r"\bvm1\b", refused.err) is not None) == (5, True)
        guests(lab, "vm2", text=TCG + 'display = "vnc:5903"\n')
        with socket.create_server(("0.0.0.0", 5902)):
            refused = kvmrun("vm3")
            assert (refused.code, f"(pid {os.getpid()})" in refused.err) == (6, True)
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("vm2", "vm3")
        assert kvmrun.ok("list").out.count("127.0.0.1:590") == 2


class TestFailures:
    def test_a_wait_that_the_host_ends_leaves_the_guest_running(
        self, lab: Path, kvmrun: Cli, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.EMFILE, "")

        guests(lab, "vm1")
        monkeypatch.setattr(watchers._Console, "met", full)
        assert run("up", "vm1", "--wait", "console:hello").code == 7
        assert kvmrun.rows()["vm1"]["state"] == "running"

    def test_a_guest_that_dies_early_leaves_qemus_own_words_and_nothing_else(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=NONSENSE)
        before = world()
        result = kvmrun("vm1")
        assert result.code == 1
        assert "  | " in result.err
        assert "'nonsense'" in result.err
        assert world_after(before) == before

    def test_a_bridge_that_was_there_stays_when_a_start_fails(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=NONSENSE)
        kvmrun.ok("net", "up")
        before = bridge("br0")
        assert kvmrun("vm1").code == 1
        assert bridge("br0") == before
        assert link("tap-vm1") is None

    def test_a_tap_of_somebody_else_is_refused_and_left_alone(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        ip("tuntap", "add", "tap-vm1", "mode", "tap")
        before = world()
        result = kvmrun("vm1")
        assert (result.code, "tap-vm1" in result.err) == (6, True)
        assert world_after(before) == before

    def test_the_code_is_that_of_the_first_failure_in_the_order_given(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "good", "well")
        guests(lab, "dies", text=NONSENSE)
        guests(lab, "wrong", text="memory = 5\n")
        assert kvmrun("good", "wrong", "dies", "nobody", "well").code == 5
        states = {name: row["state"] for name, row in kvmrun.rows().items()}
        assert states == {"good": "running", "well": "running", "dies": "stopped", "wrong": "invalid"}
        assert kvmrun("good", "nobody", "dies", "wrong").code == 4
        assert kvmrun("dies", "nobody", "well", "wrong").code == 1

    def test_a_wait_that_is_not_met_leaves_the_guest_running(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        result = kvmrun("vm1", "--wait=address", "--timeout", "5")
        assert (result.code, "5 s" in result.err) == (7, True)
        assert kvmrun.rows()["vm1"]["state"] == "running"

    def test_a_qemu_that_is_not_there_is_told_and_undone(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        before = world()
        result = kvmrun("vm1", KVMRUN_QEMU="/nowhere/qemu")
        assert (result.code, "/nowhere/qemu" in result.err) == (69, True)
        assert world_after(before) == before

    def test_a_run_directory_too_long_for_sockets_is_refused(self, lab: Path, kvmrun: Cli, tmp_path: Path) -> None:
        guests(lab, "vm1")
        result = kvmrun("vm1", KVMRUN_RUN_DIR=str(tmp_path / ("x" * 100)))
        assert (result.code, "KVMRUN_RUN_DIR" in result.err) == (6, True)


def test_arguments_after_two_dashes_reach_qemu_and_are_shown(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1", "--", "-device", "virtio-balloon-pci")
    assert kvmrun.ok("monitor", "vm1", "-c", "query-balloon", "-o", "json").json()["actual"] == 32 << 20
    assert kvmrun.rows()["vm1"]["raw_args"] is True


def test_of_thirty_starts_at_once_one_starts_it(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    with ExitStack() as stack:
        children = [stack.enter_context(kvmrun.begun("vm1")) for _ in range(30)]
        said = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0] * 30
    assert sum("(tcg" in text for text in said) == 1
    assert sum("qemu" in command for command in processes()) == 1


def test_guests_started_and_stopped_side_by_side(lab: Path, kvmrun: Cli) -> None:
    names = [f"vm{number}" for number in range(8)]
    guests(lab, *names)
    before = world()
    kvmrun.ok("up", "--all")
    rows = kvmrun.rows()
    assert {rows[name]["state"] for name in names} == {"running"}
    assert len({rows[name]["nics"][0]["address"] for name in names}) == len(names)
    kvmrun.ok("stop", "--all", "--force")
    kvmrun.ok("net", "down")
    assert world_after(before) == before


def test_starts_from_a_namespace_whose_sysfs_is_another_ones(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    script = '"$@" vm1 && ip -o link show master br0 && "$@" kill vm1 && "$@" net down && ip -o link'
    done = subprocess.run(
        ["unshare", "--net", "--", "sh", "-ec", script, "sh", *kvmrun.words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert "tap-vm1" in done.stdout
    assert "br0" not in done.stdout.rsplit("is down", 1)[1]
    until(lambda: not processes())
