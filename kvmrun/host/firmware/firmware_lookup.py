"""Which firmware this host has for a guest, and in what state the guest's own part of it is."""

import os
from collections.abc import Iterator

from kvmrun.errors import KvmrunError
from kvmrun.host.disk import image_files
from kvmrun.host.files import ownership
from kvmrun.host.firmware import machine_pin
from kvmrun.host.firmware.descriptor_files import Descriptors
from kvmrun.host.firmware.uefi_variables import variables_facts
from kvmrun.model.firmware.descriptor import Descriptor, Flash, choose
from kvmrun.model.guest.guest import Guest
from kvmrun.model.paths import Paths, uefi_variables
from kvmrun.plan.firmware_facts import FirmwareFacts

_SECTOR = 512
"""What the sizes of images are multiples of."""


def firmware_facts(guest: Guest, where: Paths, qemu: str, found: Descriptors) -> FirmwareFacts:
    """The firmware for a guest with UEFI, which has the machine that it was first started with; `found` is what
    `read_descriptors` did.

    What is written for versions of a machine fits the newest one that `qemu` has where the guest has none yet.
    """
    descriptors, bad = found
    machine = machine_pin.newest_version(qemu, guest.machine)
    chosen = choose(descriptors, machine, secure_boot=guest.secure_boot)
    own = uefi_variables(ownership.guest_state(where, guest.name), secure_boot=guest.secure_boot)
    template = chosen.template if chosen else None
    return FirmwareFacts(
        machine=machine,
        found=len(descriptors),
        bad=bad,
        chosen=chosen,
        absent=tuple(path for path in _files(chosen) if not os.path.isfile(path)),
        size=_size(template) if template else 0,
        variables=variables_facts(own) if template else None,
    )


def _files(chosen: Descriptor | None) -> Iterator[str]:
    if chosen:
        yield chosen.code.path
        yield from [chosen.template.path] if chosen.template else []


def _size(template: Flash) -> int:
    """The size of the flash memory that the template fills."""
    try:
        found = image_files.image_facts(template.path, template.format)
    except KvmrunError:
        return 0
    return (found.size + _SECTOR - 1) // _SECTOR * _SECTOR if found else 0
