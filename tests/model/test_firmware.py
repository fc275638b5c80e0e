"""Machines and their versions."""

import pytest

from kvmrun.model.firmware.machine_type import MachineType, pinned_machine


@pytest.mark.parametrize(
    ("text", "kind", "open_"),
    [
        ("q35", "q35", True),
        ("pc", "pc", True),
        ("microvm", "microvm", False),
        ("pc-q35-7.2", "q35", False),
        ("pc-i440fx-9.1", "pc", False),
        ("pc-q35-noble-hpb", "q35", False),
    ],
)
def test_a_machine_is_a_kind_or_a_version_of_one(text: str, kind: str, open_: bool) -> None:
    found = MachineType.parse(text)
    assert (found, found.kind, found.has_versions()) == (text, kind, open_)


@pytest.mark.parametrize(
    "text",
    ["", "virt", "pc-q35-", "pc-q35-7.2,smm=on", "pc-q35-7 2", "q35-7.2", "pc-q35-" + "7" * 50, 7, None, "isapc"],
)
def test_nothing_else_is_a_machine(text: object) -> None:
    with pytest.raises(ValueError, match="microvm"):
        MachineType.parse(text)


@pytest.mark.parametrize(
    ("machine", "pin", "result"),
    [
        ("q35", "pc-q35-7.2", "pc-q35-7.2"),
        ("pc", "pc-i440fx-7.2", "pc-i440fx-7.2"),
        ("pc", "pc-q35-7.2", "pc"),  # the kind was changed in the definition
        ("q35", "q35", "q35"),
        ("q35", "pc-q35-7.2,accel=kvm", "q35"),
        ("q35", "", "q35"),
        ("pc-q35-9.0", "pc-q35-7.2", "pc-q35-9.0"),
        ("microvm", "pc-q35-7.2", "microvm"),
    ],
)
def test_a_pin_is_for_a_machine_of_its_kind_without_a_version(machine: str, pin: str, result: str) -> None:
    assert pinned_machine(MachineType(machine), pin) == result
