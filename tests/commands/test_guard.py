"""The guard of real guests: there before their first instruction, put back when flushed, gone with them."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from support import frames
from support.builders import TCG, guests
from support.cli import Cli
from support.frames import BRIDGE_DROPS, HONEST, HOSTILE, MAC_PASSES
from support.hosts import host
from support.lan import Lan, forwarding, one_queue, opened, quiet, wired
from support.world import ip, link, run_nft, until, world, world_after

pytestmark = pytest.mark.usefixtures("netns", "tun")

BEFORE_IT_RUNS = """
import subprocess, sys
from kvmrun.cli import main as cli
from kvmrun.api.guest import start_verify as _confirm

resume = _confirm.startup_check.resume

def watched(*words):
    print(subprocess.run(["nft", "list", "table", "netdev", "kvmrun"], capture_output=True, text=True).stdout)
    resume(*words)

_confirm.startup_check.resume = watched
sys.exit(cli.run(sys.argv[1:]))
"""


def test_it_is_there_before_the_guest_runs_and_gone_with_it(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    before = world()
    shown = Cli([sys.executable, "-c", BEFORE_IT_RUNS, *kvmrun.words[3:]]).ok("vm1").out
    mac = kvmrun.rows()["vm1"]["nics"][0]["mac"]
    assert 'device "tap-vm1"' in shown
    assert f"ether saddr != {mac} drop" in shown
    kvmrun.ok("stop", "--force", "vm1")
    kvmrun.ok("net", "down")
    assert world_after(before) == before


def test_a_guest_left_paused_is_guarded_too(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("--paused", "vm1")
    assert "chain from_vm1_eth0" in run_nft("list", "ruleset")


@pytest.mark.parametrize(
    ("guard", "passing"), [("address", set()), ("mac", MAC_PASSES), ("none", {*HOSTILE} - BRIDGE_DROPS)]
)
def test_frames_from_a_guests_own_tap(lab: Path, kvmrun: Cli, guard: str, passing: set[str]) -> None:
    """With addresses 0 of 29 hostile ones pass, and 5 of 5 honest ones do."""
    guests(lab, "vm1", text=f'{TCG}[[nic]]\nmac = "{frames.OWN}"\naddress = "{frames.OWN_IP}"\nguard = "{guard}"\n')
    (lab / "networks.toml").write_text("[network.lan]\ndhcp = false\n")  # its offers would come in between
    kvmrun.ok("net", "up", "--owner", "root")
    quiet("tap-vm1")
    wired("br0")
    subprocess.run(
        ["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"], check=False
    )  # it would wait for fragments
    with one_queue(), host("port2", bridge="br0", mac=frames.VICTIM) as other, opened("tap-vm1") as fd:
        other("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
        forwarding("port2", "tap-vm1")
        with closing(Lan(partial(os.write, fd), other, "tap-vm1")) as lan:
            assert (len(HOSTILE), len(HONEST)) == (29, 5)
            assert lan.passing(HOSTILE) == passing
            assert lan.passing(HONEST) == set(HONEST)


def test_another_start_does_not_plug_in_a_guest_without_its_guard(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2")
    kvmrun.ok("vm1", "--paused")
    ip("link", "delete", "br0")
    subprocess.run(["nft", "delete", "table", "netdev", "kvmrun"], check=True)
    kvmrun.ok("vm2", "--paused")
    assert [link("tap-vm1").get("master"), link("tap-vm2").get("master")] == [None, "br0"]
    assert kvmrun.rows()["vm1"]["problem"]
    kvmrun.ok("net", "up")
    assert "chain from_vm1_eth0" in run_nft("list", "ruleset")
    assert link("tap-vm1")["master"] == "br0"
    assert kvmrun.rows()["vm1"]["problem"] is None


def test_the_plan_says_so(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    (planned,) = kvmrun.ok("-n", "vm1", "-o", "json").json()["guests"]
    assert [step for step in planned["steps"] if "guard" in step]


def test_a_single_rule_taken_away_is_noticed(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2")
    kvmrun.ok("vm1", "vm2")
    subprocess.run(["nft", "add", "rule", "netdev", "kvmrun", "from_vm1_eth0", "accept"], check=True)
    states = {name: row["state"] for name, row in kvmrun.rows().items()}
    assert states == {"vm1": "degraded", "vm2": "running"}


def test_what_a_killed_guest_leaves_does_no_harm(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    before = world()
    kvmrun.ok("vm1")
    os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
    until(lambda: kvmrun.rows()["vm1"]["state"] == "stopped")
    assert "chain from_vm1_eth0" in run_nft("list", "ruleset")
    guests(lab, "vm1", text=f'{TCG}[[nic]]\nmac = "52:54:00:00:00:77"\n')
    kvmrun.ok("vm1")
    shown = run_nft("list", "ruleset")
    assert "ether saddr != 52:54:00:00:00:77 drop" in shown
    assert shown.count("ether saddr") == shown.count("chain from_vm1_eth0") == 1
    os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
    kvmrun.ok("stop", "vm1")
    kvmrun.ok("net", "down")
    assert world_after(before) == before


def test_a_later_start_without_a_guard_is_without_the_old_one(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1")
    os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
    until(lambda: kvmrun.rows()["vm1"]["state"] == "stopped")
    guests(lab, "vm1", text=f'{TCG}[[nic]]\nguard = "none"\n')
    kvmrun.ok("vm1")
    assert "netdev" not in run_nft("list", "tables")
    assert kvmrun.rows()["vm1"]["state"] == "running"


@pytest.mark.parametrize("firewall", ["shorewall", "none"])
def test_it_does_not_depend_on_who_has_the_firewall(lab: Path, kvmrun: Cli, firewall: str) -> None:
    guests(lab, "vm1")
    (lab / "networks.toml").write_text(f'firewall = "{firewall}"\n')
    kvmrun.ok("vm1")
    assert run_nft("list", "tables") == "table netdev kvmrun\n"


def test_it_guards_a_port_of_an_external_bridge(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    (lab / "networks.toml").write_text("[network.lan]\nexternal = true\n")
    ip("link", "add", "br0", "type", "bridge")
    kvmrun.ok("vm1")
    assert run_nft("list", "tables") == "table netdev kvmrun\n"
    kvmrun.ok("kill", "vm1")
    assert run_nft("list", "tables") == ""


def test_on_a_bridge_that_is_not_ours_nothing_is_guarded_and_nothing_changed(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    ip("link", "add", "br0", "type", "bridge")
    before = world()
    refused = kvmrun("vm1")
    assert (refused.code, "external = true" in refused.err) == (6, True)
    assert world_after(before) == before


def test_on_an_external_bridge_a_guard_of_addresses_wants_one(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    (lab / "networks.toml").write_text('[network.lan]\nexternal = true\nguard = "address"\n')
    ip("link", "add", "br0", "type", "bridge")
    before = world()
    refused = kvmrun("vm1")
    assert (refused.code, "vm1.toml: nic[0].guard" in refused.err) == (5, True)
    assert world_after(before) == before
    guests(lab, "vm1", text=f'{TCG}[[nic]]\naddress = "192.168.0.1"\n')
    kvmrun.ok("vm1")
    assert "ip saddr 192.168.0.1" in run_nft("list", "ruleset")


def test_without_nft_a_guarded_guest_does_not_start(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    (lab / "networks.toml").write_text('firewall = "none"\n')
    subprocess.run(["mount", "--bind", "/dev/null", "/usr/sbin/nft"], check=True)
    try:
        refused = kvmrun("vm1")
        assert refused.code == 69
        assert 'guard = "none"' in refused.err
        guests(lab, "vm1", text=f'{TCG}[[nic]]\nguard = "none"\n')
        kvmrun.ok("vm1")
    finally:
        subprocess.run(["umount", "/usr/sbin/nft"], check=True)


def test_a_kept_tap_is_guarded_by_its_network(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2")
    before = world()
    kvmrun.ok("net", "up", "--owner", "nobody")
    shown = run_nft("list", "ruleset")
    assert 'device "tap-vm1"' in shown
    assert 'device "tap-vm2"' in shown
    run_nft("flush", "ruleset")
    assert "degraded" in kvmrun.ok("net", "status").out
    kvmrun.ok("net", "up")
    assert "netdev kvmrun_net_lan" in run_nft("list", "tables")
    kvmrun.ok("net", "down")
    assert world_after(before) == before
