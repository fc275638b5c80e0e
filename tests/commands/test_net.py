"""Networks for real: made, repaired, shared with others' links, taken away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.world import bridge, ip, link, touchable, world

pytestmark = pytest.mark.usefixtures("netns", "tun")


def test_up_is_repeatable_and_down_leaves_nothing(lab: Path, kvmrun: Cli) -> None:
    before = world()
    kvmrun.ok("net", "up")
    made = touchable()
    assert link("br0")
    kvmrun.ok("net", "up")
    assert touchable() == made
    for _ in range(2):
        kvmrun.ok("net", "down")
        assert world() == before


@pytest.mark.parametrize(
    "harm",
    [
        "address del 192.168.0.254/24 dev br0",
        "address add 10.99.0.1/24 dev br0",
        "address add 192.168.0.77/24 dev br0 label br0:1",
        "link set br0 address 02:00:00:00:00:01",
        "link set br0 mtu 1300",
        "link set br0 down",
        "link set br0 type bridge stp_state 1",
        "link set br0 type bridge forward_delay 1500",
    ],
)
def test_a_bridge_of_ours_that_went_wrong_is_repaired_by_the_next_start(lab: Path, kvmrun: Cli, harm: str) -> None:
    guests(lab, "vm1")
    kvmrun.ok("net", "up")
    right = bridge("br0")
    ip(*harm.split())
    assert bridge("br0") != right
    assert kvmrun.network()["state"].startswith("degraded")
    kvmrun.ok("vm1")
    kvmrun.ok("kill", "vm1")
    assert bridge("br0") == right


@pytest.mark.parametrize("kind", ["type bridge", "type veth peer name other", "type bridge alias kvmrun:net:other"])
def test_a_link_that_is_not_ours_is_refused_and_unchanged(lab: Path, kvmrun: Cli, kind: str) -> None:
    guests(lab, "vm1")
    creation, _, alias = kind.partition(" alias ")
    ip("link", "add", "br0", *creation.split())
    if alias:
        ip("link", "set", "br0", "alias", alias)
    before = world()
    for words in (("vm1",), ("net", "up"), ("net", "down"), ("net", "down", "--force")):
        result = kvmrun(*words)
        assert (result.code, result.err.startswith("kvmrun: br0 ")) == (6, True)
    assert kvmrun.network()["state"] == "refused"
    assert world() == before


class TestExternal:
    def test_it_is_used_and_unchanged(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        (lab / "networks.toml").write_text("[network.lan]\nexternal = true\n")
        ip("link", "add", "br0", "address", "02:00:00:00:00:05", "type", "bridge", "stp_state", "1")
        ip("link", "set", "br0", "up")
        before = bridge("br0")
        kvmrun.ok("vm1")
        tap = link("tap-vm1")
        assert tap
        assert tap["master"] == "br0"
        assert (kvmrun.rows()["vm1"]["state"], kvmrun.rows()["vm1"]["nics"][0]["address"]) == ("running", None)
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("net", "down")
        assert bridge("br0") == before

    def test_one_that_is_not_there_is_refused(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        (lab / "networks.toml").write_text("[network.lan]\nexternal = true\n")
        result = kvmrun("vm1")
        assert (result.code, "br0" in result.err) == (6, True)

    def test_one_that_is_no_bridge_is_refused(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        (lab / "networks.toml").write_text("[network.lan]\nexternal = true\n")
        ip("link", "add", "br0", "type", "veth", "peer", "name", "other")
        result = kvmrun("vm1")
        assert (result.code, result.err.startswith("kvmrun: br0 ")) == (6, True)


def test_a_default_route_is_no_overlap(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    ip("link", "add", "wan0", "type", "veth", "peer", "name", "wan1")
    ip("address", "add", "172.20.1.130/24", "dev", "wan0")
    ip("link", "set", "wan0", "up")
    ip("route", "add", "default", "via", "172.20.1.254")
    kvmrun.ok("vm1")


def test_a_definition_written_while_the_network_is_up_is_no_fault_of_it(
    lab: Path, kvmrun: Cli, own_directories: Path
) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1")

    def state() -> tuple[str, int, bool]:
        network = kvmrun.network()
        found = kvmrun("doctor", "-o", "json").json()["findings"]
        wrong = any("kvmrun net up lan" in one["fix"] for one in found if one["subject"] == "network lan")
        return network["state"], kvmrun("repair", "--dry-run").code, wrong

    kvmrun.ok("new", "vm2")
    assert state() == ("up", 0, False)
    kvmrun.ok("rename", "vm2", "vm3")
    kvmrun.ok("net", "up")
    kvmrun.ok("rm", "vm3", "-y")
    assert state() == ("up", 0, False)
    hosts = own_directories / "state/net/lan/hosts"
    hosts.write_text(hosts.read_text().replace("vm1", "vm9"))
    assert state() == ("degraded", 1, True)
    kvmrun.ok("repair")
    assert state() == ("up", 0, False)


def test_down_is_refused_while_guests_are_attached(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1")
    result = kvmrun("net", "down")
    assert (result.code, "vm1 (tap-vm1) on br0" in result.err) == (6, True)
    assert kvmrun.rows()["vm1"]["state"] == "running"
    kvmrun.ok("net", "down", "--force")
    row = kvmrun.rows()["vm1"]
    assert (row["state"], "tap-vm1" in row["problem"]) == ("degraded", True)


def test_a_network_nobody_described_is_told(lab: Path, kvmrun: Cli) -> None:
    result = kvmrun("net", "up", "nowhere")
    assert (result.code, "nowhere" in result.err) == (5, True)


def test_the_state_is_what_is_meant_without_a_verb(lab: Path, kvmrun: Cli) -> None:
    kvmrun.ok("net", "up")
    status = kvmrun.ok("net", "status").out
    for words in ((), ("list",), ("ls",), ("list", "lan"), ("-o", "table")):
        assert kvmrun.ok("net", *words).out == status
    assert kvmrun.ok("net", "-o", "json").json() == kvmrun.ok("net", "status", "-o", "json").json()


def test_status_tells_bridge_address_and_ports(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    assert kvmrun.ok("net", "status").out.startswith("lan: down\n")
    kvmrun.ok("vm1")
    document = kvmrun.ok("net", "status", "-o", "json").json()
    row = {"name": "lan", "state": "up", "bridge": "br0", "address": "192.168.0.254/24"}
    assert document["schema"] == 1
    found = document["networks"][0]
    assert {key: found[key] for key in row} == row
    assert found["ports"] == [{"guest": "vm1", "tap": "tap-vm1"}]


def test_the_same_network_of_another_namespace_is_left_alone(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1")
    before = kvmrun.ok("net", "status", "-o", "json").json()
    there = {"KVMRUN_RUN_DIR": f"{own_directories}/run2", "KVMRUN_STATE_DIR": f"{own_directories}/state2"}
    script = '"$@" net up && "$@" net restart && "$@" net down'
    Cli(["unshare", "--net", "--", "sh", "-ec", script, "sh", *kvmrun.words]).ok(**there)
    assert kvmrun.ok("net", "status", "-o", "json").json() == before
    assert kvmrun.rows()["vm1"]["problem"] is None


def test_the_status_of_one_network_of_a_guest_on_two(lab: Path, kvmrun: Cli) -> None:
    (lab / "networks.toml").write_text('[network.one]\nbridge = "br1"\nsubnet = "10.1.0.0/24"\n'
                                       '[network.two]\nbridge = "br2"\nsubnet = "10.2.0.0/24"\n')  # fmt: skip
    guests(lab, "vm1", text=TCG + '[[nic]]\nnetwork = "one"\n[[nic]]\nnetwork = "two"\n')
    kvmrun.ok("net", "up", "one")
    for words, names in ((("one",), ["one"]), (("two",), ["two"]), ((), ["one", "two"])):
        found = kvmrun.ok("net", "status", *words, "-o", "json").json()["networks"]
        assert [one["name"] for one in found] == names


def network_of(kvmrun: Cli) -> tuple[str, str, str, str]:
    """Name, state, bridge and address of the only network."""
    (one,) = kvmrun.ok("net", "status", "-o", "json").json()["networks"]
    return one["name"], one["state"], one["bridge"], one["address"]


class TestTheExampleLab:
    """Its network is one that the host does not have."""

    @pytest.fixture
    def mine(self, own_directories: Path, kvmrun: Cli) -> Iterator[Cli]:
        """The command on a lab that `init` writes."""
        found = Cli([*kvmrun.words[:-1], str(own_directories / "mine")])
        yield found
        found("net", "down", "--force")

    def test_what_another_lab_has_brought_up_is_left_to_it(self, lab: Path, kvmrun: Cli, mine: Cli) -> None:
        kvmrun.ok("net", "up")
        said = mine.ok("init", mine.words[-1]).out
        assert [part in said for part in ("lan2", str(lab), "br1", "192.168.100.0/24")] == [True] * 4, said
        mine.ok("check")
        mine.ok("net", "up")
        assert network_of(mine) == ("lan2", "up", "br1", "192.168.100.254/24")
        assert {row["nics"][0]["address"] for row in mine.rows().values()} == {f"192.168.100.{n}" for n in range(1, 5)}
        assert {row["nics"][0]["network"] for row in mine.rows().values()} == {"lan2"}
        assert network_of(kvmrun) == ("lan", "up", "br0", "192.168.0.254/24")

    @pytest.mark.parametrize(
        ("route", "subnet"),
        [
            ("192.168.0.0/24", "192.168.100.0/24"),
            ("192.168.0.0/16", "172.31.100.0/24"),
            ("192.168.0.128/25", "192.168.100.0/24"),
        ],
    )
    def test_a_subnet_of_the_lan_is_not_used(self, kvmrun: Cli, mine: Cli, route: str, subnet: str) -> None:
        ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
        ip("link", "set", "eth0", "up")
        ip("route", "add", route, "dev", "eth0")
        said = mine.ok("init", mine.words[-1]).out
        assert [part in said for part in (subnet, route, "eth0", "bridge")] == [True, True, True, False], said
        mine.ok("net", "up")
        assert network_of(mine) == ("lan", "up", "br0", subnet.replace(".0/24", ".254/24"))

    def test_an_interface_with_the_name_of_the_bridge_is_left_alone(self, kvmrun: Cli, mine: Cli) -> None:
        ip("link", "add", "br0", "type", "veth", "peer", "name", "br1")
        assert "br2" in mine.ok("init", mine.words[-1]).out
        mine.ok("net", "up")
        assert network_of(mine) == ("lan", "up", "br2", "192.168.0.254/24")

    def test_it_is_unchanged_where_nothing_is_taken(self, kvmrun: Cli, mine: Cli) -> None:
        assert "instead" not in mine.ok("init", mine.words[-1]).out
        example = Path(__file__).parents[2] / "vms.d"
        for path in example.iterdir():
            assert (Path(mine.words[-1]) / path.name).read_text() == path.read_text()
