"""Names beside those of guests, asked of the dnsmasq that runs."""

import os
from pathlib import Path

import pytest
from support import hosts
from support.cli import Cli, has_line

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: bridges"),
    pytest.mark.usefixtures("netns", "tun"),
]
NETWORK = '[network.lan]\ndomain = "lab"\nnat = false\nnames = { linksys = "172.20.1.1" }\ndns = { hosts = true }\n'


def test_other_machines_have_names(lab: Path, kvmrun: Cli) -> None:
    (lab / "networks.toml").write_text(NETWORK)
    kvmrun.ok("net", "up")
    try:
        for name in ("linksys", "linksys.lab"):
            assert hosts.ask("192.168.0.254", name) == ["172.20.1.1"]
        assert hosts.ask("192.168.0.254", hosts.reverse("172.20.1.1"), "PTR") == ["linksys.lab"]
        assert hosts.ask("192.168.0.254", "printer.local") == []
        assert hosts.ask("192.168.0.254", "localhost") in ([], ["127.0.0.1"])
        own = [line.split() for line in Path("/etc/hosts").read_text().splitlines() if line[:1].isdigit()]
        for address, name, *_ in own:
            if not address.startswith("127.") and name.replace("-", "").isalnum() and name.islower():
                assert address in hosts.ask("192.168.0.254", name)
    finally:
        kvmrun.ok("net", "down")


def test_show_tells_the_account_it_would_run_as(lab: Path, kvmrun: Cli) -> None:
    (lab / "vm1.toml").write_text('accel = "tcg"\nnic = []\nuser = "nobody"\n')
    assert "\nuid        65534\n" in kvmrun.ok("show", "vm1").out
    assert kvmrun.ok("show", "vm1", "-o", "json").json()["runtime"]["uid"] == 65534
    (lab / "vm1.toml").write_text('accel = "tcg"\nnic = []\nuser = "nosuch"\n')
    assert has_line(kvmrun.ok("show", "vm1").out, "uid", "nosuch")
