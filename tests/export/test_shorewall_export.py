"""A lab as Shorewall files: what is in them, in files to read in a change, and what Shorewall could not do."""

from pathlib import Path

import pytest
from support.builders import loaded_lab
from support.golden import same

from kvmrun.config.load_lab import load_lab
from kvmrun.errors import Refused
from kvmrun.export import shorewall_export
from kvmrun.export.shorewall_file import MARK
from kvmrun.model.lab import Lab

SINGLE = """
firewall = "shorewall"
[network.lan]
forward = ["tcp 8080 -> vm1:80"]
"""
SHARED = """
firewall = "shorewall"
[network.lan]
[network.net]
bridge = "br1"
subnet = "192.168.7.0/24"
isolate = true
policy = "open"
nat = ["avvanta"]
dns = false
dhcp = false
[network.office]
bridge = "br9"
subnet = "10.9.0.0/24"
external = true
[uplink.comcast]
interface = "eth0"
gateway = "172.20.1.1"
table = 101
[uplink.avvanta]
interface = "eth0"
gateway = "172.20.1.254"
table = 102
[uplink.main]
interface = "wlan0"
table = 103
"""
OWN = {"comcast": "172.20.1.130", "avvanta": "172.20.1.130"}


def lab(tmp_path: Path, networks: str, **guests: str) -> Lab:
    found = loaded_lab(tmp_path, networks, **({"vm1": '[[nic]]\naddress = "192.168.0.1"\n'} | guests))
    assert not [one for one in found.problems if not one.warning]
    return found


def asking(found: Lab, **uplinks: str) -> Lab:
    """The lab with guests and networks that ask for these uplinks."""
    for name, uplink in uplinks.items():
        one = found.guests.get(name) or found.networks[name]
        one.__dict__["uplink"] = uplink
    return found


@pytest.mark.parametrize(("name", "networks", "own"), [("single", SINGLE, {}), ("shared", SHARED, OWN)])
def test_the_files_are_the_ones_that_were_read(tmp_path: Path, name: str, networks: str, own: dict[str, str]) -> None:
    same(f"shorewall/{name}", shorewall_export.shorewall_files(lab(tmp_path, networks), ["eth0"], own))


def test_every_file_begins_with_our_mark_and_every_line_has_a_comment(tmp_path: Path) -> None:
    for text in shorewall_export.shorewall_files(lab(tmp_path, SHARED), [], OWN).values():
        assert text.startswith(f"{MARK} shorewall: ")
        for paragraph in text.split("\n\n"):
            assert paragraph.startswith(("#", "?")), paragraph


def test_zones_are_short_and_never_twice_the_same(tmp_path: Path) -> None:
    names = ("fw", "all", "net", "any2all", "office1", "office2", "office22", "none", "anyhow", "anya")
    text = "".join(f'[network.{n}]\nbridge = "b{i}"\nsubnet = "10.0.{i}.0/24"\n' for i, n in enumerate(names))
    lines = shorewall_export.shorewall_files(lab(tmp_path, text, vm1="nic = []\n"), ["eth0"], {})["zones"].splitlines()
    zones = [line.split()[0] for line in lines if line.endswith("ipv4")]
    assert len(zones) == len(set(zones)) == len(names) + 1
    assert all(1 < len(zone) <= 5 for zone in zones)
    assert not {"fw", "all", "none", "any2all"} & set(zones)
    assert not [zone for zone in zones if zone.startswith("any")]


def test_without_an_uplink_the_ways_out_are_those_of_the_host(tmp_path: Path) -> None:
    files = shorewall_export.shorewall_files(lab(tmp_path, SINGLE), ["eth0", "wlan0"], {})
    assert [line for line in files["interfaces"].splitlines() if line.startswith("net\t")] != []
    assert files["snat"].count("MASQUERADE") == 2
    assert "providers" not in files


def test_guests_come_before_networks_among_the_rules_by_source(tmp_path: Path) -> None:
    found = asking(lab(tmp_path, SHARED), vm1="avvanta", lan="main")
    rules = shorewall_export.shorewall_files(found, [], OWN)["rtrules"].splitlines()
    assert [line.split() for line in rules if line[:1].isdigit()] == [
        ["192.168.0.1", "-", "avvanta", "11001"],
        ["192.168.0.0/24", "-", "main_", "11002"],
    ]


@pytest.mark.parametrize(
    ("networks", "own", "said"),
    [
        (SHARED, {}, "comcast"),
        (SHARED.replace('gateway = "172.20.1.254"\n', ""), OWN, "avvanta shares eth0 and has no gateway"),
        (SINGLE, {}, "no uplink of this host"),
    ],
)
def test_what_shorewall_could_not_do_is_refused(tmp_path: Path, networks: str, own: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said) as caught:
        shorewall_export.shorewall_files(lab(tmp_path, networks), [], own)
    assert caught.value.fix


def test_an_uplink_that_is_asked_for_needs_a_table(tmp_path: Path) -> None:
    found = asking(lab(tmp_path, SHARED.replace("table = 102\n", "").replace("table = 101\n", "")), vm1="avvanta")
    with pytest.raises(Refused, match="vm1 asks for uplink avvanta"):
        shorewall_export.shorewall_files(found, [], OWN)


def test_a_guest_that_is_invalid_costs_its_port_forward_only(tmp_path: Path) -> None:
    (tmp_path / "vm1.toml").write_text("nonsense = 1\n")
    (tmp_path / "networks.toml").write_text(SINGLE)
    files = shorewall_export.shorewall_files(load_lab(str(tmp_path), "/images"), ["eth0"], {})
    assert "DNAT" not in files["rules"]
