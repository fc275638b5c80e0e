"""Several ways out at once, seen from their far ends: who is told to take which takes it, and it is said when not."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli, has_line
from support.hosts import Host, fetch, guest_host, host, served, uplink
from support.world import difference, ip, touchable, world, world_after

pytestmark = pytest.mark.usefixtures("netns", "tun")

WORLD = "203.0.113.9"
TWO = """
[uplink.first]
interface = "wan1"
gateway = "10.1.0.1"

[uplink.second]
interface = "wan2"
gateway = "10.2.0.1"
table = 102
"""


def write(lab: Path, networks: str = "[network.lan]\n", **uplinks: str) -> None:
    (lab / "networks.toml").write_text(networks + TWO)
    for number, name in enumerate(("vm1", "vm2"), 1):
        chosen = f'uplink = "{uplinks[name]}"\n' if name in uplinks else ""
        (lab / f"{name}.toml").write_text(f'{chosen}{TCG}[[nic]]\naddress = "192.168.0.{number}"\n')


@pytest.fixture
def world_beyond(netns: None) -> Iterator[Host]:
    """Two ways out; the first is the one everybody takes who is not told. The host beyond the second."""
    with uplink("wan1", 1, metric=100), uplink("wan2", 2, metric=200) as second:
        yield second


def tables() -> str:
    rules = subprocess.run(["ip", "-N", "rule"], capture_output=True, text=True, check=True).stdout
    routes = subprocess.run(["ip", "route", "show", "table", "102"], capture_output=True, text=True, check=False).stdout
    return rules + routes


def status(kvmrun: Cli) -> dict[str, tuple[str | None, str | None]]:
    network = kvmrun.network()
    return {way["guest"]: (way["egress"], way["uplink"]) for way in network["ways"]}


@pytest.mark.usefixtures("world_beyond")
class TestTwo:
    def test_a_guest_told_to_takes_the_second_and_the_others_the_first(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, vm2="second")
        before = world()
        kvmrun.ok("net", "up")
        with guest_host(1) as vm1, guest_host(2) as vm2:
            assert vm1.page(WORLD) == "you are 10.1.0.2 at wan1"
            assert vm2.page(WORLD) == "you are 10.2.0.2 at wan2"
            with served(vm1), served(vm2):
                assert vm2.page("192.168.0.1") == "you are 192.168.0.2 at port1"
                assert vm1.page("192.168.0.2") == "you are 192.168.0.1 at port2"
        assert status(kvmrun) == {"vm1": ("wan1 via 10.1.0.1", "first"), "vm2": ("wan2 via 10.2.0.1", "second")}
        assert "egress   wan2 via 10.2.0.1 (second): vm2 (192.168.0.2)" in kvmrun.ok("net", "status").out
        kvmrun.ok("repair", "-n")  # there is nothing to do
        kvmrun.ok("net", "down")
        assert world_after(before) == before

    def test_a_network_may_be_told_and_a_guest_of_it_otherwise(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, '[network.lan]\nuplink = "second"\n', vm1="first")
        kvmrun.ok("net", "up")
        with guest_host(1) as vm1, guest_host(2) as vm2, guest_host(77) as stranger:
            assert vm1.page(WORLD) == "you are 10.1.0.2 at wan1"
            assert vm2.page(WORLD) == "you are 10.2.0.2 at wan2"
            assert stranger.page(WORLD) == "you are 10.2.0.2 at wan2"

    def test_it_works_with_a_strict_reverse_path_filter(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, vm2="second")
        for link in ("all", "wan1", "wan2"):
            Path(f"/proc/sys/net/ipv4/conf/{link}/rp_filter").write_text("1")
        kvmrun.ok("net", "up")
        with guest_host(2) as vm2:
            assert vm2.page(WORLD) == "you are 10.2.0.2 at wan2"

    def test_two_networks_reach_each_other_whatever_their_uplinks(self, lab: Path, kvmrun: Cli) -> None:
        dmz = '[network.dmz]\nbridge = "br1"\nsubnet = "192.168.7.0/24"\ndomain = "dmz"\nuplink = "first"\n'
        write(lab, f'[network.lan]\nuplink = "second"\n{dmz}')
        kvmrun.ok("net", "up")
        with guest_host(1) as vm1, host("far", bridge="br1", address="192.168.7.1/24") as far:
            far("ip", "route", "add", "default", "via", "192.168.7.254")
            with served(far), served(vm1):
                assert vm1.page("192.168.7.1") == "you are 192.168.0.1 at far"
                assert far.page("192.168.0.1") == "you are 192.168.7.1 at port1"
            assert (vm1.page(WORLD), far.page(WORLD)) == ("you are 10.2.0.2 at wan2", "you are 10.1.0.2 at wan1")
        before = tables()
        kvmrun.ok("net", "down", "dmz")
        assert "192.168.7.0" not in tables()
        assert "192.168.0.0/24 lookup 102" in tables()
        assert "default via 10.2.0.1" in before
        assert "default via 10.2.0.1" in tables()

    def test_one_that_goes_away_is_told_and_used_again_when_it_is_back(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, vm2="second")
        kvmrun.ok("net", "up")
        ip("link", "set", "wan2", "down")
        assert status(kvmrun)["vm2"] == ("wan1 via 10.1.0.1", "first")
        out = kvmrun.ok("net", "status").out
        assert has_line(out, "egress", "wan1 via 10.1.0.1 (first)", "second", "vm2")
        assert has_line(out, "warning", "second", "192.168.0.2", "wan2")
        ip("link", "set", "wan2", "up")
        assert "degraded" in kvmrun.ok("net", "status").out
        kvmrun.ok("net", "up")
        assert status(kvmrun)["vm2"] == ("wan2 via 10.2.0.1", "second")

    def test_one_that_does_not_answer_is_told(self, lab: Path, kvmrun: Cli, world_beyond: Host) -> None:
        write(lab, vm2="second")
        world_beyond("ip", "address", "del", "10.2.0.1/24", "dev", "eth0")
        said = kvmrun.ok("net", "up")
        facts = ("warning", "second", "192.168.0.2", "10.2.0.1", "wan2")
        assert has_line(said.out + said.err, *facts)
        assert has_line(kvmrun.ok("net", "status").out, *facts)
        world_beyond("ip", "address", "add", "10.2.0.1/24", "dev", "eth0")
        assert "warning" not in kvmrun.ok("net", "status").out

    def test_uplinks_that_change_under_running_guests_are_followed(self, lab: Path, kvmrun: Cli) -> None:
        """A new address, as DHCP gives it, and a better way out than the one before."""
        write(lab, vm2="second")
        kvmrun.ok("net", "up")
        with guest_host(1) as vm1, guest_host(2) as vm2:
            assert (vm1.page(WORLD), vm2.page(WORLD)) == ("you are 10.1.0.2 at wan1", "you are 10.2.0.2 at wan2")
            ip("address", "flush", "dev", "wan2")  # the kernel takes every route through it away
            assert status(kvmrun) == {"vm1": ("wan1 via 10.1.0.1", "first"), "vm2": ("wan1 via 10.1.0.1", "first")}
            assert vm2.page(WORLD) == "you are 10.1.0.2 at wan1"
            ip("address", "add", "10.2.0.9/24", "dev", "wan2")
            ip("route", "add", "default", "via", "10.2.0.1", "metric", "50")
            assert "degraded" in kvmrun.ok("net", "status").out
            kvmrun.ok("net", "up")
            assert status(kvmrun) == {"vm1": ("wan2 via 10.2.0.1", "second"), "vm2": ("wan2 via 10.2.0.1", "second")}
            assert (vm1.page(WORLD), vm2.page(WORLD)) == ("you are 10.2.0.9 at wan2", "you are 10.2.0.9 at wan2")

    def test_with_none_left_no_way_is_told(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, vm2="second")
        kvmrun.ok("net", "up")
        for link in ("wan1", "wan2"):
            ip("link", "delete", link)
        assert status(kvmrun) == {"vm1": (None, None), "vm2": (None, None)}
        assert has_line(kvmrun.ok("net", "status").out, "egress", "none", "second")

    def test_a_definition_that_changes_costs_one_rule(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, vm2="second")
        kvmrun.ok("net", "up")
        write(lab, vm1="second")
        kvmrun.ok("net", "up")
        assert "from 192.168.0.1 lookup 102" in tables()
        assert "from 192.168.0.2 lookup" not in tables()
        write(lab)
        kvmrun.ok("net", "up")
        assert "102" not in tables()
        assert "192.168.0" not in tables()

    def test_a_guests_start_brings_its_way(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, vm2="second")
        kvmrun.ok("vm2")
        assert "from 192.168.0.2 lookup 102" in tables()


def test_an_uplink_that_is_absent_at_the_start_costs_nothing(lab: Path, kvmrun: Cli) -> None:
    write(lab, vm2="second")
    with uplink("wan1", 1):
        said = kvmrun.ok("net", "up")
        assert has_line(said.out + said.err, "warning", "second", "192.168.0.2")
        with guest_host(2) as vm2:
            assert vm2.page(WORLD) == "you are 10.1.0.2 at wan1"
            with uplink("wan2", 2, metric=200):
                kvmrun.ok("net", "up")
                assert vm2.page(WORLD) == "you are 10.2.0.2 at wan2"


def test_two_gateways_on_one_wire(lab: Path, kvmrun: Cli) -> None:
    """The office of 2008: one card of the host, and a gateway for each of two providers on the wire behind it."""
    (lab / "networks.toml").write_text(
        '[network.lan]\n[uplink.comcast]\ninterface = "eth0"\ngateway = "172.20.1.1"\n'
        '[uplink.avvanta]\ninterface = "eth0"\ngateway = "172.20.1.254"\n'
    )
    for number, told in ((1, "comcast"), (2, "avvanta")):
        (lab / f"vm{number}.toml").write_text(f'uplink = "{told}"\n[[nic]]\naddress = "192.168.0.{number}"\n')
    with ExitStack() as stack:
        ip("link", "add", "eth0", "type", "veth", "peer", "name", "wire")
        ip("link", "add", "office", "type", "bridge")
        for link in ("eth0", "wire", "office"):
            ip("link", "set", link, "up", *(("master", "office") if link == "wire" else ()))
        ip("address", "add", "172.20.1.130/24", "dev", "eth0")
        ip("route", "add", "default", "via", "172.20.1.1")
        for name, address in (("comcast", "172.20.1.1"), ("avvanta", "172.20.1.254")):
            one = stack.enter_context(host(name, bridge="office", address=f"{address}/24"))
            one("ip", "address", "add", f"{WORLD}/32", "dev", "lo")
            stack.enter_context(served(one))
        kvmrun.ok("net", "up")
        with guest_host(1) as vm1, guest_host(2) as vm2:
            assert vm1.page(WORLD) == "you are 172.20.1.130 at comcast"
            assert vm2.page(WORLD) == "you are 172.20.1.130 at avvanta"
        assert status(kvmrun) == {
            "vm1": ("eth0 via 172.20.1.1", "comcast"),
            "vm2": ("eth0 via 172.20.1.254", "avvanta"),
        }


class TestAnswers:
    """What comes in to a forwarded port is answered by the uplink it came in by."""

    def test_whichever_uplink_the_guest_leaves_by(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, '[network.lan]\nforward = ["tcp 8080 -> vm1:80", "tcp 8081 -> vm2:80"]\n', vm1="first", vm2="second")
        before = world()
        with uplink("wan1", 1, metric=100) as one, uplink("wan2", 2, metric=200) as two, uplink("wan3", 3, metric=300):
            inside = world()
            kvmrun.ok("net", "up")
            with guest_host(1) as vm1, guest_host(2) as vm2, served(vm1), served(vm2):
                for far, own in ((one, "10.1.0.2"), (two, "10.2.0.2")):
                    for number in (1, 2):
                        with far.socket() as at:
                            at.bind((WORLD, 0))
                            assert fetch(at, own, 8079 + number) == f"you are {WORLD} at port{number}"
                assert vm1.page(WORLD) == "you are 10.1.0.2 at wan1"
                assert vm2.page(WORLD) == "you are 10.2.0.2 at wan2"
            up = touchable()
            kvmrun.ok("net", "up")
            assert touchable() == up
            kvmrun.ok("net", "down")
            assert difference(inside, world_after(inside)) == ""
        assert world_after(before) == before

    def test_a_table_of_others_is_left_alone(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, '[network.lan]\nforward = ["tcp 8080 -> vm1:80"]\n')
        with uplink("wan1", 1), uplink("wan2", 2, metric=200):
            ip("route", "add", "198.51.100.0/24", "dev", "wan2", "table", "102")
            kvmrun.ok("net", "up")
            assert tables().endswith("198.51.100.0/24 dev wan2 scope link \n")


@pytest.mark.usefixtures("world_beyond")
class TestTables:
    """A table that others have routes in is used or refused as it is, never changed."""

    def test_a_providers_table_is_used_as_it_is(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, vm2="second")
        ip("route", "add", "default", "via", "10.2.0.1", "dev", "wan2", "table", "102")
        before = world()
        kvmrun.ok("net", "up")
        with guest_host(2) as vm2:
            assert vm2.page(WORLD) == "you are 10.2.0.2 at wan2"
        kvmrun.ok("net", "down")
        assert world_after(before) == before

    @pytest.mark.parametrize(
        "route", ["default via 10.1.0.1 dev wan1", "default via 10.2.0.7 dev wan2", "198.51.100.0/24 dev wan2"]
    )
    def test_one_that_leads_elsewhere_is_refused(self, lab: Path, kvmrun: Cli, route: str) -> None:
        write(lab, vm2="second")
        ip("route", "add", *route.split(), "table", "102")
        before = world()
        result = kvmrun("net", "up")
        assert (result.code, has_line(result.err, "102", "second")) == (6, True)
        assert world_after(before) == before

    def test_under_shorewall_a_table_that_is_given_is_shorewalls(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, 'firewall = "shorewall"\n[network.lan]\n', vm2="second")
        kvmrun.ok("net", "up")
        assert "lookup 102" not in tables()
        assert "default" not in tables().split("default \n")[-1]
        assert has_line(kvmrun.ok("net", "status").out, "102", "Shorewall")

    def test_our_route_follows_the_definition(self, lab: Path, kvmrun: Cli) -> None:
        write(lab, vm2="second")
        kvmrun.ok("net", "up")
        text = (lab / "networks.toml").read_text()
        (lab / "networks.toml").write_text(text.replace("10.2.0.1", "10.2.0.9"))
        kvmrun.ok("net", "up")
        assert "default via 10.2.0.9" in tables()
        assert "default via 10.2.0.1 " not in tables()

    def test_nothing_is_ever_put_into_the_main_table_or_a_reverse_path_filter_set(self, lab: Path, kvmrun: Cli) -> None:
        def main() -> tuple[str, list[str]]:
            routes = subprocess.run(["ip", "-j", "route"], capture_output=True, text=True, check=True).stdout
            filters = [path.read_text() for path in sorted(Path("/proc/sys/net/ipv4/conf").glob("wan*/rp_filter"))]
            return json.dumps([one for one in json.loads(routes) if one["dev"] != "br0"]), filters

        before = main()
        write(lab, '[network.lan]\nuplink = "first"\n', vm2="second")
        kvmrun.ok("net", "up")
        assert main() == before


@pytest.mark.parametrize(
    ("networks", "vm1", "at", "wanted"),
    [
        ("", "secnd", "vm1.toml: uplink", "second"),
        ('uplink = "secnd"', "", "networks.toml: network.lan.uplink", "second"),
        ("", "bare", "vm1.toml: uplink", "uplink.bare"),
        ("", "twin", "vm1.toml: uplink", "uplink.other"),
        ('nat = ["first"]', "second", "vm1.toml: uplink", "network.lan"),
    ],
)
def test_a_way_that_cannot_be_is_told_by_check(
    lab: Path, kvmrun: Cli, *, networks: str, vm1: str, at: str, wanted: str
) -> None:
    more = '[uplink.bare]\ninterface = "wan3"\n[uplink.twin]\ninterface = "wan4"\ntable = 7\n'
    more += '[uplink.other]\ninterface = "wan5"\ntable = 7\n'
    (lab / "networks.toml").write_text(f"[network.lan]\n{networks}\n{TWO}{more}")
    guests(lab, "vm1", text=f'uplink = "{vm1}"\n{TCG}' if vm1 else TCG)
    problems = kvmrun("check", "-o", "json").json()["problems"]
    assert (problems[0]["file"], problems[0]["key"]) == tuple(at.split(": "))
    assert wanted in problems[0]["wanted"]


def test_a_network_or_guest_that_names_no_uplink_of_the_lab_changes_nothing(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=f'uplink = "secnd"\n{TCG}')
    (lab / "networks.toml").write_text(f'[network.lan]\nuplink = "frist"\n{TWO}')
    before = world()
    for words, key in ((("net", "up"), "uplink"), (("vm1",), "network.lan.uplink")):
        result = kvmrun(*words)
        assert (result.code, key in result.err) == (5, True), result.err
    assert world_after(before) == before


@pytest.mark.parametrize("table", [0, 253, 254, 255, -1, 1 << 31])
def test_the_kernels_own_tables_are_no_uplinks(lab: Path, kvmrun: Cli, table: int) -> None:
    (lab / "networks.toml").write_text(f'[network.lan]\n[uplink.x]\ninterface = "wan1"\ntable = {table}\n')
    (problem,) = kvmrun("check", "-o", "json").json()["problems"]
    assert problem["key"] == "uplink.x.table"


def test_a_subnet_behind_a_guest_that_routes(lab: Path, kvmrun: Cli) -> None:
    """It is routed to, masqueraded and let through; the route goes with the network, or with its line in the lab."""
    write(lab, '[network.lan]\nroutes = ["10.9.9.0/24 via vm1"]\n')
    result = kvmrun("check")
    assert (result.code, has_line(result.out, "network.lan.routes", "forwarding = true")) == (5, True), result
    (lab / "vm1.toml").write_text(
        f'{TCG}[[nic]]\naddress = "192.168.0.1"\nmac = "52:54:00:00:00:01"\nforwarding = true\n'
    )
    before = world()
    with uplink("wan1", 1, metric=100) as beyond:
        kvmrun.ok("net", "up")
        with guest_host(1) as router:
            router("ip", "link", "set", "eth0", "address", "52:54:00:00:00:01")
            router("sysctl", "-qw", "net.ipv4.ip_forward=1")
            router("ip", "address", "add", "10.9.9.1/24", "dev", "lo")
            with router.socket() as at:
                at.bind(("10.9.9.1", 0))
                assert fetch(at, WORLD) == "you are 10.1.0.2 at wan1"
            with served(router):
                assert not beyond.reaches("10.9.9.1")
            up = touchable()
            kvmrun.ok("net", "up")
            assert touchable() == up
            write(lab)
            kvmrun.ok("net", "up")
            assert "10.9.9.0" not in subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
        write(lab, '[network.lan]\nroutes = ["10.9.9.0/24 via 192.168.0.1"]\n')
        (lab / "vm1.toml").write_text(
            f'{TCG}[[nic]]\naddress = "192.168.0.1"\nmac = "52:54:00:00:00:01"\nforwarding = true\n'
        )
        kvmrun.ok("net", "up")
        assert "10.9.9.0" in subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
        kvmrun.ok("net", "down")
    assert world_after(before) == before
