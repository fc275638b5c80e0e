"""A login by ssh where the guest accepts it, its console where it does not."""

import shutil
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.hosts import host, served
from support.sector import sector

pytestmark = pytest.mark.usefixtures("netns", "tun")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs ssh")
def test_what_accepts_connections_is_talked_to_by_ssh(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=f'{TCG}nic = [{{ address = "192.168.0.77" }}]\n')
    kvmrun.ok("vm1")
    with host("v1", bridge="br0", address="192.168.0.77/24") as guest, served(guest, 22):
        assert kvmrun("shell", "vm1", "--timeout", "5").code == 255  # of ssh, as this is no server of ssh


def test_a_guest_without_an_address_shows_its_console(lab: Path, kvmrun: Cli) -> None:
    sector(lab, "vm1", b"hello from the serial line", flood=True)
    kvmrun.ok("vm1")
    assert "hello from the serial line" in kvmrun("shell", "vm1", "--timeout", "5").out


def test_one_that_refuses_connections_shows_its_console(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=f'{TCG}nic = [{{ address = "192.168.0.77" }}]\n')
    kvmrun.ok("vm1")
    with host("v1", bridge="br0", address="192.168.0.77/24"):
        assert kvmrun("shell", "vm1", "--timeout", "1").code == kvmrun("console", "vm1", "--timeout", "1").code
