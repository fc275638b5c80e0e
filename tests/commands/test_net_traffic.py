"""What passes through a network and what does not, with other hosts in namespaces of their own."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.builders import guests
from support.cli import Cli, has_line
from support.hosts import Host, ask, fetch, host, name_server, name_servers, own_etc, reverse, served, uplink
from support.world import ip, until

pytestmark = [
    pytest.mark.usefixtures("netns", "tun"),
    pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox, for its DHCP client"),
]

WORLD = "203.0.113.9"
TWO = '[network.lan]\n{}\n[network.dmz]\nbridge = "br1"\nsubnet = "192.168.1.0/24"\n'


@pytest.fixture(autouse=True)
def nothing_forwards(netns: None) -> None:
    """Whatever the machine is set to, which a new namespace inherits."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")


@pytest.fixture
def etc(own_directories: Path) -> Iterator[Path]:
    (own_directories / "etc").mkdir()
    with own_etc(own_directories / "etc") as path:
        yield path


def networks(lab: Path, text: str) -> None:
    (lab / "networks.toml").write_text(f"[network.lan]\n{text}\n")


@contextmanager
def guest(kvmrun: Cli, name: str, link: str = "v1", bridge: str = "br0") -> Iterator[tuple[Host, str]]:
    """A host with the MAC of a guest's first card, its lease taken; and its address."""
    nic = kvmrun.rows()[name]["nics"][0]
    with host(link, mac=nic["mac"], bridge=bridge) as one:
        assert one.lease()["ip"] == nic["address"]
        yield one, nic["address"]


def packets(pattern: str) -> int:
    """What the counters of our rules have counted whose text has `pattern`."""
    listing = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return sum(int(number) for number in re.findall(rf"{pattern} counter packets (\d+)", listing))


def status(kvmrun: Cli) -> dict[str, Any]:
    return dict(kvmrun.ok("net", "status", "-o", "json").json())


