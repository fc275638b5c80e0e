"""Keys of defaults.toml that one guest does not take over."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.table import each

from kvmrun.config.guest import unset_keys
from kvmrun.config.load_lab import load_lab
from kvmrun.model.firmware.boot import Boot
from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.nic import Nic
from kvmrun.model.guest.resource_limits import Limits
from kvmrun.model.machine.processor import Topology

INNER = {"topology": Topology, "boot": Boot, "limits": Limits, "drive": Drive, "nic": Nic}


def keys() -> Iterator[str]:
    """Every key a definition can have, tables and the keys inside them."""
    for key in Guest.FIELDS.keys() - {"name", "unset"}:
        yield key
        yield from (f"{key}.{inner}" for inner in INNER[key].FIELDS) if key in INNER else ()


def test_every_key_can_be_unset() -> None:
    def check(key: str) -> None:
        first, _, rest = key.partition(".")
        value: Any = [{rest: 1, "other": 2}, {"other": 2}] if first in {"drive", "nic"} else {rest: 1, "other": 2}
        found = unset_keys.apply_unset({first: value if rest else 1, "other": 2}, [key])
        assert not list(unset_keys.unset_problems([key]))
        if not rest:
            assert found == {"other": 2}
        else:
            assert found[first] == ([{"other": 2}, {"other": 2}] if isinstance(value, list) else {"other": 2})

    each(sorted(keys()), check)


@pytest.mark.parametrize(
    "key", ["", "bot", "boot.kernal", "boot.kernel.x", "name", "unset", "nic.", ".boot", "memory.x"]
)
def test_what_is_no_key_is_told(lab: Path, key: str) -> None:
    (lab / "vm1.toml").write_text(f'unset = ["{key}"]\n')
    found = load_lab(str(lab), "/images")
    assert found.invalid == ("vm1",)
    assert found.problems[0].key == "unset[0]"


@pytest.mark.parametrize("value", ['"boot"', "[1]", "true", "[[]]", "{}"])
def test_a_value_of_another_type_costs_the_guest(lab: Path, value: str) -> None:
    (lab / "vm1.toml").write_text(f"unset = {value}\n")
    assert load_lab(str(lab), "/images").invalid == ("vm1",)


def test_the_defaults_cannot_unset(lab: Path) -> None:
    (lab / "defaults.toml").write_text('unset = ["boot"]\n')
    (lab / "vm1.toml").write_text("")
    found = load_lab(str(lab), "/images")
    assert (found.invalid, found.problems[0].file) == (("vm1",), "defaults.toml")


def test_what_is_unset_has_its_usual_value_and_the_files_own_key_applies(lab: Path) -> None:
    (lab / "defaults.toml").write_text('cpus = 3\n[boot]\nkernel = "k"\ninitrd = "i"\n[[nic]]\nqueues = 2\n')
    (lab / "vm1.toml").write_text('unset = ["boot", "nic.queues", "memory"]\n')
    (lab / "vm2.toml").write_text('unset = ["boot"]\n[boot]\nkernel = "own"\n')
    (lab / "vm3.toml").write_text("")
    found = load_lab(str(lab), "/images").guests
    assert (found["vm1"].boot, found["vm1"].nic, found["vm1"].cpus) == (Boot(), (Nic(),), 3)
    assert (found["vm2"].boot.kernel, found["vm2"].boot.initrd) == ("/images/own", None)
    assert (found["vm3"].boot.initrd, found["vm3"].nic[0].queues) == ("/images/i", 2)


@pytest.mark.parametrize(
    ("defaults", "own", "cpus", "threads"),
    [
        ("cpus = 3", "topology = { cores = 2, threads = 2 }", 4, 2),
        ("topology = { cores = 2, threads = 2 }", "cpus = 3", 3, None),
        ("topology = { cores = 2, threads = 2 }", "topology = { cores = 4 }", 8, 2),
        ("cpus = 4\ntopology = { cores = 2, threads = 2 }", "", 4, 2),
        ("topology = { threads = 2 }", 'unset = ["topology"]', 1, None),
        ("", "topology = { sockets = 2 }\ncpus = 2", 2, 1),
    ],
)
def test_of_cpus_and_topology_that_of_the_guest_applies(
    lab: Path, defaults: str, own: str, cpus: int, threads: int | None
) -> None:
    (lab / "defaults.toml").write_text(defaults)
    (lab / "vm1.toml").write_text(own)
    found = load_lab(str(lab), "/images").guests["vm1"]
    assert (found.cpus, found.topology and found.topology.threads) == (cpus, threads)


@pytest.mark.parametrize(
    "defaults", ["cpus = 4\ntopology = { cores = 2 }", "topology = { cores = 256 }", "topology = { sockets = 0 }"]
)
def test_a_topology_that_does_not_fit_costs_the_guest(lab: Path, defaults: str) -> None:
    (lab / "defaults.toml").write_text(defaults)
    (lab / "vm1.toml").write_text("")
    found = load_lab(str(lab), "/images")
    assert found.invalid == ("vm1",)
    assert [one.key.partition(".")[0] for one in found.problems] == ["topology"]


DRIVE = '[[drive]]\nimage = "x.qcow2"\nsize = "1G"\n'
BOOT = '[boot]\nkernel = "k"\n'


@pytest.mark.parametrize(
    ("defaults", "own", "told"),
    [
        (BOOT, DRIVE, True),
        (BOOT, DRIVE.replace("qcow2", "iso").replace('size = "1G"', 'media = "cdrom"'), True),
        (BOOT, f'{DRIVE}[boot]\ncmdline = "quiet"\n', True),
        (BOOT, f'unset = ["boot"]\n{DRIVE}', False),
        (BOOT, f'unset = ["boot.kernel"]\n{DRIVE}', False),
        (BOOT, DRIVE + BOOT, False),
        (BOOT, "", False),
        (BOOT + DRIVE, "", False),
        (f'{BOOT}cmdline = "root=/dev/vda"\n', DRIVE, False),
        ("", DRIVE, False),
        ("", DRIVE + BOOT, False),
    ],
)
def test_a_drive_beaten_by_a_kernel_of_the_defaults_is_told(lab: Path, defaults: str, own: str, told: bool) -> None:
    (lab / "defaults.toml").write_text(defaults)
    (lab / "vm1.toml").write_text(own)
    found = load_lab(str(lab), "/images")
    assert list(found.guests) == ["vm1"]
    assert [(one.key, one.warning) for one in found.problems] == [("boot.kernel", True)] * told


def test_several_keys_of_one_table(lab: Path) -> None:
    names = ("kernel", "initrd", "cmdline")
    (lab / "defaults.toml").write_text("[boot]\n" + "".join(f'{name} = "{name}"\n' for name in names))
    for size in range(len(names)):
        for kept in itertools.combinations(names[1:], size):
            gone = [f'"boot.{name}"' for name in names[1:] if name not in kept]
            (lab / "vm1.toml").write_text(f"unset = [{', '.join(gone)}]\n")
            boot = load_lab(str(lab), "/images").guests["vm1"].boot
            assert [bool(getattr(boot, name)) for name in names[1:]] == [name in kept for name in names[1:]]
