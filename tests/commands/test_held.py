"""How each guest is held, as list -v and show tell it: what the kernel says, whatever the definition did."""

import os
import re
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli

from kvmrun.host.process import confinement
from kvmrun.model.guest.guest_status import Confinement

pytestmark = pytest.mark.usefixtures("netns", "tun")


def test_a_guest_and_what_differs_from_one(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm4")
    guests(lab, "vm2", text=TCG + '[[nic]]\nguard = "none"\n')
    guests(lab, "vm3", text=TCG + 'args = ["-sandbox off"]\n')
    kvmrun.ok("vm1", "vm2", "vm3")
    assert kvmrun.rows()["vm1"]["confinement"] is None
    found = {one["name"]: one for one in kvmrun.ok("list", "-v", "-o", "json").json()["guests"]}
    uid = os.stat(f"/proc/{found['vm1']['pid']}").st_uid
    held = {"uid": uid, "seccomp": True, "capabilities": 0, "no_new_privs": True, "kvm": False, "guard": "mac"}
    assert found["vm1"]["confinement"] == held
    assert found["vm2"]["confinement"]["guard"] == "none"
    assert (found["vm3"]["confinement"]["seccomp"], found["vm3"]["raw_args"]) == (True, True)  # it cannot be taken back
    assert found["vm4"]["confinement"] is None
    os.system("nft 'flush chain netdev kvmrun from_vm1_eth0; delete chain netdev kvmrun from_vm1_eth0'")
    lines = kvmrun.ok("list", "-v").out.splitlines()
    assert lines[0].split()[:9] == ["NAME", "STATE", "UID", "SECCOMP", "CAPS", "NEWPRIVS", "GUARD", "KVM", "ARGS"]
    assert lines[1].split()[:9] == ["vm1", "degraded", f"{uid}", "on", "none", "no", "GONE", "off", "none"]
    assert lines[3].split()[3::5] == ["on", "raw"]
    drawn = kvmrun.ok("list", "-v", "--color", "always", COLUMNS="80").out.splitlines()
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in drawn) <= 80
    assert {"seccomp    on", "args       raw"} <= set(kvmrun.ok("show", "vm3").out.splitlines())
    assert kvmrun.ok("show", "vm1", "-o", "json").json()["confinement"] == held | {"guard": "gone"}


@pytest.mark.usefixtures("kvm")
def test_kvm_is_seen_in_the_kernel(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text='accel = "kvm"\ncpu = "qemu64"\nmemory = "32M"\n')
    kvmrun.ok("vm1", "--paused")
    assert kvmrun.ok("show", "vm1", "-o", "json").json()["confinement"]["kvm"] is True


def test_what_is_not_told_is_not_known() -> None:
    assert confinement.read_confinement(2**22 + 1) == Confinement()
    mine = confinement.read_confinement(os.getpid())
    assert (mine.uid, mine.seccomp is None, mine.kvm) == (os.geteuid(), False, False)
