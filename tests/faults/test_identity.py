"""What is ours is known by what was recorded, whatever became of name and mark; what others made is left alone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli, has_line
from support.world import difference, ip, link, until, world, world_after

from kvmrun.host.firewall import nfnetlink

pytestmark = pytest.mark.usefixtures("netns", "tun")
Harm = Callable[[], object]
MAC = "02:00:00:00:00:99"


def alias(name: str, text: str) -> None:
    ip("link", "set", name, "alias", text)


HARMS: dict[str, dict[str, Harm]] = {
    "bridge": {
        "renamed": lambda: ip("link", "set", "br0", "name", "brX"),
        "unmarked": lambda: alias("br0", ""),
        "another lab's mark": lambda: alias("br0", "kvmrun:net:lan:/elsewhere"),
        "another network's mark": lambda: alias("br0", "kvmrun:net:other"),
        "another MAC": lambda: ip("link", "set", "br0", "address", MAC),
        "renamed and unmarked": lambda: (alias("br0", ""), ip("link", "set", "br0", "name", "brX")),
        "another MAC and unmarked": lambda: (alias("br0", ""), ip("link", "set", "br0", "address", MAC)),
        "renamed, with another MAC": lambda: (
            ip("link", "set", "br0", "address", MAC),
            ip("link", "set", "br0", "name", "brX"),
        ),
    },
    "tap": {
        "renamed": lambda: ip("link", "set", "tap-a", "name", "tapX"),
        "unmarked": lambda: alias("tap-a", ""),
        "another lab's mark": lambda: alias("tap-a", "kvmrun:a:eth0:/elsewhere"),
        "another guest's mark": lambda: alias("tap-a", "kvmrun:b:eth0"),
        "another MAC": lambda: ip("link", "set", "tap-a", "address", MAC),
        "renamed and unmarked": lambda: (alias("tap-a", ""), ip("link", "set", "tap-a", "name", "tapX")),
        "another MAC and unmarked": lambda: (alias("tap-a", ""), ip("link", "set", "tap-a", "address", MAC)),
    },
}
CASES = [(kind, harm, ("repair",)) for kind, harms in HARMS.items() for harm in harms]
CASES += [(kind, "renamed and unmarked", ("net", "up")) for kind in HARMS]


def seen(kvmrun: Cli) -> tuple[str, str, str]:
    """The state of the guest and of its network, and how the dry repair ends."""
    row = {one["name"]: one for one in kvmrun.ok("list", "-o", "json").json()["guests"]}["a"]
    network = kvmrun.network()
    return row["state"], network["state"], "well" if kvmrun("repair", "-n").code == 0 else "wrong"


def links() -> dict[str, object]:
    return {name: link(name) for name in ("br0", "tap-a")}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_ours_is_recognised_and_put_right(
    lab: Path, kvmrun: Cli, case: tuple[str, str, tuple[str, ...]]
) -> None:
    kind, harm, mend = case
    guests(lab, "a")
    kvmrun.ok("a")
    before = links()
    HARMS[kind][harm]()
    assert seen(kvmrun) == ("degraded", "degraded", "wrong")
    kvmrun.ok(*mend)
    assert links() == before
    assert seen(kvmrun) == ("running", "up", "well")
    kvmrun.ok("stop", "a", "--force")
    kvmrun.ok("net", "down")
    assert links() == {"br0": None, "tap-a": None}


@pytest.mark.parametrize("harm", HARMS["bridge"])
def test_a_network_is_taken_down_whatever_its_bridge_is_called(lab: Path, kvmrun: Cli, harm: str) -> None:
    guests(lab, "a")
    clean = world()
    kvmrun.ok("a")
    HARMS["bridge"][harm]()
    said = kvmrun("net", "down")
    assert (said.code, "tap-a" in said.err) == (6, True)
    kvmrun.ok("net", "down", "--force")
    kvmrun.ok("stop", "a", "--force")
    assert difference(clean, world_after(clean)) == ""


def replaced(*words: str) -> None:
    """Delete the bridge and make a link of its name with its MAC, which belongs to nobody's lab."""
    found = link("br0")
    assert found
    ip("link", "delete", "br0")
    ip("link", "add", "br0", "address", found["address"], "type", *words)


REMADE: dict[str, Harm] = {
    "another bridge": lambda: (ip("link", "delete", "br0"), ip("link", "add", "br0", "type", "bridge")),
    "another bridge with our MAC": lambda: replaced("bridge"),
    "a link of another kind": lambda: replaced("veth", "peer", "name", "far"),
    "another bridge beside the renamed one": lambda: (
        ip("link", "set", "br0", "name", "brX"),
        ip("link", "add", "br0", "type", "bridge"),
    ),
}


