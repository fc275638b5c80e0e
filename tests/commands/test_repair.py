"""kvmrun repair: what a crash, a reboot or another tool left is said and mended, and what is well is left alone."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.world import ip, link, opened, run_nft, touchable, until, world, world_after

pytestmark = pytest.mark.usefixtures("netns", "tun")


@pytest.fixture
def run(own_directories: Path) -> Path:
    return own_directories / "run"


def repair(kvmrun: Cli, *, code: int = 0) -> list[dict[str, Any]]:
    """The faults; the dry run tells the same before, and another one afterwards none.

    The dry run may say more at its end: a network needs nothing any more once its guest's record is back.
    """
    before = touchable()
    dry = kvmrun("repair", "-n", "-o", "json")
    assert touchable() == before
    done = kvmrun("repair", "-o", "json")
    assert (done.code, done.json()["schema"], done.json()["well"]) == (code, 1, code == 0), done.out + done.err
    found: list[dict[str, Any]] = done.json()["faults"]
    assert dry.code == (1 if found else 0)
    assert [one["subject"] for one in dry.json()["faults"]][: len(found)] == [one["subject"] for one in found]
    if code == 0:
        assert all(one["state"] == "repaired" for one in found)
        assert kvmrun.ok("repair", "-o", "json").json()["faults"] == []
    return found


def subjects(found: list[dict[str, Any]]) -> list[str]:
    return [one["subject"] for one in found]


def steady(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in {"uptime_s", "cpu_percent", "rss_bytes"}}


def test_what_is_well_is_left_alone(lab: Path, kvmrun: Cli) -> None:
    assert repair(kvmrun) == []
    guests(lab, "vm1", "vm2")
    kvmrun.ok("vm1")
    kvmrun.ok("vm2", "--paused")
    assert repair(kvmrun) == []
    assert {name: row["state"] for name, row in kvmrun.rows().items()} == {"vm1": "running", "vm2": "paused"}


class TestAGuestThatRuns:
    """Whatever it lost, it runs on; and it is not started twice."""

    def test_gets_its_lock_back(self, lab: Path, kvmrun: Cli, run: Path) -> None:
        guests(lab, "vm1", text=TCG + "nic = []\n")
        kvmrun.ok("vm1")
        row = kvmrun.rows()["vm1"]
        for again in range(2):
            (run / "vm/vm1/life").unlink()
            found = kvmrun.rows()["vm1"]
            assert (found["state"], found["pid"]) == ("degraded", row["pid"])
            assert "kvmrun repair" in found["problem"]
            second = kvmrun("vm1")
            assert (second.code, "kvmrun repair" in second.err) == (6, True)
            assert subjects(repair(kvmrun)) == ["vm1"], again
            assert steady(kvmrun.rows()["vm1"]) == steady(row)
        kvmrun.ok("monitor", "vm1", "-c", "query-status")
        kvmrun.ok("vm1")
        assert kvmrun.pid("vm1") == row["pid"]
        kvmrun.ok("kill", "vm1")
        assert kvmrun.rows()["vm1"]["state"] == "stopped"
        assert not run.exists()

    def test_keeps_no_descriptor_of_locks_that_were_replaced(self, lab: Path, kvmrun: Cli, run: Path) -> None:
        guests(lab, "vm1", text=TCG + "nic = []\n")
        kvmrun.ok("vm1")
        held = []
        for _ in range(3):
            (run / "vm/vm1/life").unlink()
            kvmrun.ok("repair")
            held.append(opened(kvmrun.pid("vm1")))
        assert held[0] == held[1] == held[2]

    def test_is_known_again_from_its_own_words(self, lab: Path, kvmrun: Cli, run: Path) -> None:
        guests(lab, "vm1", text=TCG + 'cpus = 2\nargs = ["-boot menu=on"]\n[[nic]]\n[[nic]]\nmodel = "e1000"\n')
        kvmrun.ok("vm1")
        row = kvmrun.rows()["vm1"]
        guests(lab, "vm1", text=TCG.replace("32M", "64M") + "[[nic]]\n[[nic]]\n[[nic]]\n")
        for name in ("life", "q", "record"):
            (run / "vm/vm1" / name).unlink()
        assert subjects(repair(kvmrun))[:3] == ["vm1"] * 3, "its monitor, its lock and its record"
        assert all((run / "vm/vm1" / name).exists() for name in ("life", "q", "record"))
        assert steady(kvmrun.rows()["vm1"]) == steady(row)
        kvmrun.ok("stop", "vm1", "--force")

    def test_out_of_reach_is_ended_in_order(self, lab: Path, kvmrun: Cli, run: Path) -> None:
        guests(lab, "vm1")
        before = world()
        kvmrun.ok("vm1")
        pid = kvmrun.pid("vm1")
        shutil.rmtree(run)
        row = kvmrun.rows()["vm1"]
        assert (row["state"], row["pid"]) == ("unresponsive", pid)
        assert kvmrun("vm1").code == 6
        fault = repair(kvmrun, code=1)[0]
        assert (fault["subject"], fault["steps"], "kvmrun stop vm1" in fault["fix"]) == ("vm1", [], True)
        kvmrun.ok("stop", "vm1", "--timeout", "1")
        assert kvmrun.rows()["vm1"]["state"] == "stopped"
        assert "netdev" not in run_nft("list", "tables")
        kvmrun.ok("vm1")
        kvmrun.ok("kill", "--all")
        kvmrun.ok("net", "down")
        before.pop("sysctls")  # what they were is lost with the run directory
        assert {key: value for key, value in world().items() if key != "sysctls"} == before

    def test_is_guarded_and_logged_again(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        run_nft("flush", "ruleset")
        assert subjects(repair(kvmrun)) == ["vm1", "network lan"]
        assert {"kvmrun", "kvmrun_lan"} <= set(run_nft("list", "tables").split())
        assert kvmrun.rows()["vm1"]["problem"] is None


class TestWhatIsLeft:
    """By guests that have ended, by networks, by taps."""

    def test_by_a_crash_and_by_another_boot(self, lab: Path, kvmrun: Cli, run: Path) -> None:
        guests(lab, "vm1", "vm2")
        before = world()
        kvmrun.ok("vm1", "vm2")
        for name in ("vm1", "vm2"):
            os.kill(kvmrun.pid(name), signal.SIGKILL)
            until(lambda name=name: kvmrun.rows()[name]["state"] == "stopped")
        record = run / "vm/vm2/record"
        written = json.loads(record.read_text())
        del written["digest"]
        record.write_text(json.dumps(written | {"boot": "another"}))
        found = repair(kvmrun)
        assert [(one["subject"], "boot" in one["text"]) for one in found] == [("vm1", False), ("vm2", True)]
        kvmrun.ok("net", "down")
        assert world_after(before) == before

    def test_by_a_start_that_was_cut_short(self, lab: Path, kvmrun: Cli, run: Path) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1", "--paused")
        record = run / "vm/vm1/record"
        record.write_text(record.read_text().replace('"paused": true', '"paused": false'))
        assert subjects(repair(kvmrun)) == ["vm1"]
        assert kvmrun.rows()["vm1"]["state"] == "stopped"

    def test_of_a_network(self, lab: Path, kvmrun: Cli) -> None:
        before = world()
        kvmrun.ok("net", "up")
        ip("link", "delete", "br0")
        assert subjects(repair(kvmrun)) == ["network lan"]
        assert world_after(before) == before
        kvmrun.ok("net", "up")
        ip("address", "flush", "dev", "br0")
        (fault,) = repair(kvmrun)
        assert (fault["subject"], "192.168.0.254/24" in fault["text"]) == ("network lan", True)

    def test_by_cards_and_guests_that_are_no_more(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", "vm2")
        kvmrun.ok("net", "up", "--owner", "nobody")
        assert repair(kvmrun) == []
        (lab / "vm2.toml").unlink()
        run_nft("add table netdev kvmrun; add chain netdev kvmrun from_vm9_eth0")
        run_nft("add", "table", "netdev", "not_ours")
        assert subjects(repair(kvmrun)) == ["network lan", "tap-vm2", "vm9"]
        assert (link("tap-vm1") is None, link("tap-vm2")) == (False, None)
        assert set(run_nft("list", "tables", "netdev").split()) == {"table", "netdev", "kvmrun_net_lan", "not_ours"}

    def test_of_another_lab_is_left_alone(self, kvmrun: Cli, own_directories: Path) -> None:
        there = own_directories / "other"
        there.mkdir(mode=0o755)
        (there / "networks.toml").write_text('[network.other]\nbridge = "br7"\nsubnet = "10.7.0.0/24"\n')
        guests(there, "vm1", text=TCG + '[[nic]]\nnetwork = "other"\n')
        other = Cli([*kvmrun.words[:-1], str(there)])
        other.ok("net", "up", "--owner", "nobody")
        before = touchable()
        assert repair(kvmrun) == []
        assert touchable() == before
        other.ok("net", "down")

    def test_what_is_not_ours_is_refused_and_the_rest_mended(self, lab: Path, kvmrun: Cli, run: Path) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        ip("link", "delete", "br0")
        ip("link", "add", "br0", "type", "bridge")
        (run / "vm/vm2").mkdir()
        (run / "vm/vm2/record").write_text("{")
        done = kvmrun("repair", "-o", "json")
        found = {one["subject"]: one for one in done.json()["faults"]}
        assert (done.code, found["vm2"]["state"], found["network lan"]["state"]) == (1, "repaired", "not repaired")
        assert "br0" in found["network lan"]["text"]
        ip("link", "delete", "br0")


def test_without_root_there_is_a_users_own_to_mend(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    there = own_directories / "user"
    there.mkdir()
    os.chown(there, 65534, 65534)
    (there / "vm/vm1").mkdir(parents=True)
    (there / "vm/vm1/record").write_text("{}")
    subprocess.run(["chown", "-R", "65534", there], check=True)
    subprocess.run(["chmod", "-R", "go-rwx", there], check=True)
    own_directories.chmod(0o755)
    words = ["setpriv", "--reuid=65534", "--clear-groups", *kvmrun.words, "repair"]
    environ = {**os.environ, "KVMRUN_RUN_DIR": str(there)}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 repaired"), done.stdout + done.stderr
