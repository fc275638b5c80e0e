"""Guests follow the host from uplink to uplink without a command, and the host becomes no router for anybody else."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli
from support.hosts import Host, fetch, guest_host, host
from support.traffic import Traffic, traffic
from support.uplinks import EVENTS, START, WORLD, Uplinks, forwards
from support.world import ip, load_rules, until, world

pytestmark = pytest.mark.usefixtures("netns", "tun")

LIMIT = 3.0
"""How much longer than the host's own a guest's loss may last, in seconds."""


@pytest.fixture
def stack(netns: None) -> Iterator[ExitStack]:
    forwards("1")  # whatever the machine is set to, for every link: this takes it away
    forwards("0")
    with ExitStack() as stack:
        yield stack


def follow(found: Traffic, uplinks: Uplinks, guests: list[str], usable: set[str] | None = None) -> None:
    """Let every event happen; after each, whoever answers the host has to answer the guests."""
    for what, event, link, others in EVENTS:
        event(uplinks)
        for target in others:
            for one in guests:
                found.asks(f"{one} {target}", target, found.hosts[one])
        if link:
            assert wait_for(found, "host", link, 30.0), what
        for one in guests:
            wanted = {WORLD: link, **others}
            for target, by in wanted.items():
                name = one if target == WORLD else f"{one} {target}"
                if by and (usable is None or by in usable):
                    assert wait_for(found, name, by, LIMIT), (what, name)
        until(found.turns(5))
        assert found.leaks == set(), what


def wait_for(found: Traffic, name: str, by: str, limit: float) -> bool:
    heard = found.heard(name)
    return bool(until(lambda: heard() == by, limit))


def test_ten_events_in_a_row(lab: Path, kvmrun: Cli, stack: ExitStack) -> None:
    guests(lab, "vm1")
    found = stack.enter_context(traffic())
    uplinks = Uplinks(found, stack)
    START(uplinks)
    before = world()["sysctls"]
    kvmrun.ok("net", "up")
    found.asks("host", WORLD)
    found.asks("vm1", WORLD, stack.enter_context(guest_host()))
    follow(found, uplinks, ["vm1"])
    status = kvmrun.network()
    assert (status["state"], status["uplink"]) == ("up", "wan0 via 10.1.0.1")
    kvmrun.ok("net", "down", "--force")
    until(found.turns(5))
    assert found.leaks == set()
    after = world()["sysctls"]
    assert {name: value for name, value in after.items() if value != before.get(name, value)} == {}
    assert {value for name, value in after.items() if name.startswith("/proc/sys/net/ipv4/conf/lan2/f")} == {"0"}


def routing_software(found: Traffic, stack: ExitStack, out: Host) -> None:
    """Containers with a published port and a VPN server with a client, as their software sets them up."""
    ip("link", "add", "docker0", "type", "bridge")
    ip("address", "add", "172.17.0.1/16", "dev", "docker0")
    ip("link", "set", "docker0", "up")
    box = stack.enter_context(host("veth0", bridge="docker0", address="172.17.0.2/16"))
    client = stack.enter_context(host("tun7", address="10.8.0.2/24"))
    ip("address", "add", "10.8.0.1/24", "dev", "tun7")
    forwards("1")
    translate = "ip saddr 172.17.0.0/16 oifname != docker0 masquerade; ip saddr 10.8.0.0/24 oifname != tun7 masquerade"
    publish = "fib daddr type local udp dport 7 dnat to 172.17.0.2:7"
    text = f"""table ip theirs {{
        chain post {{ type nat hook postrouting priority srcnat; {translate}; }}
        chain pre {{ type nat hook prerouting priority dstnat; {publish}; }}
    }}"""
    load_rules(text)
    for one, gateway in ((box, "172.17.0.1"), (client, "10.8.0.1")):
        one("ip", "route", "add", "default", "via", gateway)
    found.answers(box, "172.17.0.2")
    found.asks("container", WORLD, box)
    found.asks("client", WORLD, client)
    found.asks("published", "10.1.0.2", out)


def test_software_that_routes_and_comes_later_works_and_strangers_are_kept_out(
    lab: Path, kvmrun: Cli, stack: ExitStack
) -> None:
    guests(lab, "vm1")
    found = stack.enter_context(traffic())
    uplinks = Uplinks(found, stack)
    out = START(uplinks)
    kvmrun.ok("net", "up")
    found.asks("vm1", WORLD, stack.enter_context(guest_host()))
    routing_software(found, stack, out)
    for link in ("wan0", "wan1"):
        uplinks.default(link)
        for name in ("vm1", "container", "client"):
            assert wait_for(found, name, link, 30.0)
    uplinks.default("wan0")
    assert wait_for(found, "published", "veth0", 30.0)
    assert found.leaks == set()
    kvmrun.ok("net", "down", "--force")
    assert wait_for(found, "container", "wan0", 30.0)  # what made the host a router has its way
    assert wait_for(found, "published", "veth0", 30.0)


def test_software_that_routes_and_was_there_first_works_on(lab: Path, kvmrun: Cli, stack: ExitStack) -> None:
    guests(lab, "vm1")
    found = stack.enter_context(traffic())
    uplinks = Uplinks(found, stack)
    routing_software(found, stack, START(uplinks))
    before = world()["sysctls"]
    kvmrun.ok("net", "up")
    found.asks("vm1", WORLD, stack.enter_context(guest_host()))
    for name, by in (("vm1", "wan0"), ("container", "wan0"), ("client", "wan0"), ("published", "veth0")):
        assert wait_for(found, name, by, 30.0)
    kvmrun.ok("net", "down", "--force")
    assert {name: value for name, value in world()["sysctls"].items() if value != before.get(name, value)} == {}
    assert wait_for(found, "container", "wan0", 30.0)


def test_a_link_that_comes_later_is_put_back_as_it_would_have_been(kvmrun: Cli, stack: ExitStack) -> None:
    """Also one of a device that was there before, and came back."""
    ip("link", "add", "wan0", "type", "veth", "peer", "name", "far0")
    kvmrun.ok("net", "up")
    ip("link", "delete", "wan0")
    for name in ("wan0", "later"):
        ip("link", "add", name, "type", "veth", "peer", "name", f"far-{name}")
    assert {forwarding("wan0"), forwarding("later")} == {"1"}
    kvmrun.ok("repair", "-n")  # there is nothing to do
    kvmrun.ok("net", "down")
    assert {forwarding("wan0"), forwarding("later"), forwarding("default")} == {"0"}


def test_a_network_that_is_no_longer_masqueraded_leaves_no_router(lab: Path, kvmrun: Cli, stack: ExitStack) -> None:
    found = stack.enter_context(traffic())
    START(Uplinks(found, stack))
    kvmrun.ok("net", "up")
    (lab / "networks.toml").write_text("[network.lan]\nnat = false\n")
    kvmrun.ok("net", "up")
    assert {forwarding(name) for name in ("default", "wan0", "wan1", "br0")} == {"0"}
    kvmrun.ok("repair", "-n")  # there is nothing to do
    until(found.turns(5))
    assert found.leaks == set()


def forwarding(link: str) -> str:
    return Path(f"/proc/sys/net/ipv4/conf/{link}/forwarding").read_text().strip()


PREFIX = "fd00:77::"


@contextmanager
def routers(stack: ExitStack) -> Iterator[tuple[Host, Host]]:
    """Two uplinks with IPv6; the host has learned its default route from the first one's advertisements."""
    put6("all", "forwarding", "0")
    found = []
    for number in (1, 2):
        one = stack.enter_context(host(f"wan{number}"))
        one("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")  # else it says of itself that it is no router
        put6(f"wan{number}", "accept_ra", "1")
        put6(f"wan{number}", "disable_ipv6", "0")
        one("ip", "address", "add", f"2001:db8:{number}::1/64", "dev", "eth0", "nodad")
        ip("address", "add", f"2001:db8:{number}::2/64", "dev", f"wan{number}", "nodad")
        one("ip", "route", "add", f"2001:db8:{3 - number}::/64", "via", f"2001:db8:{number}::2")
        found.append(one)
    found[0]("ip", "address", "add", "2001:db8:9::9/128", "dev", "lo")
    there = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{found[0].fd}", "--", "dnsmasq", "--keep-in-foreground"]
    plain = ["--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0", "--interface=eth0", "--enable-ra"]
    child = subprocess.Popen([*there, *plain, "--ra-param=eth0,high,4,600", "--dhcp-range=2001:db8:1::,ra-only"])
    try:
        until(is_learned)
        yield found[0], found[1]
    finally:
        child.kill()
        child.wait()