@pytest.mark.parametrize("harm", REMADE)
def test_what_somebody_has_made_in_the_place_of_a_bridge_stays(lab: Path, kvmrun: Cli, harm: str) -> None:
    guests(lab, "a", "b")
    clean = world()
    kvmrun.ok("a")
    REMADE[harm]()
    foreign = link("br0")
    assert kvmrun.rows()["a"]["state"] == "degraded"
    network = kvmrun.network()
    assert network["state"] == "refused"
    for words in (("repair", "-n"), ("repair",), ("net", "up"), ("net", "restart"), ("b",)):
        said = kvmrun(*words)
        assert said.code != 0, words
        assert "br0 " in said.out + said.err, words
        assert link("br0") == foreign, words
    said = kvmrun.ok("net", "down", "--force")
    assert "br0 " in said.out + said.err
    assert link("br0") == foreign
    kvmrun.ok("stop", "a", "--force")
    ip("link", "delete", "br0")
    assert difference(clean, world_after(clean)) == ""


def test_a_tap_of_somebody_else_in_the_place_of_a_renamed_one_stays(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "a")
    kvmrun.ok("a")
    ip("link", "set", "tap-a", "name", "old")
    ip("link", "add", "tap-a", "type", "veth", "peer", "name", "far")
    foreign = link("tap-a")
    assert seen(kvmrun) == ("degraded", "degraded", "wrong")
    for words in (("repair",), ("net", "up")):
        said = kvmrun(*words)
        assert (said.code, "tap-a" in said.err + said.out) == (6 if words[0] == "net" else 1, True), said
        assert link("tap-a") == foreign
    ip("link", "delete", "tap-a")
    kvmrun.ok("repair")
    assert seen(kvmrun) == ("running", "up", "well")


def test_a_bridge_of_a_record_without_its_device_is_known_by_name_and_mac(lab: Path, kvmrun: Cli) -> None:
    """An earlier version did not record which device it was."""
    guests(lab, "a")
    kvmrun.ok("a")
    path = Path(os.environ["KVMRUN_RUN_DIR"]) / "net/lan/record"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({key: one for key, one in data.items() if key not in {"device", "digest"}}))
    alias("br0", "")
    assert seen(kvmrun) == ("degraded", "degraded", "wrong")
    kvmrun.ok("repair")
    assert seen(kvmrun) == ("running", "up", "well")
    assert json.loads(path.read_text()) == data


