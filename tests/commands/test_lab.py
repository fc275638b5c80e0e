"""What works without touching the host: init, check and show."""

import os
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli

from kvmrun.model import derive


def test_the_example_is_written_checked_and_shown(kvmrun: Cli, own_directories: Path) -> None:
    target = str(own_directories / "mine")
    assert "ursa-vm1.toml" in kvmrun.ok("init", target).out
    assert len(kvmrun.ok("check", "-C", target, "-o", "json").json()["guests"]) == 4
    rows = kvmrun.ok("list", "-o", "json", "-C", target).json()["guests"]
    assert {row["name"]: row["state"] for row in rows} == dict.fromkeys(("ursa-vm1", "vm2", "vm3", "vm4"), "stopped")
    addresses = [row["nics"][0]["address"] for row in rows]  # in a subnet that is free on this machine
    assert [one.rpartition(".")[2] for one in addresses] == ["1", "2", "3", "4"]
    assert len({one.rpartition(".")[0] for one in addresses}) == 1
    result = kvmrun("init", target)
    assert (result.code, target in result.err) == (6, True)


def test_check_tells_every_error_and_only_the_bad_guest_is_invalid(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "good")
    (lab / "bad.toml").write_text('memory = 5\nacel = "tcg"\n')
    result = kvmrun("check")
    assert result.code == 5
    assert len([line for line in result.out.splitlines() if line.startswith("error: bad.toml")]) == 2
    assert "accel" in result.out
    document = kvmrun("check", "-o", "json").json()
    assert document["guests"] == ["good"]
    assert {one["file"] for one in document["problems"]} == {"bad.toml"}


NAMED = """
[[drive]]
image = "made-by-the-first-start.qcow2"
base = "debian-12.raw"
[[drive]]
image = "/srv/install.iso"
media = "cdrom"
[[drive]]
image = "disk.raw"
[[drive]]
image = "made.raw"
size = "1M"
[boot]
kernel = "vmlinuz"
initrd = "demo-initrd"
"""


def test_check_tells_of_files_that_do_not_exist(lab: Path, images: Path, kvmrun: Cli) -> None:
    (lab / "vm1.toml").write_text(TCG + NAMED)
    (images / "debian12.raw").write_bytes(b"")
    result = kvmrun("check")
    lines = result.out.splitlines()
    assert (result.code, len(lines)) == (5, 4), result.out
    found = {one["key"]: one for one in kvmrun("check", "-o", "json").json()["problems"]}
    assert {key: one["found"] for key, one in found.items()} == {
        "drive[0].base": f"{images}/debian-12.raw",
        "drive[1].image": "/srv/install.iso",
        "drive[2].image": f"{images}/disk.raw",
        "boot.kernel": f"{images}/vmlinuz",
    }
    assert "debian12.raw" in found["drive[0].base"]["wanted"]
    assert "size" in found["drive[2].image"]["wanted"]
    for one in found.values():
        assert (one["file"], one["warning"], one["wanted"] in one["message"]) == ("vm1.toml", False, True)
        refused = kvmrun("vm1")
        assert (refused.code, any(one["found"] in refused.err for one in found.values())) == (6, True), refused.err
        path = Path(one["found"])
        path = path if path.parent != Path("/srv") else images / "install.iso"
        path.write_bytes(b"")
    (lab / "vm1.toml").write_text(TCG + NAMED.replace("/srv/install.iso", f"{images}/install.iso"))
    kvmrun.ok("check")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_check_calls_no_file_missing_that_it_may_not_look_at(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    hidden = own_directories / "hidden"
    hidden.mkdir(mode=0o700)
    (lab / "vm1.toml").write_text(f'{TCG}[[drive]]\nimage = "{hidden}/disk.raw"\n')
    found = kvmrun("check")
    assert (found.code, f"{hidden}/disk.raw" in found.out) == (5, True)
    words = ["setpriv", "--reuid=65534", "--clear-groups", *kvmrun.words]
    assert Cli(words).ok("check", "-o", "json").json()["problems"] == []


def test_check_of_an_empty_lab_names_the_way_to_an_example(lab: Path, kvmrun: Cli) -> None:
    result = kvmrun("check")
    assert (result.code, "kvmrun init" in result.err) == (4, True)


def test_show_has_the_derived_names_and_the_command_as_typed(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    out = kvmrun.ok("show", "vm1").out
    for told in (derive.mac("", "vm1", "eth0"), derive.uuid("", "vm1"), "tap-vm1", "bridge br0", '"ifname": "tap-vm1"'):
        assert told in out
    document = kvmrun.ok("show", "vm1", "-o", "json").json()
    assert document["schema"] == 1
    assert document["definition"]["accel"] == "tcg"
    assert document["runtime"]["ports"][0]["tap"] == "tap-vm1"
    assert "-nodefaults" in document["command"]


def test_a_name_nearly_right_is_suggested(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "ursa-vm1")
    result = kvmrun("show", "ursa-vm11")
    assert (result.code, "ursa-vm1?" in result.err) == (4, True)


def test_root_reads_no_lab_that_others_may_write(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=TCG)
    lab.chmod(0o777)
    result = kvmrun("list")
    assert (result.code, f"chmod go-w {lab}" in result.err) == (6, True)


def test_one_bad_file_costs_one_guest(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2", text=TCG)
    (lab / "vm1.toml").chmod(0o777)
    (lab / "vm3.toml").symlink_to("/dev/zero")
    (lab / "vm4.toml").symlink_to("nowhere")
    os.mkfifo(lab / "vm5.toml")
    (lab / "vm6.toml").mkdir()
    assert {name: row["state"] for name, row in kvmrun.rows().items()} == {
        **dict.fromkeys(("vm1", "vm3", "vm4", "vm5", "vm6"), "invalid"),
        "vm2": "stopped",
    }
    result = kvmrun("check")
    assert result.code == 5
    assert not [word for word in ("chmod", "chown") if word in result.out + result.err]


def test_nothing_here_makes_a_file(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    guests(lab, "vm1")
    for words in (("check",), ("show", "vm1"), ("list",), ("net", "status"), ("stop", "--all")):
        kvmrun.ok(*words)
    assert [path.name for path in own_directories.iterdir()] == ["vms.d"]


def test_an_error_that_several_guests_share_is_told_once(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2", "vm3")
    (lab / "networks.toml").write_text("[network.lan]\nmtu = 5\n")
    done = kvmrun("up", "--all", "--dry-run")
    assert done.code == 5
    assert done.err.count("networks.toml: network.lan.mtu") == 1
