"""Two labs on one host: neither starts, stops, re-addresses, removes or reports what is the other's."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.world import difference, ip, link, touchable, world, world_after

pytestmark = pytest.mark.usefixtures("netns", "tun")
OTHER = '[network.other]\nbridge = "br5"\nsubnet = "10.5.0.0/24"\n'


@pytest.fixture
def second(own_directories: Path) -> Path:
    """The directory of another lab, which shares the run and state directories."""
    path = own_directories / "second"
    path.mkdir(mode=0o755)
    return path


def untouched() -> dict[str, object]:
    """All that a command could touch, but for the times of directories that a lock was made in for a moment."""
    run = os.environ["KVMRUN_RUN_DIR"]
    found = touchable()
    return found | {
        "files": {path: one for path, one in found["files"].items() if path not in {run, f"{run}/vm", f"{run}/net"}}
    }


def cli(lab: Path) -> Cli:
    return Cli([sys.executable, "-m", "kvmrun", "-C", str(lab)])


@pytest.fixture
def other(second: Path) -> Iterator[Cli]:
    found = cli(second)
    yield found
    found("kill", "--all", "--force")
    found("net", "down", "--force")


NAMED = (
    *(("up", "a"), ("stop", "a"), ("kill", "a"), ("restart", "a"), ("pause", "a"), ("resume", "a"), ("reset", "a")),
    *(("freeze", "a"), ("thaw", "a"), ("console", "a"), ("monitor", "a", "-c", "query-status"), ("wait", "a")),
    *(("exec", "a", "--", "true"), ("ssh", "a"), ("screenshot", "a", "x.png"), ("cp", "a:/x", "y"), ("rm", "a", "-y")),
    *(
        ("revert", "a", "-y"),
        ("clone", "a", "z"),
        ("resize", "a", "1G"),
        ("rename", "a", "z"),
        ("log", "a", "--restart"),
        ("events", "a"),
        ("net", "up"),
        ("net", "restart"),
    ),
    *(("net", "down", "lan"), ("b",)),
)
ALL = (
    *(("stop", "--all"), ("kill", "--all", "--force"), ("pause", "--all"), ("restart", "--all"), ("net", "down")),
    *(
        ("repair",),
        ("net", "status"),
        ("list",),
        ("check",),
        ("doctor",),
        ("metrics",),
        ("top", "-n", "1", "-d", "0.2"),
    ),
)


def test_another_labs_guest_and_network_are_named_and_left_alone(
    lab: Path, second: Path, kvmrun: Cli, other: Cli
) -> None:
    guests(lab, "a")
    guests(second, "a", "b")
    kvmrun.ok("a", "--paused")
    before = untouched()
    for words in NAMED:
        said = other(*words)
        assert (said.code, str(lab) in said.err) == (6, True), f"{words}: {said.code} {said.out}{said.err}"
        fix = next(line for line in said.err.splitlines() if line.startswith("  fix: "))
        assert "link delete" not in fix
        assert f"kvmrun -C {lab} " in fix, words
    for words in ALL:
        said = other(*words)
        assert said.code in {0, 1}, f"{words}: {said.code} {said.out}{said.err}"
        assert "tap-a" not in said.out or words == ("list",)
    assert untouched() == before
    assert kvmrun.rows()["a"]["state"] == "paused"


def test_the_list_is_of_this_lab_and_of_all_when_asked_for(lab: Path, second: Path, kvmrun: Cli, other: Cli) -> None:
    guests(lab, "a", "resting")
    guests(second, "a", "b")
    kvmrun.ok("a", "--paused")
    rows = other.rows()
    assert {name: (row["state"], row["lab"]) for name, row in rows.items()} == {
        name: ("stopped", str(second)) for name in ("a", "b")
    }
    assert str(lab) in rows["a"]["problem"]
    every = other.ok("list", "--all-labs", "-o", "json").json()["guests"]
    assert [(row["name"], row["lab"], row["state"]) for row in every] == [
        ("a", str(second), "stopped"),
        ("a", str(lab), "paused"),
        ("b", str(second), "stopped"),
        ("resting", str(lab), "stopped"),
    ]
    assert " LAB " in other.ok("list", "--all-labs").out


def test_labs_with_other_names_run_side_by_side_and_go_one_by_one(
    lab: Path, second: Path, kvmrun: Cli, other: Cli
) -> None:
    before = world()
    guests(lab, "a")
    guests(second, "b", text=f'{TCG}[[nic]]\nnetwork = "other"\n')
    (second / "networks.toml").write_text(OTHER)
    kvmrun.ok("a", "--paused")
    first = world()
    other.ok("b", "--paused")
    assert kvmrun.rows().keys() == {"a"}
    assert other.rows().keys() == {"b"}
    for one in (kvmrun, other):
        assert one("repair", "-n").code == 0
        assert [row["state"] for row in one.ok("net", "status", "-o", "json").json()["networks"]] == ["up"]
    other.ok("stop", "--all", "--force")
    other.ok("net", "down")
    assert difference(first, world_after(first)) == ""
    kvmrun.ok("stop", "--all", "--force")
    kvmrun.ok("net", "down")
    assert difference(before, world_after(before)) == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [(OTHER.replace("br5", "br0"), "br0"), (OTHER.replace("10.5.0.0", "192.168.0.0"), "192.168.0.0/24")],
)
@pytest.mark.usefixtures("lab")
def test_the_same_bridge_or_subnet_in_two_labs_is_refused(
    second: Path, kvmrun: Cli, other: Cli, text: str, told: str
) -> None:
    (second / "networks.toml").write_text(text)
    kvmrun.ok("net", "up")
    before = touchable()
    said = other("net", "up")
    assert (said.code, told in said.err, kvmrun.words[-1] in said.err) == (6, True, True)
    assert touchable() == before


def test_another_labs_tap_and_name_server_are_named_and_no_command_against_them_is_proposed(
    lab: Path, second: Path, kvmrun: Cli, other: Cli, own_directories: Path
) -> None:
    """The other lab has a run directory of its own: only marks tell whose these are."""
    (lab / "networks.toml").write_text(OTHER)
    guests(lab, "a", text=f'{TCG}[[nic]]\nnetwork = "other"\n')
    guests(second, "a")
    elsewhere = {"KVMRUN_RUN_DIR": str(own_directories / "run2")}
    kvmrun.ok("a", "--paused")
    said = other("a", **elsewhere)
    assert (said.code, str(lab) in said.err) == (6, True), said.err
    assert "link delete" not in said.err
    (second / "networks.toml").write_text(OTHER.replace("br5", "br6").replace("network.other", "network.mine"))
    told = other("doctor", **elsewhere).out
    assert ("dnsmasq" in told, str(lab) in told) == (True, True)
    assert "kill " not in told
    other("net", "down", **elsewhere)


def test_an_image_that_is_gone_belongs_to_no_lab(
    lab: Path, second: Path, kvmrun: Cli, other: Cli, images: Path
) -> None:
    for one in (lab, second):
        guests(one, "a", text=TCG + 'nic = []\n[[drive]]\nimage = "a.qcow2"\nsize = "1M"\n')
    kvmrun.ok("a", "--paused")
    kvmrun.ok("kill", "a")
    assert other("a", "--paused").code == 6
    (images / "a.qcow2").unlink()
    other.ok("a", "--paused")
    assert other.ok("list", "--all", "-o", "json").json()["guests"][0]["state"] == "paused"


def test_logs_images_and_leases_belong_to_their_lab(
    lab: Path, second: Path, kvmrun: Cli, other: Cli, own_directories: Path
) -> None:
    drive = '[[drive]]\nimage = "a.qcow2"\nsize = "1M"\n'
    guests(lab, "a", "x", text=TCG + drive.replace("a.q", "x.q"))
    guests(lab, "a", text=TCG + drive)
    guests(second, "a", text=TCG + drive)
    state = own_directories / "state"
    kvmrun.ok("a", "x", "--paused")
    (state / "log/a/current").write_text("of the first\n")
    (state / "net/lan/leases").write_text("0 52:54:00:00:00:01 192.168.0.200 * *\n")
    kvmrun.ok("kill", "--all")
    kvmrun.ok("net", "down")
    assert (other("log", "a").code, other("log", "x").code) == (3, 6)
    said = other("a")
    assert (said.code, str(lab) in said.err) == (6, True)
    other.ok("rm", "a", "--images", "-y")
    assert (state / "images/a.qcow2").exists()
    assert "of the first" in kvmrun.ok("log", "a").out
    guests(second, "a")
    other.ok("a", "--paused")
    assert "of the first" not in other.ok("log", "a").out
    assert (state / "net/lan/leases").read_text() == ""
    assert "of the first" in kvmrun.ok("log", "a").out
    other.ok("kill", "a")
    other.ok("net", "down")
    other.ok("rm", "a", "-y")
    assert "of the first" in kvmrun.ok("log", "a").out
    kvmrun.ok("a", "--paused")
    assert "of the first" in kvmrun.ok("log", "a").out
    assert "192.168.0.200" in (state / "net/lan/leases").read_text()


def test_a_lab_is_the_same_by_a_link_and_adopted_after_it_was_moved(
    lab: Path, kvmrun: Cli, own_directories: Path, second: Path, other: Cli
) -> None:
    guests(lab, "a")
    guests(second, "b")
    kvmrun.ok("a", "--paused")
    (own_directories / "link").symlink_to(lab)
    assert cli(own_directories / "link").rows()["a"]["state"] == "paused"
    moved = own_directories / "moved"
    lab.rename(moved)
    assert "a" not in other.rows()
    other.ok("stop", "--all")
    now = cli(moved)
    assert (now.rows()["a"]["state"], now.rows()["a"]["lab"]) == ("paused", str(moved))
    now.ok("net", "up")
    bridge = link("br0")
    assert bridge
    assert bridge["ifalias"] == f"kvmrun:net:lan:{moved}"
    assert now("repair", "-n").code == 0
    now.ok("kill", "a")
    now.ok("net", "down")
    assert link("br0") is None


def test_a_guest_runs_on_in_a_lab_that_was_moved(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    guests(lab, "a")
    kvmrun.ok("a")
    moved = own_directories / "moved"
    lab.rename(moved)
    now = cli(moved)
    row = now.rows()["a"]
    assert (row["state"], row["problem"], row["lab"]) == ("running", None, str(moved))
    network = now.network()
    assert (str(lab) in network["problem"], "net up lan" in network["problem"]) == (True, True)
    assert str(lab) in now("repair", "-n").out
    now.ok("repair")
    network = now.network()
    assert (network["state"], network["problem"], now("repair", "-n").code) == ("up", None, 0)
    assert (now.rows()["a"]["state"], now.rows()["a"]["pid"]) == ("running", row["pid"])
    now.ok("stop", "a", "--force")
    now.ok("net", "down")


def test_two_checkouts_with_equal_content_are_two_labs(lab: Path, second: Path, kvmrun: Cli, other: Cli) -> None:
    guests(lab, "a")
    shutil.copytree(lab, second, dirs_exist_ok=True)
    kvmrun.ok("a", "--paused")
    assert other("stop", "a").code == 6


def test_what_0_1_0_left_is_adopted_by_the_lab_that_defines_it(
    lab: Path, second: Path, kvmrun: Cli, other: Cli
) -> None:
    guests(lab, "a")
    (second / "networks.toml").write_text(OTHER)
    kvmrun.ok("a", "--paused")
    run = Path(os.environ["KVMRUN_RUN_DIR"])
    record = json.loads((run / "vm/a/record").read_text())
    for key in ("lab", "uplink", "digest"):
        del record[key]
    del record["ports"][0]["lab"]
    (run / "vm/a/record").write_text(json.dumps(record))
    (run / "net/lan/record").unlink()
    for name, alias in (("br0", "kvmrun:net:lan"), ("tap-a", "kvmrun:a:eth0")):
        ip("link", "set", name, "alias", alias)
    other.ok("stop", "--all")
    assert kvmrun.rows()["a"]["state"] == "paused"
    kvmrun.ok("net", "up")
    assert json.loads((run / "net/lan/record").read_text())["lab"] == str(lab)
    assert kvmrun("repair", "-n").code == 0
    kvmrun.ok("stop", "a", "--force")
    kvmrun.ok("net", "down")
    assert link("br0") is None