def put6(link: str, key: str, value: str) -> None:
    Path(f"/proc/sys/net/ipv6/conf/{link}/{key}").write_text(value)


def get6(link: str, key: str) -> str:
    return Path(f"/proc/sys/net/ipv6/conf/{link}/{key}").read_text().strip()


def is_learned() -> bool:
    """Whether the host has a default route of a router advertisement."""
    found = subprocess.run(["ip", "-6", "route", "show", "default"], capture_output=True, text=True, check=True).stdout
    return "proto ra" in found


def is_answered(one: Host, page: str) -> bool:
    with suppress(subprocess.CalledProcessError):
        return bool(one("curl", "--globoff", "--silent", "--fail", "--max-time", "2", page))
    return False


class TestIpv6:
    """Where `ipv6_egress` says so, IPv6 is forwarded; the host keeps its own way out, and is nobody else's."""

    @pytest.fixture
    def ways(self, stack: ExitStack) -> tuple[Host, Host]:
        return stack.enter_context(routers(stack))

    @pytest.fixture
    def guest6(self, ways: tuple[Host, Host], lab: Path, kvmrun: Cli, stack: ExitStack) -> Callable[[str], Host]:
        def made(egress: str) -> Host:
            guests(lab, "vm1")
            (lab / "networks.toml").write_text(f'[network.lan]\nipv6 = "{PREFIX}/64"\nipv6_egress = "{egress}"\n')
            kvmrun.ok("net", "up")
            one = stack.enter_context(host("port1", bridge="br0"))
            until(lambda: one.addresses("-6"))
            return one

        return made

    def test_translated(self, ways: tuple[Host, Host], guest6: Callable[[str], Host], kvmrun: Cli) -> None:
        before = {name: get6(name, "accept_ra") for name in ("wan1", "wan2", "default")}
        one = guest6("nat")
        assert until(lambda: "default" in one("ip", "-6", "route"))
        assert is_learned()  # what the host had learned before it became a router
        assert until(lambda: one.echoes("2001:db8:9::9"))
        assert one.echoes("2001:db8:2::1")
        assert (ways[0].echoes("2001:db8:2::1"), ways[1].echoes("2001:db8:9::9")) == (False, False)
        assert ways[0].echoes("2001:db8:1::2")
        ip("-6", "route", "flush", "default", "proto", "ra")
        until(is_learned)  # and it goes on to learn
        assert until(lambda: one.echoes("2001:db8:9::9"))
        kvmrun.ok("repair", "-n")  # there is nothing to do
        kvmrun.ok("net", "down", "--force")
        assert {name: get6(name, "accept_ra") for name in before} == before
        assert {get6(name, "forwarding") for name in ("all", "default", "wan1", "wan2")} == {"0"}
        assert is_learned()

    def test_a_host_with_nothing_but_ipv6(
        self, ways: tuple[Host, Host], guest6: Callable[[str], Host], kvmrun: Cli, stack: ExitStack
    ) -> None:
        """A page reaches a guest; net status and doctor say by which uplink, and miss no IPv4."""
        there = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{ways[0].fd}", "--", sys.executable, "-m", "http.server"]
        page = stack.enter_context(subprocess.Popen([*there, "--bind", "2001:db8:9::9", "80"], stderr=subprocess.PIPE))
        stack.callback(page.kill)
        one = guest6("nat")
        until(lambda: "default" in one("ip", "-6", "route"))
        until(lambda: is_answered(one, "http://[2001:db8:9::9]/"))
        network = kvmrun.network()
        assert (network["state"], network["problem"]) == ("up", None)
        assert network["uplink"].startswith("wan1 via fe80::")
        found = kvmrun("doctor", "-o", "json").json()["findings"]
        (told,) = [found for found in found if found["subject"] == "uplink"]
        assert (told["level"], "wan1" in told["text"]) == ("ok", True)

    def test_routed(self, ways: tuple[Host, Host], guest6: Callable[[str], Host]) -> None:
        one = guest6("routed")
        until(lambda: "default" in one("ip", "-6", "route"))
        assert not one.echoes("2001:db8:9::9")
        ways[0]("ip", "route", "add", f"{PREFIX}/64", "via", "2001:db8:1::2")
        assert until(lambda: one.echoes("2001:db8:9::9"))
        assert not ways[0].echoes(one.addresses("-6")[0].partition("/")[0])

    def test_not_at_all_and_then_nothing_is_promised(self, guest6: Callable[[str], Host]) -> None:
        one = guest6("none")
        assert one.echoes(f"{PREFIX}1")
        assert "default" not in one("ip", "-6", "route")
        assert get6("all", "forwarding") == "0"


