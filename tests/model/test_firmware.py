"""Machines and their versions; descriptors of firmware."""

from contextlib import suppress
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.table import each

from kvmrun.model.firmware.descriptor import choose, descriptor_from_json
from kvmrun.model.machine.machine_type import MachineType, pinned_machine


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


OVMF = {
    "description": "UEFI",
    "interface-types": ["uefi"],
    "mapping": {
        "device": "flash",
        "executable": {"filename": "/f/code.fd", "format": "raw"},
        "nvram-template": {"filename": "/f/vars.fd", "format": "raw"},
    },
    "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
    "features": ["acpi-s3", "verbose-dynamic"],
    "tags": [],
}
SECURE = ["secure-boot", "enrolled-keys", "requires-smm"]


def flash(**changes: object) -> dict[str, object]:
    return {**OVMF, "mapping": {**cast("dict[str, object]", OVMF["mapping"]), **changes}}


FITS: list[tuple[dict[str, object], str, bool, bool]] = [
    (OVMF, "pc-q35-7.2", False, True),
    (OVMF, "pc-i440fx-7.2", False, True),
    (OVMF, "pc-q35-noble", False, True),
    (OVMF, "q35", False, False),  # libvirt, too, compares versions
    (OVMF, "microvm", False, False),
    (OVMF, "pc-q35-7.2", True, False),
    ({**OVMF, "features": SECURE}, "pc-q35-7.2", True, True),
    ({**OVMF, "features": SECURE}, "pc-q35-7.2", False, False),
    ({**OVMF, "features": ["secure-boot", "requires-smm"]}, "pc-q35-7.2", True, False),  # no keys: nothing is refused
    ({**OVMF, "features": ["secure-boot", "requires-smm"]}, "pc-q35-7.2", False, False),
    ({**OVMF, "features": [*SECURE, "amd-sev", "unheard-of"]}, "pc-q35-7.2", True, True),
    ({**OVMF, "features": [*SECURE, "requires-wings"]}, "pc-q35-7.2", True, False),
    ({**OVMF, "features": [*SECURE, "host-uefi-vars"]}, "pc-q35-7.2", True, False),
    ({**OVMF, "interface-types": ["bios"]}, "pc-q35-7.2", False, False),
    ({**OVMF, "interface-types": ["bios", "uefi"]}, "pc-q35-7.2", False, True),
    ({**OVMF, "interface-types": []}, "pc-q35-7.2", False, False),
    ({**OVMF, "targets": []}, "pc-q35-7.2", False, False),
    ({**OVMF, "targets": [{"architecture": "aarch64", "machines": ["pc-q35-*"]}]}, "pc-q35-7.2", False, False),
    ({**OVMF, "targets": [{"architecture": "x86_64", "machines": ["pc-q35-7.?"]}]}, "pc-q35-7.2", False, True),
    ({**OVMF, "targets": [{"architecture": "x86_64", "machines": ["pc-q35-[7-9]*"]}]}, "pc-q35-7.2", False, False),
    ({**OVMF, "targets": [{"architecture": "x86_64", "machines": ["*"]}]}, "pc-q35-7.2", False, True),
    ({**OVMF, "targets": [{"architecture": "x86_64", "machines": ["*a" * 30 + "*"]}]}, "pc-q35-7.2", False, False),
    (flash(mode="split"), "pc-q35-7.2", False, True),
    (flash(mode="stateless"), "pc-q35-7.2", False, False),
    (flash(mode="combined"), "pc-q35-7.2", False, False),
    (flash(executable={"filename": "/f/code.qcow2", "format": "qcow2"}), "pc-q35-7.2", False, True),
    ({**OVMF, "mapping": {"device": "memory", "filename": "/f/OVMF.fd"}}, "pc-q35-7.2", False, True),
    ({**OVMF, "mapping": {"device": "kernel", "filename": "/f/OVMF.fd"}}, "pc-q35-7.2", False, False),
]


def test_a_descriptor_fits_by_interface_target_features_and_mapping() -> None:
    def check(case: tuple[dict[str, object], str, bool, bool]) -> None:
        data, machine, secure_boot, fits = case
        assert descriptor_from_json("x", data).fits(machine, secure_boot=secure_boot) is fits

    each(FITS, check)


def test_the_first_that_fits_is_chosen() -> None:
    secure = {**OVMF, "features": SECURE}
    found = [descriptor_from_json(name, data) for name, data in (("40", secure), ("50", OVMF), ("60", OVMF))]
    named = {wish: choose(found, "pc-q35-7.2", secure_boot=wish) for wish in (True, False)}
    assert {wish: one and one.name for wish, one in named.items()} == {True: "40", False: "50"}
    assert choose(found[1:], "pc-q35-7.2", secure_boot=True) is None


def test_one_that_keeps_variables_comes_before_one_that_does_not() -> None:
    sev = {**OVMF, "mapping": {"device": "memory", "filename": "/f/OVMF.amdsev.fd"}, "features": ["amd-sev"]}
    found = [descriptor_from_json("60-amdsev", sev), descriptor_from_json("60-x86_64", OVMF)]
    chosen = choose(found, "pc-q35-11.0", secure_boot=False)
    assert chosen
    assert chosen.name == "60-x86_64"
    assert choose(found[:1], "pc-q35-11.0", secure_boot=False) == found[0]


WRONG: list[object] = [
    *(None, [], "x", 7, {}, {**OVMF, "mapping": []}, {**OVMF, "mapping": {"device": "memory"}}),
    *({**OVMF, "targets": {}}, {**OVMF, "targets": ["x86_64"]}, {**OVMF, "targets": [{"architecture": 7}]}),
    *({**OVMF, "features": [7]}, {**OVMF, "features": "secure-boot"}, {**OVMF, "features": ["x" * 101]}),
    *({**OVMF, "interface-types": None}, {**OVMF, "interface-types": ["uefi"] * 101}),
    flash(executable={"filename": "code.fd", "format": "raw"}),
    flash(executable={"filename": "/f/\ncode.fd", "format": "raw"}),
    flash(executable={"filename": "/f/code.fd", "format": "vmdk"}),
    flash(executable={"filename": "/f/code.fd"}),
    flash(**{"nvram-template": None}),
    flash(**{"nvram-template": {"filename": "/" + "x" * 1000, "format": "raw"}}),
]


def test_what_is_no_descriptor_is_told() -> None:
    def check(data: object) -> None:
        with pytest.raises(ValueError, match=r"."):
            descriptor_from_json("x", data)

    each(WRONG, check)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from([*OVMF, "device", "mode", "filename"]), inner, max_size=6)
        ),
        max_leaves=20,
    )
)
def test_any_json_is_a_descriptor_or_refused(data: object) -> None:
    with suppress(ValueError):
        descriptor_from_json("x", data).fits("pc-q35-7.2", secure_boot=False)
