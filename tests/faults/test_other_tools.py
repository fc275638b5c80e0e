"""What other tools do to a network of ours: rules flushed, forwarding switched, a subnet or a port taken."""

import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli, has_line
from support.hosts import ask, uplink
from support.tally import Tally
from support.world import difference, ip, ruleset, until, world, world_after

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(900)]

RESTORES = {
    "net up": ("net", "up"),
    "a start of the flushed guests": ("vm1", "vm2"),
    "a start of one": ("vm1",),
    "net restart": ("net", "restart"),
    "repair": ("repair",),
}


@pytest.fixture(autouse=True)
def nothing_forwards(netns: None) -> None:
    """Whatever the machine is set to, which a new namespace inherits."""
    sysctl("ipv4/ip_forward", "0")


def sysctl(name: str, value: str | None = None) -> str:
    path = Path(f"/proc/sys/net/{name}")
    if value is not None:
        path.write_text(value)
    return path.read_text().strip()


def test_a_flushed_ruleset_is_told_and_put_back_by_the_next_command(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("F-18", "the whole ruleset flushed: the list says unguarded, the next command puts it back", 20)
    guests(lab, "vm1", "vm2")
    kvmrun.ok("vm1", "vm2")
    right = ruleset()
    for turn in range(row.count(5)):
        name = list(RESTORES)[turn % 5]
        with row.case(f"{turn}: {name}"):
            subprocess.run(["nft", "flush", "ruleset"], check=True)
            rows = kvmrun.rows()
            assert {one["state"] for one in rows.values()} == {"degraded"}
            assert all(one["problem"] for one in rows.values())
            kvmrun.ok(*RESTORES[name])
            if name == "a start of one":
                assert kvmrun.rows()["vm1"]["state"] == "running"
                kvmrun.ok("vm2")
            assert ruleset() == right
            assert {(one["state"], one["problem"]) for one in kvmrun.rows().values()} == {("running", None)}


def test_every_link_forwards_while_a_network_is_up_whatever_happens(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    what = (
        "forwarding after a start, a crash, another's switching all on or off: on for every link; after a stop as found"
    )
    row = tally.row("F-17", what, 20)
    guests(lab, "vm1")
    with uplink("wan0", 1), uplink("wan1", 2, 200):
        ip("link", "add", "bystander", "type", "bridge")
        before = world()
        for turn in range(row.count(4) // 4):
            with row.case(f"{turn}: start"):
                kvmrun.ok("vm1")
                assert forwarding() == OURS
            with row.case(f"{turn}: crash"):
                killed(kvmrun)
                assert forwarding() == OURS
                kvmrun.ok("net", "up")
                assert forwarding() == OURS
            with row.case(f"{turn}: another tool"):
                another_tool(kvmrun, on=turn % 2 == 1)
                assert forwarding() == OURS
            with row.case(f"{turn}: stop"):
                kvmrun.ok("kill", "vm1")
                kvmrun.ok("net", "down")
                assert difference(before, world_after(before)) == ""


OURS = {"all": "0", "default": "1", "bystander": "1", "br0": "1", "wan0": "1", "wan1": "1"}
"""Guests follow the host to whichever link becomes the uplink, so every link forwards; the global flag stays."""


def forwarding() -> dict[str, str]:
    """What is forwarded, by link; "all" is the global flag, "default" what links to come begin with."""
    return {link: sysctl(f"ipv4/conf/{link}/forwarding") for link in OURS}


def killed(kvmrun: Cli) -> None:
    """Kill the guest and the name server, and wait until both are gone."""
    network = kvmrun.network()
    for pid in (kvmrun.pid("vm1"), int(network["dnsmasq"].split()[-1].strip(")"))):
        with closing(Pid(pid)) as one:
            os.kill(pid, signal.SIGKILL)
            one.ended()
    until(lambda: not Path("/sys/class/net/tap-vm1").exists())


class Pid:
    """A process to be waited for that is no child of ours."""

    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)

    def ended(self) -> None:
        assert select.select([self._fd], [], [], 30)[0]

    def close(self) -> None:
        os.close(self._fd)


def another_tool(kvmrun: Cli, *, on: bool) -> None:
    """Switch all forwarding on or off; off takes ours away, which is told and put back, and on is left alone."""
    network = kvmrun.network()
    assert network["state"] == "up", network["problem"]
    sysctl("ipv4/ip_forward", "1")
    if on:
        kvmrun.ok("net", "up")
        assert set(forwarding().values()) == {"1"}
    sysctl("ipv4/ip_forward", "0")
    assert set(forwarding().values()) == {"0"}
    network = kvmrun.network()
    assert (network["state"], "net.ipv4.conf.br0.forwarding = 1" in network["problem"]) == ("degraded", True)
    kvmrun.ok("net", "up")


OVERLAPS = {
    "the same subnet on a link": ("", "192.168.0.0/24", "address add 192.168.0.7/24 dev vpn0"),
    "the upper half on a link": ("", "192.168.0.128/25", "address add 192.168.0.130/25 dev vpn0"),
    "a wider route": ("", "192.168.0.0/16", "route add 192.168.0.0/16 dev vpn0"),
    "one far wider": ("", "192.0.0.0/2", "route add 192.0.0.0/2 dev vpn0"),
    "one address": ("", "192.168.0.77/32", "route add 192.168.0.77 dev vpn0"),
    "behind a gateway": ("address add 10.9.0.2/24 dev vpn0", "192.168.0.0/25", "route add 192.168.0.0/25 via 10.9.0.1"),
    "in another table": ("", "192.168.0.64/26", "route add 192.168.0.64/26 dev vpn0 table 77"),
}
LATER = {
    "a narrower route": ("192.168.0.0/25", "route add 192.168.0.0/25 dev vpn0"),
    "a wider route": ("192.168.0.0/16", "route add 192.168.0.0/16 dev vpn0"),
    "an address": ("192.168.0.16/28", "address add 192.168.0.17/28 dev vpn0"),
}


def test_a_subnet_that_is_taken_is_refused_and_told_when_it_comes_later(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row(
        "F-19", "another route to the subnet: a start is refused, naming it; one that comes later is told", 10
    )
    guests(lab, "vm1")
    for name in list(OVERLAPS)[: None if row.full else 3]:
        first, route, words = OVERLAPS[name]
        with row.case(name), vpn(*[first] * bool(first), words):
            before = world()
            for command in (("vm1",), ("net", "up")):
                result = kvmrun(*command)
                assert (result.code, has_line(result.err, route, "vpn0")) == (6, True), result.err
                assert has_line(result.err, "fix: ", "networks.toml")
            assert difference(before, world()) == ""
    with vpn("route add 0.0.0.0/1 dev vpn0", "route add 128.0.0.0/1 dev vpn0"):
        kvmrun.ok("vm1")  # that is a default route
        kvmrun.ok("kill", "vm1")
    for name in list(LATER)[: None if row.full else 1]:
        route, words = LATER[name]
        with row.case(f"later: {name}"):
            kvmrun.ok("net", "up")
            with vpn(words):
                found = kvmrun("doctor", "-o", "json").json()["findings"]
                said = [one["text"] for one in found if one["subject"] == "network lan" and one["level"] == "problem"]
                (one,) = [one for one in said if "vpn0" in one]
                assert (route in one, "192.168.0.0/24" in one) == (True, True), one
                kvmrun.ok("net", "up")


@contextmanager
def vpn(*commands: str) -> Iterator[None]:
    """A link of somebody's, with what the commands give it."""
    ip("link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
    for end in ("vpn0", "vpn1"):
        ip("link", "set", end, "up")
    try:
        for words in commands:
            ip(*words.split())
        yield
    finally:
        ip("link", "delete", "vpn0")


def test_a_name_port_that_is_taken_names_who_has_it_and_the_way_out(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    """A resolver of the host's own, on addresses of its own, is no matter."""
    row = tally.row(
        "F-20", "port 53 taken on every address, on the bridge's, on the loopback's: named, or no matter", 3
    )
    guests(lab, "vm1")
    before = world()
    for address in ("0.0.0.0", "192.168.0.254"):
        (lab / "networks.toml").write_text("[network.lan]\n")
        with row.case(address), listening(address):
            for words in (("net", "up"), ("vm1",)):
                result = kvmrun(*words)
                assert (result.code, has_line(result.err, " 53 ", f"(pid {os.getpid()})")) == (6, True), result.err
                assert has_line(result.err, "reason: ", address)
                assert has_line(result.err, "fix: ", "dns = false")
            assert difference(before, world()) == ""
            (lab / "networks.toml").write_text("[network.lan]\ndns = false\n")
            kvmrun.ok("net", "up")
        kvmrun.ok("net", "down")
    (lab / "networks.toml").write_text("[network.lan]\n")
    with row.case("127.0.0.53"), listening("127.0.0.53"), listening("127.0.0.1"):
        kvmrun.ok("net", "up")
        assert ask("192.168.0.254", "vm1")


@contextmanager
def listening(address: str) -> Iterator[None]:
    """Somebody who has port 53 there, for questions of both kinds."""
    free = 15  # IP_FREEBIND: the address may come later
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket() as other:
        for at in (one, other):
            at.setsockopt(socket.IPPROTO_IP, free, 1)
            at.bind((address, 53))
        other.listen()
        yield
