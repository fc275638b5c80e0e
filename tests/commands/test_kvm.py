"""Hardware virtualisation, as far as a machine has it: a boot sector that writes one letter to the serial line."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli
from support.world import until, world, world_after

pytestmark = pytest.mark.usefixtures("netns", "tun")

SECTOR = bytes.fromhex("bafb03 b003 ee baf803 b04b ee b00a ee fa f4 ebfd")
"""COM1: mov dx,0x3fb; mov al,3; out dx,al; mov dx,0x3f8; 'K' and a newline (logs keep whole lines); cli; hlt; again."""
KVM = 'accel = "kvm"\ncpu = "qemu64"\nmemory = "32M"\n'


@pytest.fixture
def sector(own_directories: Path) -> None:
    images = own_directories / "state/images"
    images.mkdir(parents=True)
    (images / "sector.raw").write_bytes((SECTOR.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))


@pytest.fixture
def forbidden(_own_mounts: None, own_directories: Path) -> Iterator[None]:
    """A /dev/kvm that only root may open."""
    node = own_directories / "kvm0600"
    node.write_bytes(b"")
    node.chmod(0o600)
    if not os.path.exists("/dev/kvm"):
        pytest.skip("needs /dev/kvm")
    subprocess.run(["mount", "--bind", str(node), "/dev/kvm"], check=True)
    yield
    subprocess.run(["umount", "/dev/kvm"], check=True)


@pytest.mark.usefixtures("hardware", "kvm", "sector")
def test_a_boot_sector_runs_on_the_hardware(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    guests(lab, "vm1", text=KVM + '[[drive]]\nimage = "sector.raw"\n')
    before = world()
    assert "(kvm, pid" in kvmrun.ok("vm1").out
    row = kvmrun.rows()["vm1"]
    assert (row["state"], row["accel"]) == ("running", "kvm")
    assert kvmrun.ok("monitor", "vm1", "-c", "query-kvm", "-o", "json").json() == {"enabled": True, "present": True}
    log = own_directories / "state/log/vm1/current"
    until(lambda: log.read_bytes().endswith(b"K\n"), limit=60)
    kvmrun.ok("stop", "vm1", "--force")
    kvmrun.ok("net", "down")
    assert world_after(before) == before


@pytest.mark.usefixtures("sector")
def test_the_same_sector_runs_emulated(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    guests(lab, "vm1", text=KVM + '[[drive]]\nimage = "sector.raw"\n')
    kvmrun.ok("vm1", "--accel", "tcg", "--wait=console:K")
    assert kvmrun.rows()["vm1"]["accel"] == "tcg"


@pytest.mark.usefixtures("forbidden")
def test_a_device_it_may_not_open_is_told_with_the_mend_and_never_emulated(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=KVM)
    before = world()
    result = kvmrun("vm1")
    assert result.code == 77
    assert "chgrp kvm /dev/kvm; chmod 660 /dev/kvm" in result.err
    assert "--accel tcg" in result.err
    assert world_after(before) == before


@pytest.mark.usefixtures("kvm")
def test_a_processor_the_host_cannot_give_is_told_with_the_mend(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text='accel = "kvm"\ncpu = "host"\nmemory = "32M"\n')
    before = world()
    result = kvmrun("vm1")
    if result.code == 0:
        pytest.skip("this machine can run the host's own CPU model")
    assert (result.code, 'cpu = "qemu64"' in result.err) == (1, True)
    assert world_after(before) == before