def test_a_mark_does_not_make_another_labs_bridge_ours(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    second = own_directories / "second"
    second.mkdir(mode=0o755)
    (second / "networks.toml").write_text('[network.other]\nbridge = "br5"\nsubnet = "10.5.0.0/24"\n')
    kvmrun.ok("net", "up")
    before = link("br0")
    assert before
    alias("br0", f"kvmrun:net:other:{second}")
    other = Cli([sys.executable, "-m", "kvmrun", "-C", str(second)])
    other.ok("net", "up")
    assert link("br5")
    other.ok("net", "down")
    assert link("br5") is None
    assert link("br0") is not None
    kvmrun.ok("repair")
    assert link("br0") == before


def test_a_definition_alone_opens_no_link_to_anybody(lab: Path, kvmrun: Cli) -> None:
    """A network that is only defined may be called after an uplink: what comes from there stays outside."""
    (lab / "networks.toml").write_text('[network.lan]\n[network.dmz]\nbridge = "wan0"\nsubnet = "10.5.0.0/24"\n')
    guests(lab, "a")
    kvmrun.ok("check")
    ip("link", "add", "wan0", "type", "veth", "peer", "name", "far")
    said = kvmrun("check")
    assert (said.code, has_line(said.out, "network.dmz.bridge", "wan0")) == (5, True), said
    kvmrun.ok("net", "up", "lan")
    rules = subprocess.run(["nft", "list", "table", "inet", "kvmrun_lan"], capture_output=True, text=True, check=True)
    assert "br0" in rules.stdout
    assert "wan0" not in rules.stdout
    said = kvmrun("net", "up", "dmz")
    assert (said.code, said.err.startswith("kvmrun: wan0 ")) == (6, True), said
    ip("link", "delete", "wan0")
    kvmrun.ok("net", "up")
    assert kvmrun("repair", "-n").code == 0
    ip("link", "set", "wan0", "name", "gone")
    ip("link", "add", "wan0", "type", "bridge")  # it is somebody else's now
    kvmrun.ok("net", "up", "lan")
    rules = subprocess.run(["nft", "list", "table", "inet", "kvmrun_lan"], capture_output=True, text=True, check=True)
    assert "wan0" not in rules.stdout


def test_an_uplink_that_was_renamed_takes_one_command(lab: Path, kvmrun: Cli) -> None:
    text = """
[uplink.first]
interface = "wan0"
gateway = "10.9.0.1"
table = 100
[network.lan]
uplink = "first"
forward = ["tcp 8080 -> a:80"]
"""
    ip("link", "add", "wan0", "type", "veth", "peer", "name", "far")
    for words in (
        ("link", "set", "wan0", "up"),
        ("link", "set", "far", "up"),
        ("address", "add", "10.9.0.2/24", "dev", "wan0"),
    ):
        ip(*words)
    guests(lab, "a")
    (lab / "networks.toml").write_text(text)
    kvmrun.ok("net", "up")
    assert kvmrun("repair", "-n").code == 0
    (lab / "networks.toml").write_text(text.replace("first", "second"))
    kvmrun.ok("net", "up")
    said = kvmrun("repair", "-n")
    assert said.code == 0, said
    rules = subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout
    assert "fwmark" in rules


def test_a_directory_that_is_none_is_named(kvmrun: Cli, own_directories: Path) -> None:
    missing = own_directories / "missing"
    for place, told in (("/dev/null", "/dev/null is not a directory"), (missing, f"{missing} does not exist")):
        other = Cli([*kvmrun.words[:-1], str(place)])
        for words in (("list",), ("check",), ("a",), ("net", "up") if place != missing else ("list", "-o", "json")):
            said = other(*words)
            assert (said.code != 0, told in said.err) == (True, True), f"{words}: {said}"


def test_a_guest_that_runs_without_its_file_is_shown_from_its_record(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "a")
    kvmrun.ok("a", "--paused")
    known = kvmrun.ok("show", "a", "-o", "json").json()
    text = (lab / "a.toml").read_text()
    for now in (None, "x = ["):
        (lab / "a.toml").unlink() if now is None else (lab / "a.toml").write_text(now)
        found = kvmrun.ok("show", "a", "-o", "json").json()
        assert found["definition"] is None
        assert (found["runtime"]["uuid"], found["state"]) == (known["runtime"]["uuid"], "paused")
        assert found["runtime"]["ports"] == known["runtime"]["ports"]
        assert found["command"][0] == known["command"][0]
        assert f"tap {known['runtime']['ports'][0]['tap']}" in kvmrun.ok("show", "a").out
    (lab / "a.toml").write_text(text)
    assert kvmrun.ok("show", "a", "-o", "json").json() == known


def test_open_networks_of_two_labs_leave_each_others_rules_alone(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    second = own_directories / "second"
    second.mkdir(mode=0o755)
    (lab / "networks.toml").write_text('[network.lan]\npolicy = "open"\n')
    (second / "networks.toml").write_text('[network.other]\npolicy = "open"\nbridge = "br5"\nsubnet = "10.5.0.0/24"\n')
    other = Cli([*kvmrun.words[:-1], str(second)])
    for one in (kvmrun, other, kvmrun, other):
        one.ok("net", "up")
        for each in (kvmrun, other)[: 1 if link("br5") is None else 2]:
            assert each("repair", "-n").code == 0
    other.ok("net", "down", "other")
    assert link("br5") is None
    assert kvmrun("repair", "-n").code == 0
    (second / "networks.toml").unlink()
    said = other.ok("net", "down")
    assert has_line(said.out + said.err, "network lan", str(lab))
    said = other("net", "down", "lan")
    assert (said.code, str(lab) in said.err) == (6, True)


NOTES = ("net/lan/rules", "net/lan/guard", "net/lan/record", "sysctls", "net/lan", "net", "")


@pytest.mark.parametrize("road", [(), (("net", "up"),), (("repair",),)], ids=["down", "up, down", "repair, down"])
def test_a_network_whose_notes_are_lost_goes_down_whole(
    lab: Path, kvmrun: Cli, own_directories: Path, road: tuple[tuple[str, ...], ...]
) -> None:
    """Tables, settings and links are known by what the kernel and the state directory tell."""
    (lab / "networks.toml").write_text('[network.lan]\nipv6 = "fd00:5::/64"\nforward = ["tcp 8080 -> a:80"]\n')
    guests(lab, "a")
    clean = world()
    for name in NOTES:
        kvmrun.ok("net", "up", "--owner", "nobody")
        at = own_directories / "run" / name
        shutil.rmtree(at) if at.is_dir() else at.unlink()
        for words in (*road, ("net", "down")):
            kvmrun.ok(*words)
        assert not difference(clean, world_after(clean)), name or "everything"


def test_a_table_of_another_labs_comment_stays_when_the_notes_are_lost(
    lab: Path, kvmrun: Cli, own_directories: Path
) -> None:
    nft = ["nft", 'add table inet kvmrun_lan { comment "kvmrun:net:lan:elsewhere"; }']
    subprocess.run(nft, check=True)
    before = world()
    assert kvmrun("repair", "-n").code == 0
    kvmrun.ok("net", "down")
    assert not difference(before, world_after(before))


MEMBERS = ("a", "b", "c", "d")
SEVERAL = "".join(
    f'[network.{name}]\nbridge = "br-{name}"\nsubnet = "10.7.{number}.0/24"\ndhcp = false\ndns = false\n'
    for number, name in enumerate(MEMBERS)
)
TAKERS: dict[str, Callable[[str], object]] = {
    "veth": lambda name: ip("link", "add", name, "type", "veth", "peer", "name", "far"),
    "tap": lambda name: ip("tuntap", "add", name, "mode", "tap"),
    "bridge": lambda name: ip("link", "add", name, "type", "bridge"),
    "another lab's": lambda name: (ip("link", "add", name, "type", "bridge"), alias(name, "kvmrun:net:b:/elsewhere")),
    "another network's": lambda name: (ip("link", "add", name, "type", "bridge"), alias(name, "kvmrun:net:c:/x")),
}


def named() -> dict[str, set[str]]:
    """Which bridges the rules of each network that is up name."""
    listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    tables = {one.split()[0]: one for one in listed.split("table inet kvmrun_")[1:]}
    return {name: {one for one in MEMBERS if f'"br-{one}"' in text} for name, text in tables.items()}


def all_of(*names: str) -> dict[str, set[str]]:
    return {name: set(names) for name in names}


@pytest.mark.parametrize("taker", TAKERS)
def test_a_link_that_takes_the_name_of_a_network_that_is_down_is_nobody_of_ours(
    lab: Path, kvmrun: Cli, taker: str
) -> None:
    """Rules name the bridges that are there, so that who comes later under such a name stays outside."""
    (lab / "networks.toml").write_text(SEVERAL)
    kvmrun.ok("net", "up", "a", "c")
    assert named() == all_of("a", "c")
    TAKERS[taker]("br-b")
    assert kvmrun("repair", "-n").code == 0
    assert kvmrun("net", "up", "b").code == 6
    kvmrun("net", "up")  # some of it fails
    assert "b" not in {name for names in named().values() for name in names}
    ip("link", "delete", "br-b")
    kvmrun.ok("net", "up")
    assert named() == all_of(*MEMBERS)


def test_the_rules_of_all_networks_follow_each_that_comes_or_goes(lab: Path, kvmrun: Cli) -> None:
    (lab / "networks.toml").write_text(SEVERAL)
    guests(lab, "g", text=TCG + 'nic = [{ network = "b" }]\n')
    for words, wanted in (
        (("net", "up", "a"), "a"),
        (("g",), "ab"),
        (("net", "up"), "abcd"),
        (("net", "down", "c", "d"), "ab"),
        (("net", "restart", "a"), "ab"),
        (("kill", "g"), "ab"),
        (("net", "down", "b"), "a"),
    ):
        kvmrun.ok(*words)
        assert named() == all_of(*wanted), words
        assert kvmrun("repair", "-n").code == 0, words
    kvmrun.ok("net", "up")
    ip("link", "delete", "br-b")
    kvmrun.ok("repair")  # takes down what is left of it
    assert named() == all_of("a", "c", "d")
    ip("link", "add", "br-e", "type", "bridge")
    with (lab / "networks.toml").open("a") as file:
        file.write('[network.e]\nbridge = "br-e"\nsubnet = "10.7.9.0/24"\n')
    kvmrun.ok("net", "down", "c")
    assert kvmrun("net", "up", "c", "e").code == 6  # the first is up, the second is refused
    assert named() == all_of("a", "c", "d")


def test_a_start_that_fails_leaves_the_rules_of_other_networks_as_they_were(lab: Path, kvmrun: Cli) -> None:
    (lab / "networks.toml").write_text(SEVERAL)
    guests(lab, "g", text=TCG + 'nic = [{ network = "b" }]\ndrive = [{ image = "absent.qcow2" }]\n')
    kvmrun.ok("net", "up", "a")
    before = world() | {"nft": None}  # handles are not given again
    assert kvmrun("g").code != 0
    until(lambda: not difference(before, world() | {"nft": None}))
    assert named() == all_of("a")


def test_the_number_of_transactions_does_not_grow_with_the_networks_that_follow(lab: Path, kvmrun: Cli) -> None:
    (lab / "networks.toml").write_text(SEVERAL)
    spent = []
    for name in MEMBERS:
        before = nfnetlink.generation_id()
        kvmrun.ok("net", "up", name)
        spent.append(nfnetlink.generation_id() - before)
    assert named() == all_of(*MEMBERS)
    assert max(spent[2:]) <= spent[0] + 2, spent
    before = nfnetlink.generation_id()
    kvmrun.ok("net", "down", "a")
    assert nfnetlink.generation_id() - before <= 3