def test_an_egress_without_a_prefix_is_an_error(lab: Path, kvmrun: Cli) -> None:
    (lab / "networks.toml").write_text('[network.lan]\nipv6_egress = "nat"\n')
    (problem,) = kvmrun("check", "-o", "json").json()["problems"]
    assert problem["key"] == "network.lan.ipv6_egress"


def test_an_uplink_without_a_carrier_is_left_at_once(lab: Path, kvmrun: Cli, stack: ExitStack) -> None:
    """Its routes stay where they are, as on a host where nobody watches links."""
    guests(lab, "vm1")
    found = stack.enter_context(traffic())
    first = START(Uplinks(found, stack))
    ip("route", "add", "default", "via", "10.2.0.1", "metric", "200")
    kvmrun.ok("net", "up")
    found.asks("vm1", WORLD, stack.enter_context(guest_host()))
    assert wait_for(found, "vm1", "wan0", 30.0)
    first("ip", "link", "set", "eth0", "down")
    assert wait_for(found, "vm1", "wan1", LIMIT)
    first("ip", "link", "set", "eth0", "up")
    assert wait_for(found, "vm1", "wan0", 30.0)
    kvmrun.ok("net", "down", "--force")
    assert Path("/proc/sys/net/ipv4/conf/wan0/ignore_routes_with_linkdown").read_text() == "0\n"


