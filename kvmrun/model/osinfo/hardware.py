"""The hardware that an operating system has drivers for, as far as kvmrun has it, too.

An installed system depends on its hardware, so it is written into a definition once, and never follows from osinfo-db
at a start.
"""

from typing import Literal

from kvmrun.model.osinfo.os_facts import OsFacts

NicModel = Literal["virtio", "e1000", "e1000e", "rtl8139"]
DriveInterface = Literal["virtio", "scsi", "ide"]

_PCI = "http://pcisig.com/pci"
_Q35 = "http://qemu.org/chipset/x86/q35"
_NICS: dict[NicModel, frozenset[str]] = {
    "virtio": frozenset({f"{_PCI}/1af4/1000", f"{_PCI}/1af4/1041"}),
    "e1000e": frozenset({f"{_PCI}/8086/10d3"}),
    "e1000": frozenset({f"{_PCI}/8086/100e"}),
    "rtl8139": frozenset({f"{_PCI}/10ec/8139"}),
}
"""The devices that are each model, in the order in which they are preferred."""
_DRIVES: dict[DriveInterface, frozenset[str]] = {
    "virtio": frozenset({f"{_PCI}/1af4/1001", f"{_PCI}/1af4/1042"}),
    "scsi": frozenset({f"{_PCI}/1af4/1004", f"{_PCI}/1af4/1048"}),
}


def has_nic_driver(facts: OsFacts, model: NicModel) -> bool:
    """Whether the system has a driver for the model, or osinfo-db tells nothing of its drivers."""
    return not facts.devices or bool(_NICS[model] & facts.devices)


def nic_model(facts: OsFacts) -> NicModel:
    """The model of NIC that the system has a driver for; e1000, which most have one for, where none is told."""
    return next((model for model in _NICS if has_nic_driver(facts, model)), "e1000")


def starts_on_q35(facts: OsFacts) -> bool:
    """Whether the system starts on the machine q35: one with drivers for virtio needs none for its own controllers."""
    return not facts.devices or _Q35 in facts.devices or has_drive_driver(facts, "virtio")


def has_drive_driver(facts: OsFacts, interface: str) -> bool:
    """Whether the system has a driver for the interface, or osinfo-db tells nothing of its drivers or of it."""
    wanted = next((ids for name, ids in _DRIVES.items() if name == interface), frozenset[str]())
    return not facts.devices or not wanted or bool(wanted & facts.devices)


def drive_interface(facts: OsFacts) -> DriveInterface:
    """The interface of drives that the system has a driver for: IDE, which on q35 is AHCI, where none is told."""
    return next((one for one in _DRIVES if has_drive_driver(facts, one)), "ide")