class TestOut:
    """From guests to the world."""

    def test_every_uplink_sees_the_hosts_own_address_and_traffic_follows_the_routes(
        self, lab: Path, kvmrun: Cli
    ) -> None:
        guests(lab, "vm1")
        with uplink("wan0", 1), uplink("wan1", 2, metric=200):
            kvmrun.ok("net", "up")
            with guest(kvmrun, "vm1") as (one, _):
                assert one.page("10.1.0.1") == "you are 10.1.0.2 at wan0"
                assert one.page("10.2.0.1") == "you are 10.2.0.2 at wan1"
                assert one.page(WORLD) == "you are 10.1.0.2 at wan0"
                assert status(kvmrun)["networks"][0]["uplink"] == "wan0 via 10.1.0.1"
                ip("link", "set", "wan0", "down")
                assert one.page(WORLD) == "you are 10.2.0.2 at wan1"
                assert status(kvmrun)["networks"][0]["uplink"] == "wan1 via 10.2.0.1"

    def test_an_uplink_that_comes_later_is_used_without_a_command(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("net", "up")
        with guest(kvmrun, "vm1") as (one, _), uplink("wan0", 1):
            assert one.page(WORLD) == "you are 10.1.0.2 at wan0"
            assert status(kvmrun)["networks"][0]["state"] == "up"

    def test_with_names_of_uplinks_only_those_are_used(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        networks(lab, 'nat = ["wire"]\n[uplink.wire]\ninterface = "wan1"')
        with uplink("wan0", 1), uplink("wan1", 2, metric=200):
            kvmrun.ok("net", "up")
            with guest(kvmrun, "vm1") as (one, _):
                assert one.page("10.2.0.1") == "you are 10.2.0.2 at wan1"
                assert not one.reaches("10.1.0.1")

    def test_without_nat_nothing_is_rewritten_and_nothing_leaves(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        networks(lab, "nat = false")
        with uplink("wan0", 1) as out:
            out("ip", "route", "add", "192.168.0.0/24", "via", "10.1.0.2")
            kvmrun.ok("net", "up")
            with guest(kvmrun, "vm1") as (one, _):
                assert not one.reaches(WORLD)

    def test_between_networks_of_ours_addresses_stay_what_they_are(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        guests(lab, "vm2", text='accel = "tcg"\n[[nic]]\nnetwork = "dmz"\n')
        (lab / "networks.toml").write_text(TWO.format(""))
        kvmrun.ok("net", "up")
        with ExitStack() as stack:
            one, address = stack.enter_context(guest(kvmrun, "vm1"))
            other, there = stack.enter_context(guest(kvmrun, "vm2", "v2", "br1"))
            stack.enter_context(served(other))
            assert one.page(there) == f"you are {address} at v2"


class TestSeen:
    """What `net status` says is what is there."""

    def test_of_an_external_bridge(self, lab: Path, kvmrun: Cli) -> None:
        networks(lab, "external = true")

        def seen() -> tuple[str, str | None, str]:
            (one,) = status(kvmrun)["networks"]
            return one["state"], one["address"], one["problem"] or ""

        state, address, problem = seen()
        assert (state, address, "br0" in problem) == ("down", None, True)
        ip("link", "add", "br0", "type", "bridge")
        state, address, problem = seen()
        assert (state, problem.endswith("ip link set br0 up")) == ("down", True)
        ip("link", "set", "br0", "up")
        ip("address", "add", "10.9.8.7/24", "dev", "br0")
        assert seen() == ("up", "10.9.8.7/24", "")

    def test_of_an_answer_that_does_not_come_back(self, lab: Path, kvmrun: Cli) -> None:
        """Whatever the reason: the kernel is asked."""
        with uplink("wan0", 1):
            kvmrun.ok("net", "up")
            assert (status(kvmrun)["networks"][0]["uplink"], status(kvmrun)["networks"][0]["warnings"]) == (
                "wan0 via 10.1.0.1",
                [],
            )
            Path("/proc/sys/net/ipv4/conf/wan0/forwarding").write_text("0")
            (warning,) = status(kvmrun)["networks"][0]["warnings"]
            assert "wan0 via 10.1.0.1" in warning
            kvmrun.ok("net", "up")
            assert status(kvmrun)["networks"][0]["warnings"] == []
            Path("/proc/sys/net/ipv4/conf/br0/forwarding").write_text("0")
            assert status(kvmrun)["networks"][0]["uplink"] is None

    def test_of_uplinks_that_are_not_named(self, lab: Path, kvmrun: Cli) -> None:
        networks(lab, 'nat = ["wire"]\n[uplink.wire]\ninterface = "wan1"')
        with uplink("wan0", 1), uplink("wan1", 2, metric=200):
            kvmrun.ok("net", "up")
            (warning,) = status(kvmrun)["networks"][0]["warnings"]
            assert has_line(warning, "wan1", "nat", "wan0")


class TestIn:
    """From the world to guests."""

    @pytest.mark.parametrize(("policy", "reached"), [("private", False), ("open", True)])
    def test_new_flows_are_dropped_and_counted_unless_it_is_open(
        self, lab: Path, kvmrun: Cli, policy: str, reached: bool
    ) -> None:
        guests(lab, "vm1")
        networks(lab, f'policy = "{policy}"')
        with uplink("wan0", 1) as out:
            out("ip", "route", "add", "192.168.0.0/24", "via", "10.1.0.2")
            kvmrun.ok("net", "up")
            with guest(kvmrun, "vm1") as (one, address), served(one):
                assert out.reaches(address) is reached
                assert (packets('oifname "br0"') > 0) is not reached
                assert one.page(WORLD) == "you are 10.1.0.2 at wan0"
                assert status(kvmrun)["networks"][0]["state"] == "up"  # what counts up is no change

    @pytest.mark.parametrize("nat", ["true", "false"])
    def test_a_port_leads_to_its_guest_from_outside_and_from_the_host(self, lab: Path, kvmrun: Cli, nat: str) -> None:
        guests(lab, "vm1")
        networks(lab, f'nat = {nat}\nforward = ["tcp 8080 -> vm1:80"]')
        with uplink("wan0", 1) as out:
            kvmrun.ok("net", "up")
            with guest(kvmrun, "vm1") as (one, _), served(one):
                assert out.page("10.1.0.2", 8080) == "you are 10.1.0.1 at v1"
                assert not out.reaches("10.1.0.2", 8081)
                for own in ("10.1.0.2", "192.168.0.254"):
                    with socket.socket() as at:
                        at.settimeout(2)
                        assert fetch(at, own, 8080).endswith("at v1")
                with socket.socket() as at:
                    assert fetch(at, "127.0.0.1", 8080) == "you are 192.168.0.254 at v1"
                with socket.socket() as at:
                    assert fetch(at, "127.0.0.2", 8080) == ""

    @pytest.mark.parametrize("bridge_netfilter", ["0", "1"])
    def test_a_port_leads_there_from_guests_by_the_addresses_of_the_host(
        self, lab: Path, kvmrun: Cli, bridge_netfilter: str
    ) -> None:
        """With bridge netfilter the kernel bridges what it has translated; a bridge sends nothing back to its port."""
        switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        if switch.exists():
            switch.write_text(bridge_netfilter)
        guests(lab, "vm1", "vm2")
        guests(lab, "vm3", text='accel = "tcg"\n[[nic]]\nnetwork = "dmz"\n')
        (lab / "networks.toml").write_text(TWO.format('forward = ["tcp 8080 -> vm1:80", "udp 53 -> vm1:53"]'))
        with uplink("wan0", 1), ExitStack() as stack:
            kvmrun.ok("net", "up")
            one, _ = stack.enter_context(guest(kvmrun, "vm1"))
            two, _ = stack.enter_context(guest(kvmrun, "vm2", "v2"))
            far, address = stack.enter_context(guest(kvmrun, "vm3", "v3", "br1"))
            stack.enter_context(served(one))
            for own in ("10.1.0.2", "192.168.0.254", "192.168.1.254"):
                assert two.page(own, 8080) == "you are 192.168.0.254 at v1"
                assert far.page(own, 8080) == f"you are {address} at v1"
                if bridge_netfilter == "0":
                    assert one.page(own, 8080) == "you are 192.168.0.254 at v1"
            assert ask("192.168.0.254", "vm1", at=two.socket(socket.SOCK_DGRAM))  # our own server's port stays its own

    def test_the_loopback_of_the_host_is_closed_to_guests(self, lab: Path, kvmrun: Cli) -> None:
        """A port that is reached by 127.0.0.1 takes `route_localnet`, with which the kernel lets them in."""
        guests(lab, "vm1", "vm2")
        networks(lab, 'forward = ["tcp 8080 -> vm1:80"]')
        kvmrun.ok("net", "up")
        assert Path("/proc/sys/net/ipv4/conf/br0/route_localnet").read_text() == "1\n"
        with guest(kvmrun, "vm2", "v2") as (two, _), socket.create_server(("127.0.0.1", 8088)):
            two("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
            two("ip", "route", "add", "127.0.0.1/32", "via", "192.168.0.254", "dev", "eth0")
            two("sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
            with two.socket(limit=1.0) as at, pytest.raises(OSError, match="timed out"):
                at.connect(("127.0.0.1", 8088))
            assert packets(r'iifname "br0" ip daddr 127.0.0.0/8') > 0
        kvmrun.ok("net", "down")
        networks(lab, "")
        kvmrun.ok("net", "up")
        assert Path("/proc/sys/net/ipv4/conf/br0/route_localnet").read_text() == "0\n"

    def test_our_name_server_is_not_the_worlds(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        with uplink("wan0", 1) as out:
            out("ip", "route", "add", "192.168.0.0/24", "via", "10.1.0.2")
            kvmrun.ok("net", "up")
            at = out.socket(socket.SOCK_DGRAM, limit=0.5)
            at.connect(("192.168.0.254", 53))
            at.send(b"\0" * 12)
            with pytest.raises(TimeoutError):
                at.recv(100)
            at.close()
            assert packets("udp dport {[^}]*}") == 1


class TestStrangers:
    """The host forwards for its guests; it is no router for those beyond its uplinks."""

    @pytest.fixture
    def two(self, netns: None) -> Iterator[Host]:
        """Two ways out, whose far ends have routes to each other through this host; the first of them."""
        with uplink("wan1", 1, metric=100) as one, uplink("wan2", 2, metric=200) as other:
            one("ip", "route", "add", "10.2.0.0/24", "via", "10.1.0.2")
            other("ip", "route", "add", "10.1.0.0/24", "via", "10.2.0.2")
            yield one

    def test_they_are_not_routed_from_uplink_to_uplink(self, lab: Path, kvmrun: Cli, two: Host) -> None:
        guests(lab, "vm1")
        (lab / "networks.toml").write_text(TWO.format(""))
        kvmrun.ok("net", "up")
        with guest(kvmrun, "vm1") as (vm1, _):
            assert vm1.page(WORLD) == "you are 10.1.0.2 at wan1"
            assert vm1.page("10.2.0.1") == "you are 10.2.0.2 at wan2"
            assert not two.reaches("10.2.0.1")
        assert packets("snat,dnat") > 0
        kvmrun.ok("net", "down", "dmz")
        assert not two.reaches("10.2.0.1")
        assert [one["state"] for one in status(kvmrun)["networks"]] == ["down", "up"]
        kvmrun.ok("net", "down")
        assert not two.reaches("10.2.0.1")

    def test_who_was_routed_before_is_routed_on(self, lab: Path, kvmrun: Cli, two: Host) -> None:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        assert two.reaches("10.2.0.1")
        kvmrun.ok("net", "up")
        assert two.page("10.2.0.1") == "you are 10.1.0.1 at wan2"
        kvmrun.ok("net", "down")
        assert two.reaches("10.2.0.1")

    def test_a_link_that_forwarded_before_forwards_on_and_the_other_does_not_begin_to(
        self, lab: Path, kvmrun: Cli, two: Host
    ) -> None:
        Path("/proc/sys/net/ipv4/conf/wan1/forwarding").write_text("1")
        kvmrun.ok("net", "up")
        with two.socket() as at:
            assert fetch(at, "10.2.0.1") == "you are 10.1.0.1 at wan2"
        assert packets("snat,dnat") == 0
        rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        assert set(re.findall(r"nfproto ipv4 iifname != { ([^}]*) }", rules)) == {'"br0", "wan1"'}

    def test_once_the_host_is_made_a_router_it_is_one(self, lab: Path, kvmrun: Cli, two: Host) -> None:
        kvmrun.ok("net", "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        assert not two.reaches("10.2.0.1")
        assert status(kvmrun)["networks"][0]["state"] == "degraded"
        kvmrun.ok("net", "up")
        assert two.reaches("10.2.0.1")

    def test_what_is_sent_on_to_another_address_passes(self, lab: Path, kvmrun: Cli, two: Host) -> None:
        """Containers whose ports are published, on a bridge that came after us."""
        kvmrun.ok("net", "up")
        rule = "add rule ip theirs pre iifname wan1 tcp dport 8080 dnat to 10.2.0.1:80"
        hook = "type nat hook prerouting priority dstnat;"
        subprocess.run(["nft", f"add table ip theirs; add chain ip theirs pre {{ {hook} }}; {rule}"], check=True)
        assert two.page("10.1.0.2", 8080) == "you are 10.1.0.1 at wan2"


class TestBetweenGuests:
    """Frames from port to port, with bridge netfilter on."""

    @pytest.fixture(autouse=True)
    def bridge_netfilter(self, netns: None) -> None:
        switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        if not switch.exists():
            pytest.skip("needs br_netfilter")
        switch.write_text("1")

    @pytest.mark.parametrize("firewall", ["table ip filter", "table inet others"])
    def test_a_foreign_chain_that_drops_is_named_with_a_mend_that_mends(
        self, lab: Path, kvmrun: Cli, firewall: str
    ) -> None:
        guests(lab, "vm1", "vm2")
        with uplink("wan0", 1):
            kvmrun.ok("net", "up")
            with guest(kvmrun, "vm1") as (one, address), guest(kvmrun, "vm2", "v2") as (other, there), served(other):
                assert one.page(there) == f"you are {address} at v2"
                chain = f"{firewall[6:]} FORWARD {{ type filter hook forward priority 0; policy drop; }}"
                subprocess.run(["nft", f"add {firewall}; add chain {chain}"], check=True)
                assert (one.reaches(there), one.reaches(WORLD)) == (False, False)
                (problem,) = status(kvmrun)["problems"]
                text, mend = problem.split("; fix: ")
                assert f"{firewall[6:]} FORWARD" in text
                assert f"problem: {text}\n         fix: {mend}\n" in kvmrun.ok("net", "status").out
                subprocess.run(["sh", "-ec", mend], check=True)
                assert one.page(there) == f"you are {address} at v2"
                assert one.page(WORLD) == "you are 10.1.0.2 at wan0"
                assert status(kvmrun)["problems"] == []

    def test_a_guest_that_routes_for_another_network_is_translated_like_any(self, lab: Path, kvmrun: Cli) -> None:
        """The host sees the frames it gets as well: a connection that it must not take for the one to come."""
        guests(
            lab, "r", text='accel = "tcg"\n[[nic]]\nforwarding = true\n[[nic]]\nnetwork = "dmz"\nforwarding = true\n'
        )
        guests(lab, "vm1", text='accel = "tcg"\n[[nic]]\nnetwork = "dmz"\naddress = "192.168.1.1"\n')
        (lab / "networks.toml").write_text(TWO.format(""))
        with uplink("wan0", 1), ExitStack() as stack:
            kvmrun.ok("net", "up")
            router, _ = stack.enter_context(guest(kvmrun, "r"))
            router("sysctl", "-qw", "net.ipv4.ip_forward=1")
            near = router.join("v2", "br1", kvmrun.rows()["r"]["nics"][1]["mac"], "192.168.1.9/24")
            stack.callback(ip, "link", "delete", near)
            one = stack.enter_context(host("v3", bridge="br1", address="192.168.1.1/24"))
            one("ip", "route", "add", "default", "via", "192.168.1.9")
            assert one.page(WORLD) == "you are 10.1.0.2 at wan0"

    @pytest.mark.parametrize("firewall", ["table ip6 filter", "table inet others"])
    def test_one_that_drops_ipv6_is_named_as_well(self, lab: Path, kvmrun: Cli, firewall: str) -> None:
        Path("/proc/sys/net/bridge/bridge-nf-call-ip6tables").write_text("1")
        for number in (1, 2):
            mac = f'mac = "52:54:00:00:00:0{number}"'
            guests(lab, f"vm{number}", text=f'accel = "tcg"\n[[nic]]\n{mac}\n')
        networks(lab, 'ipv6 = "fd00:77::/64"')
        kvmrun.ok("net", "up")
        with guest(kvmrun, "vm1") as (one, _), guest(kvmrun, "vm2", "v2") as (two, _):
            there = "fd00:77::5054:ff:fe00:2"
            until(lambda: one.addresses("-6") and two.addresses("-6"))
            assert one.echoes(there)
            chain = f"{firewall[6:]} FORWARD {{ type filter hook forward priority 0; policy drop; }}"
            allow = "meta nfproto ipv4 accept; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
            rules = "; ".join(f"add rule {firewall[6:]} FORWARD {one}" for one in allow.split("; "))
            rules = rules.replace("meta nfproto ipv4 accept", "counter") if "ip6" in firewall else rules
            subprocess.run(["nft", f"add {firewall}; add chain {chain}; {rules}"], check=True)
            assert not one.echoes(there)
            (problem,) = status(kvmrun)["problems"]
            text, mend = problem.split("; fix: ")
            assert f"{firewall[6:]} FORWARD" in text
            assert ("(IPv6 tcp port 80)" in text) is ("inet" in firewall)
            subprocess.run(["sh", "-ec", mend], check=True)
            assert one.echoes(there)
            assert status(kvmrun)["problems"] == []

    def test_isolated_ones_reach_the_host_and_not_each_other(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", "vm2")
        networks(lab, "isolate = true")
        kvmrun.ok("net", "up")
        with guest(kvmrun, "vm1") as (one, _), guest(kvmrun, "vm2", "v2") as (other, there), served(other):
            assert not one.reaches(there)
            assert packets('iifname "br0" oifname "br0"') > 0
            assert ask("192.168.0.254", "vm2", at=one.socket(socket.SOCK_DGRAM)) == [there]


def test_a_guest_on_an_isolated_network_has_an_isolated_port(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    networks(lab, "isolate = true")
    kvmrun.ok("vm1")
    isolated = Path("/sys/class/net/tap-vm1/brport/isolated")
    assert isolated.read_text() == "1\n"
    kvmrun.ok("net", "restart")
    assert isolated.read_text() == "1\n"


class TestAddresses:
    """What DHCP gives."""

    def test_a_guest_gets_its_own_and_all_that_goes_with_it(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        networks(lab, 'domain = "lab.example"\nmtu = 1400\ndhcp = { lease = "2h", options = { 19 = "0" } }')
        kvmrun.ok("net", "up")
        nic = kvmrun.rows()["vm1"]["nics"][0]
        with host("v1", mac=nic["mac"], bridge="br0") as one:
            assert one.lease() == {
                "ip": nic["address"],
                "mask": "24",
                "router": "192.168.0.254",
                "dns": "192.168.0.254",
                "domain": "lab.example",
                "search": "lab.example",
                "hostname": "vm1",
                "mtu": "1400",
                "lease": "7200",
                "opt19": "00",
            }

    def test_cloned_guests_with_one_client_id_and_one_name_are_told_apart(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", "vm2")
        kvmrun.ok("net", "up")
        rows = kvmrun.rows()
        for name in ("vm1", "vm2", "vm1"):
            nic = rows[name]["nics"][0]
            with host("v1", mac=nic["mac"], bridge="br0") as one:
                got = one.lease("-x", "0x3d:ff01020304", "-x", "hostname:clone")
                assert (got["ip"], got["hostname"]) == (nic["address"], name)
        assert ask("192.168.0.254", "clone") == []

    def test_a_stranger_gets_one_of_the_pool_and_no_name(self, lab: Path, kvmrun: Cli) -> None:
        networks(lab, 'dhcp = { pool = "192.168.0.77-192.168.0.77" }')
        guests(lab, "vm1")
        kvmrun.ok("net", "up")
        right = ask("192.168.0.254", "vm1")
        with host("v1", bridge="br0") as one:
            assert one.lease("-x", "hostname:vm1")["ip"] == "192.168.0.77"
            assert ask("192.168.0.254", "vm1") == right
            assert ask("192.168.0.254", reverse("192.168.0.77"), "PTR") == []
            (lease,) = status(kvmrun)["networks"][0]["leases"]
            assert (lease["address"], lease["name"]) == ("192.168.0.77", "")

    @pytest.mark.parametrize(("text", "given"), [("dns = false", ("", "", "")), ("dhcp = false", None)])
    def test_what_is_off_is_not_given(self, lab: Path, kvmrun: Cli, text: str, given: tuple[str, ...] | None) -> None:
        networks(lab, text)
        kvmrun.ok("net", "up")
        with host("v1", bridge="br0") as one:
            if given is None:
                with pytest.raises(subprocess.CalledProcessError):
                    one.lease("-t1")
            else:
                got = one.lease()
                assert (got["dns"], got["domain"], got["search"]) == given
                assert got["router"] == "192.168.0.254"

    @pytest.mark.parametrize("dhcp", ["", "dhcp = false"])
    def test_with_ipv6_a_guest_makes_its_own_address_in_the_prefix(self, lab: Path, kvmrun: Cli, dhcp: str) -> None:
        guests(lab, "vm1", text='accel = "tcg"\n[[nic]]\nmac = "52:54:00:00:00:07"\n')
        networks(lab, f'ipv6 = "fd00:77::/64"\n{dhcp}')
        kvmrun.ok("net", "up")
        own = socket.gethostname().partition(".")[0].lower()
        with host("v1", mac="52:54:00:00:00:07", bridge="br0") as one:
            assert until(lambda: one.addresses("-6")) == ["fd00:77::5054:ff:fe00:7/64"]
            assert until(lambda: ask("192.168.0.254", own, "AAAA")) == ["fd00:77::1"]


@pytest.mark.usefixtures("etc")
class TestNames:
    """What the name server says."""

    def test_guests_and_the_host_are_known_by_every_name_they_have(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        networks(lab, 'domain = "lab.example"')
        name_servers("127.0.0.1")
        kvmrun.ok("net", "up")
        address = kvmrun.rows()["vm1"]["nics"][0]["address"]
        own = socket.gethostname().partition(".")[0].lower()
        server = "192.168.0.254"
        assert ask(server, "vm1") == ask(server, "vm1.lab.example") == [address]
        assert ask(server, reverse(address), "PTR") == ["vm1.lab.example"]
        assert ask(server, own) == ask(server, f"{own}.lab.example") == [server]
        assert ask(server, reverse(server), "PTR") == [f"{own}.lab.example"]
        assert ask(server, "vm9.lab.example") == ask(server, "vm9") == []

    def test_everything_else_is_asked_of_the_hosts_servers_of_the_moment(self, lab: Path, kvmrun: Cli) -> None:
        with ExitStack() as stack:
            for number in (1, 2):
                out = stack.enter_context(uplink(f"wan{number}", number, number))
                stack.enter_context(name_server(out, f"10.{number}.0.1", f"198.51.100.{number}"))
            name_servers("10.1.0.1")
            kvmrun.ok("net", "up")
            assert ask("192.168.0.254", "outside.example") == ["198.51.100.1"]
            name_servers("10.2.0.1")
            until(lambda: ask("192.168.0.254", "outside.example") == ["198.51.100.2"])

    def test_what_the_readme_says_of_resolv_conf(self, lab: Path, kvmrun: Cli) -> None:
        """Our own server above those of the uplink: the host knows every name, and so do guests."""
        guests(lab, "vm1")
        with uplink("wan0", 1) as out, name_server(out, "10.1.0.1", "198.51.100.7"):
            name_servers("192.168.0.254", "10.1.0.1")
            assert "warning" not in kvmrun.ok("net", "up").err
            assert ask("192.168.0.254", "outside.example") == ["198.51.100.7"]
            assert ask("192.168.0.254", "vm1") == [kvmrun.rows()["vm1"]["nics"][0]["address"]]
            name_servers("192.168.0.254")
            until(lambda: ask("192.168.0.254", "outside.example") == [])
            (warning,) = status(kvmrun)["networks"][0]["warnings"]
            assert "/etc/resolv.conf" in warning
            up = kvmrun.ok("net", "up")
            assert f"warning: {warning}" in up.out + up.err
            fix = warning.partition("fix: ")[2].partition(" in network.lan")[0].replace("9.9.9.9", "10.1.0.1")
            networks(lab, fix)
            assert "warning" not in kvmrun.ok("net", "up").err
            assert ask("192.168.0.254", "outside.example") == ["198.51.100.7"]

    def test_two_networks_that_ask_each_other(self, lab: Path, kvmrun: Cli) -> None:
        """Each answers what it knows; what nobody knows goes round once, and not for ever."""
        (lab / "networks.toml").write_text(
            '[network.lan]\ndns = { upstream = ["192.168.1.254", "10.1.0.1"] }\n'
            '[network.dmz]\nbridge = "br1"\nsubnet = "192.168.1.0/24"\ndomain = "dmz"\n'
            'dns = { upstream = ["192.168.0.254"] }\n'
        )
        with uplink("wan0", 1) as out, name_server(out, "10.1.0.1", "198.51.100.7"):
            kvmrun.ok("net", "up")
            until(lambda: ask("192.168.0.254", "outside.example") == ["198.51.100.7"])
            until(lambda: ask("192.168.1.254", "outside.example") == ["198.51.100.7"])

    def test_servers_given_are_asked_instead(self, lab: Path, kvmrun: Cli) -> None:
        networks(lab, 'dns = { upstream = ["10.1.0.1"] }')
        name_servers("192.0.2.1")
        with uplink("wan0", 1) as out, name_server(out, "10.1.0.1", "198.51.100.7"):
            kvmrun.ok("net", "up")
            assert ask("192.168.0.254", "outside.example") == ["198.51.100.7"]
