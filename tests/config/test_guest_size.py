"""Where the memory and the processors of a guest come from: its file, defaults.toml, its system, or nowhere."""

from pathlib import Path

import pytest
from support.builders import guests

from kvmrun.config.lab_host import LabHost
from kvmrun.config.load_lab import load_lab
from kvmrun.model.lab import Lab
from kvmrun.model.osinfo.os_facts import HostSize, OsFacts, OsMissing, Resources
from kvmrun.model.osinfo.os_name import OsName

GIB, MIB = 1 << 30, 1 << 20
TOY = OsFacts(
    id="http://toy.org/toy/1",
    name="toy1",
    title="Toy",
    minimum=Resources(cpus=1, memory=GIB),
    recommended=Resources(cpus=4, memory=2 * GIB),
)
MISSING = OsMissing(why="unknown", reason="osinfo-db has no such thing", fix="get a newer one")


def load(lab: Path, *, memory: int = 64 * GIB, cpus: int = 16, asked: list[str] | None = None) -> Lab:
    """The lab on a host of that size, which knows toy1 alone."""

    def find(name: OsName) -> OsFacts | OsMissing:
        if asked is not None:
            asked.append(name)
        return TOY if name == "toy1" else MISSING

    return load_lab(str(lab), "/images", host=LabHost(find=find, size=lambda: HostSize(memory=memory, cpus=cpus)))


@pytest.mark.parametrize(
    ("defaults", "own", "memory", "cpus"),
    [
        ("", "", 512 * MIB, 1),
        ("", 'os = "toy1"', 2 * GIB, 4),
        ('os = "toy1"', "", 2 * GIB, 4),
        ('os = "toy1"', 'unset = ["os"]', 512 * MIB, 1),
        ('os = "toy1"\nmemory = "3G"\ncpus = 3', "", 3 * GIB, 3),
        ('memory = "3G"\ncpus = 3', 'os = "toy1"\nunset = ["memory"]', 2 * GIB, 3),
        ("", 'os = "toy1"\ncpus = 1', 2 * GIB, 1),
        ("", 'os = "toy1"\nmemory = "512M"', 512 * MIB, 4),
        ('os = "nosuch"', 'os = "toy1"', 2 * GIB, 4),
        ("", 'os = "nosuch"', 512 * MIB, 1),
        ("", 'os = "toy1"\nlimits.memory = "1G"', 768 * MIB, 4),
        ("", 'os = "nosuch"\nlimits.memory = "1G"', 512 * MIB, 1),
        ("", 'os = "toy1"\ntopology = { cores = 3 }', 2 * GIB, 3),
        ("topology = { cores = 3 }", "", 512 * MIB, 3),
        ("", 'os = "nosuch"\nlimits.memory = "400M"', 256 * MIB, 1),
    ],
)
def test_what_is_said_counts_and_the_rest_follows(lab: Path, defaults: str, own: str, memory: int, cpus: int) -> None:
    guests(lab, "vm1", text=f"{own}\n")
    guests(lab, "defaults", text=f"{defaults}\n")
    found = load(lab)
    assert found.invalid == ()
    assert (found.guests["vm1"].memory, found.guests["vm1"].cpus) == (memory, cpus)


def test_where_each_value_comes_from_is_known(lab: Path) -> None:
    guests(lab, "defaults", text="cpus = 3\n")
    guests(lab, "own", text='memory = "1G"\n')
    guests(lab, "toy", text='os = "toy1"\n')
    sources = load(lab, memory=2 * GIB).sources
    assert sources["own"] == {"memory": "own.toml", "cpus": "defaults.toml"}
    assert sources["toy"] == {"memory": "half of the host's; toy1 recommends 2G", "cpus": "defaults.toml"}


def test_a_guest_without_a_system_is_the_same_on_every_host_and_nobody_is_asked(lab: Path) -> None:
    guests(lab, "old", text="")
    guests(lab, "whole", text='os = "toy1"\nmemory = "1G"\ncpus = 2\n')
    asked: list[str] = []
    assert load(lab, asked=asked).guests == load(lab, memory=GIB, cpus=1, asked=asked).guests == load(lab).guests
    assert asked == []


def test_what_is_not_known_costs_a_warning_once_and_no_guest(lab: Path) -> None:
    guests(lab, "defaults", text='os = "nosuch"\n')
    guests(lab, "vm1", "vm2", text="")
    guests(lab, "vm3", text='os = "nosuch"\ncpus = 2\n')
    found = load(lab)
    assert sorted(found.guests) == ["vm1", "vm2", "vm3"]
    assert [(one.file, one.key, one.found, one.warning) for one in found.problems] == [
        ("defaults.toml", "os", "nosuch", True),
        ("vm3.toml", "os", "nosuch", True),
    ]
    assert all(MISSING.reason in f"{one}" and MISSING.fix in f"{one}" for one in found.problems)


@pytest.mark.parametrize("value", ['"../../etc/passwd"', '"a b"', "12", '""', '["toy1"]', '"http://../x"'])
def test_what_cannot_be_a_name_is_an_error(lab: Path, value: str) -> None:
    guests(lab, "vm1", text=f"os = {value}\n")
    found = load(lab)
    assert found.invalid == ("vm1",)
    assert [(one.key, one.warning) for one in found.problems] == [("os", False)]