@pytest.mark.slow
def test_a_real_guest_follows_the_host(
    lab: Path, kvmrun: Cli, stack: ExitStack, demo: str, own_directories: Path
) -> None:
    """Asked by its own page what it gets from the world, which answers with the name of the uplink."""
    (own_directories / "state").mkdir()
    (own_directories / "state/images").symlink_to(demo)
    boot = '[boot]\nkernel = "demo-vmlinuz"\ninitrd = "demo-initrd"\ncmdline = "console=ttyS0 quiet"\n'
    nic = '[[nic]]\naddress = "192.168.0.1"\n'
    (lab / "vm1.toml").write_text(f'accel = "tcg"\nmemory = "256M"\n{boot}{nic}')
    kvmrun.limit = 150
    found = stack.enter_context(traffic())
    uplinks = Uplinks(found, stack, pages=True)
    START(uplinks)
    found.asks("host", WORLD)
    kvmrun.ok("vm1", "--wait=console:ready", "--timeout", "120")
    stack.callback(kvmrun, "kill", "vm1", "--force")
    until(lambda: "at wan0" in inside_page(WORLD), 60.0)
    begun = time.monotonic()
    assert inside_page(WORLD)
    page = time.monotonic() - begun  # what one takes, emulated
    for what, event, link, _ in EVENTS:
        event(uplinks)
        if link:
            assert wait_for(found, "host", link, 30.0), what
            until(lambda link=link: f"at {link}" in inside_page(WORLD), LIMIT + 4 * page)  # type: ignore[misc]
        assert found.leaks == set(), what


def inside_page(address: str) -> str:
    """What the guest gets from there, by its own page."""
    with socket.socket() as at:
        at.settimeout(5.0)
        return fetch(at, "192.168.0.1", path=f"/cgi-bin/get?{address}")
