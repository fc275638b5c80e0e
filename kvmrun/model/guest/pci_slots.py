"""The slots of a machine's bus: how many there are, and which devices take one."""

from collections.abc import Iterable

from kvmrun.model.guest.qemu_option import Option

SLOTS = {"q35": 30, "pc": 30, "microvm": 24}
"""Measured by adding devices until QEMU (7.2 and 10) refuses: 32 of a PCI bus less the chipset's, 24 of virtio-mmio."""
_ON_OTHER_BUSES = ("ide-", "scsi-", "virtserialport", "pvpanic", "isa-", "usb-", "tpm-")
_PORTS = "bus"


def used_slots(options: Iterable[Option]) -> int:
    """How many slots these devices take. One that names its bus is on a controller that has been counted."""
    devices = [option.props for option in options if option.flag == "device"]
    return sum(not f"{props['driver']}".startswith(_ON_OTHER_BUSES) and _PORTS not in props for props in devices)
