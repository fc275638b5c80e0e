"""Names of guests on the host, by a real systemd-resolved that has a bus of its own.

A stand-in only where one of its programs has to misbehave.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.hosts import guest_host, host, name_server
from support.resolver import DOMAINS, Resolver, looked_up, resolver
from support.table import each
from support.world import ip, until, world, world_after

from kvmrun.host.links.tap_device import ifindex

pytestmark = pytest.mark.usefixtures("netns", "tun")
WORLD = "203.0.113.9"
NETWORKS = """
[network.lan]
domain = "lab-1.example"
names = { printer = "192.168.0.77" }
[network.dmz]
bridge = "br1"
subnet = "192.168.1.0/24"
domain = "lab-1.example"
"""


@pytest.fixture
def resolved(own_directories: Path) -> Iterator[Resolver]:
    """It runs, and for the rest of the world asks a server that knows one name there and every name it must not see."""
    with resolver(own_directories) as found, host("wan0", address="10.9.0.1/24") as provider:
        ip("address", "add", "10.9.0.2/24", "dev", "wan0")
        ip("route", "add", "default", "via", "10.9.0.1")
        with name_server(provider, "10.9.0.1", WORLD, everything=True):
            found.start("10.9.0.1")
            yield found


@pytest.fixture
def named(lab: Path, resolved: Resolver) -> Resolver:
    """With a lab of two networks of one domain."""
    (lab / "networks.toml").write_text(NETWORKS)
    guests(lab, "vm1")
    guests(lab, "vm2", text=f'{TCG}[[nic]]\nnetwork = "dmz"\n')
    return resolved


def address(kvmrun: Cli, guest: str) -> str:
    return str(kvmrun.ok("show", guest, "-o", "json").json()["runtime"]["ports"][0]["address"])


def resolves(name: str, target: str) -> None:
    """The name leads there, once systemd-resolved has heard that the bridge has a guest."""
    until(lambda: looked_up(name) == [target])


def findings(kvmrun: Cli) -> list[dict[str, Any]]:
    return [one for one in kvmrun("doctor", "-o", "json").json()["findings"] if one["subject"].startswith("network")]


def test_guests_resolve_on_the_host_while_their_network_is_up(named: Resolver, kvmrun: Cli) -> None:
    before = world()
    kvmrun.ok("net", "up")
    assert {kvmrun.network(name)["resolver"] for name in ("lan", "dmz")} == {"systemd-resolved"}
    kvmrun.ok("vm1", "vm2")
    for guest in ("vm1", "vm2"):
        resolves(f"{guest}.lab-1.example", address(kvmrun, guest))
    assert looked_up("printer.lab-1.example") == ["192.168.0.77"]
    assert looked_up("nobody.lab-1.example") == [], "the provider, who knows every name, was asked"
    assert looked_up("outside.example") == [WORLD]
    with guest_host(9) as guest:
        asked = guest("sh", "-c", "busybox nslookup outside.example 192.168.0.254 || true")
    assert WORLD in asked, "the server of the network asks the host's, and not itself"
    told = named.ctl("status", "br0")
    assert all(word in told for word in ("-DefaultRoute", "-LLMNR", "-mDNS", "-DNSOverTLS", "DNSSEC=no"))
    assert not [one for one in findings(kvmrun) if "domain" in one["text"]]
    assert "already" in kvmrun.ok("net", "up").out
    kvmrun.ok("kill", "vm2")
    kvmrun.ok("net", "down", "dmz")
    assert (looked_up("vm1.lab-1.example"), looked_up("vm2.lab-1.example")) == ([address(kvmrun, "vm1")], [])
    kvmrun.ok("kill", "vm1")
    kvmrun.ok("net", "down")
    assert looked_up("vm1.lab-1.example") == [WORLD]
    assert named.domains() == {}
    assert world_after(before) == before


def test_what_it_forgot_or_another_program_told_it_is_put_back(named: Resolver, lab: Path, kvmrun: Cli) -> None:
    (lab / "networks.toml").write_text(NETWORKS.partition("[network.dmz]")[0])
    (lab / "vm2.toml").unlink()
    kvmrun.ok("net", "up")
    for change in (
        ("revert", "br0"),
        ("domain", "br0", "lab-1.example"),
        ("dns", "br0", "192.168.0.254", "192.168.0.9"),
        ("default-route", "br0", "yes"),
        ("llmnr", "br0", "yes"),
        ("dnssec", "br0", "yes"),
    ):
        named.ctl(*change)
        assert kvmrun.network()["state"] == "degraded", change
        assert kvmrun("repair", "-n").code == 1, change
        kvmrun.ok("repair")
        assert kvmrun.network()["state"] == "up", change
    named.stop()
    assert (kvmrun.network()["state"], kvmrun.network()["resolver"]) == ("up", None)
    assert kvmrun("repair", "-n").code == 0
    subprocess.run(["rm", "-r", "/run/systemd/resolve/netif"], check=True)
    named.start()
    assert (kvmrun.network()["state"], looked_up("vm1.lab-1.example")) == ("degraded", [])
    kvmrun.ok("vm1")  # which puts the network right, too
    resolves("vm1.lab-1.example", address(kvmrun, "vm1"))
    ip("link", "delete", "br0")
    kvmrun.ok("repair")
    resolves("vm1.lab-1.example", address(kvmrun, "vm1"))


def test_it_is_left_alone_where_that_is_wanted(named: Resolver, lab: Path, kvmrun: Cli) -> None:
    own = f"{os.environ['KVMRUN_RUN_DIR']}/net/lan/resolution"
    off = NETWORKS.replace("[network.dmz]", "dns = { host_resolution = false }\n[network.dmz]")
    kvmrun.ok("net", "up", "lan")
    assert os.path.exists(own)
    (lab / "networks.toml").write_text(off)
    kvmrun.ok("net", "up", "lan")
    assert (named.domains(), os.path.exists(own)) == ({}, False)
    named.ctl("domain", "br0", "~mine.example")
    kvmrun.ok("net", "up", "lan")
    assert (kvmrun.network()["state"], kvmrun.network()["resolver"]) == ("up", None)
    assert named.domains() == {ifindex("br0"): ["~mine.example"]}
    assert kvmrun("repair", "-n").code == 0
    kvmrun.ok("net", "down")


def test_any_domain_that_a_network_may_have(named: Resolver, lab: Path, kvmrun: Cli) -> None:
    guests(lab, "a--1")
    (lab / "vm2.toml").unlink()

    def check(domain: str) -> None:
        (lab / "networks.toml").write_text(f'[network.lan]\ndomain = "{domain}"\n')
        kvmrun.ok("net", "up")
        with guest_host(9):
            resolves(f"a--1.{domain}", address(kvmrun, "a--1"))
        assert "already" in kvmrun.ok("net", "up").out

    each(("x" * 63, "xn--bcher-kva.example"), check)


def test_another_link_with_the_domain_is_named(named: Resolver, lab: Path, kvmrun: Cli) -> None:
    kvmrun.ok("net", "up", "lan")
    named.ctl("dns", "wan0", "10.9.0.1")
    named.ctl("domain", "wan0", "lab-1.example")
    assert [one["level"] for one in findings(kvmrun) if "wan0" in one["text"] and "lab-1" in one["text"]] == ["warning"]
    assert [one for one in kvmrun.network()["warnings"] if "wan0" in one]
    assert kvmrun.network()["state"] == "up"


REFUSES = "#!/bin/sh\necho 'Failed to set: it is not allowed' >&2\nexit 1\n"
HANGS = "#!/bin/sh\nexec sleep 100\n"
LIES = '#!/bin/sh\necho \'{"type":"u","data":{"x":[]}}\'\n'


def test_a_program_that_misbehaves_costs_a_name_and_no_network(named: Resolver, kvmrun: Cli) -> None:
    def check(case: tuple[str, str]) -> None:
        program, text = case
        stand_in = named.programs / program
        before = stand_in.readlink() if stand_in.is_symlink() else None
        stand_in.unlink(missing_ok=True)
        stand_in.write_text(text)
        stand_in.chmod(0o755)
        try:
            up = kvmrun.ok("net", "up", "lan")
            found = kvmrun.network()
            kvmrun.ok("net", "down", "lan")
        finally:
            stand_in.unlink()
            if before:
                stand_in.symlink_to(before)
        told = program == "resolvectl"
        assert (found["state"], found["resolver"]) == ("degraded" if told else "up", None)
        assert not told or "warning" in up.out
        assert ("not allowed" in (found["problem"] or "")) == (told and text == REFUSES)
        assert not os.path.exists(f"{os.environ['KVMRUN_RUN_DIR']}/net/lan/resolution")

    each(
        (("resolvectl", REFUSES), ("resolvectl", HANGS), ("busctl", HANGS), ("busctl", LIES), ("busctl", REFUSES)),
        check,
    )


def test_one_that_hangs_and_a_bus_that_has_ended(named: Resolver, kvmrun: Cli) -> None:
    kvmrun.ok("net", "up", "lan")
    named.pause()
    found = kvmrun.network()
    assert (found["state"], [one for one in found["warnings"] if "systemd-resolved" in one] != []) == ("up", True)
    assert [one["level"] for one in findings(kvmrun) if "systemd-resolved" in one["text"]] == ["warning"]
    kvmrun.ok("net", "down", "lan")
    named.resume()
    named.bus.kill()
    kvmrun.ok("net", "up", "lan")
    assert kvmrun.network()["state"] == "up"
    kvmrun.ok("net", "down", "lan")


def test_one_of_another_network_namespace_is_not_told(named: Resolver, kvmrun: Cli, own_directories: Path) -> None:
    """The number of a link there means another one here."""
    own = {"KVMRUN_RUN_DIR": f"{own_directories}/run2", "KVMRUN_STATE_DIR": f"{own_directories}/state2"}
    script = f'"$@" net up lan >&2; {" ".join(DOMAINS)}; "$@" net down lan >&2'
    there = Cli(["unshare", "--net", "--", "sh", "-ec", script, "sh", *kvmrun.words], limit=60)
    assert there.ok(**own).json()["data"] == []
