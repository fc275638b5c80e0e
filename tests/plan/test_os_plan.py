"""What of a definition does not suit the operating system that it names."""

import pytest
from support.builders import defined_guest

from kvmrun.model.osinfo.os_facts import OsFacts, Resources
from kvmrun.plan.guest.os_plan import os_problems

GIB = 1 << 30
WIN = OsFacts(
    id="http://a.org/win/1",
    name="win1",
    title="Win",
    minimum=Resources(cpus=2, memory=4 * GIB, storage=60 * GIB),
    devices=frozenset({"http://pcisig.com/pci/8086/10d3"}),
    bios=False,
    uefi=True,
)
LARGE = {"memory": "4G", "cpus": 2}
DISK = [{"image": "a.qcow2", "size": "64G"}]


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ({}, {"memory", "cpus", "firmware"}),
        (LARGE, {"firmware"}),
        (LARGE | {"firmware": "uefi"}, set()),
        (LARGE | {"boot": {"kernel": "k"}}, set()),
        (LARGE | {"machine": "microvm"}, set()),
        (LARGE | {"firmware": "uefi", "drive": DISK}, {"nic[0].model", "drive[0].interface"}),
        (LARGE | {"firmware": "uefi", "drive": DISK, "nic": [{"model": "e1000e"}]}, {"drive[0].interface"}),
        (
            LARGE | {"firmware": "uefi", "drive": [DISK[0] | {"interface": "ide", "size": "9G"}], "nic": []},
            {"drive[0].size"},
        ),
        (LARGE | {"firmware": "uefi", "drive": [DISK[0] | {"interface": "ide"}], "nic": []}, set()),
    ],
)
def test_each_key_that_does_not_suit_is_a_warning(table: dict[str, object], keys: set[str]) -> None:
    found = list(os_problems(defined_guest(**table), WIN, {"/i/a.qcow2"}))
    assert {one.key for one in found} == keys
    assert all(one.warning and "win1" in f"{one}" for one in found)


def test_an_installed_system_may_have_got_drivers() -> None:
    guest = defined_guest(**LARGE, firmware="uefi", drive=DISK)
    assert list(os_problems(guest, WIN, ())) == []
