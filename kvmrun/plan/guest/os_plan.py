"""What of a definition does not suit the operating system that it names: warnings, since only the system can tell."""

from collections.abc import Container, Iterator

from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Problem
from kvmrun.model.osinfo import hardware
from kvmrun.model.osinfo.os_facts import OsFacts
from kvmrun.model.scalars import Size


def os_problems(guest: Guest, facts: OsFacts, missing: Container[str]) -> Iterator[Problem]:
    """A warning for each key with which the system would not start, or would find no driver, as osinfo-db says.

    `missing` are the files of the guest that are not there. An installed system may have got other drivers.
    """
    is_new = any(drive.image in missing for drive in guest.drive)
    for key, found, wanted in (*_unsuitable(guest, facts), *(_uninstallable(guest, facts) if is_new else ())):
        text = f"{facts.name} {wanted}"
        yield Problem(file=f"{guest.name}.toml", key=key, found=found, wanted=wanted, warning=True, text=text)


def _unsuitable(guest: Guest, facts: OsFacts) -> Iterator[tuple[str, str, str]]:
    """(key, value, what the system does not do and what would suit it)."""
    least = facts.minimum
    if least.memory and guest.memory < least.memory:
        yield "memory", f"{guest.memory}", f"needs {Size(least.memory)}, and has {guest.memory}"
    if least.cpus and guest.cpus < least.cpus:
        yield "cpus", f"{guest.cpus}", f"needs {least.cpus} processors, and has {guest.cpus}"
    starts_itself = guest.boot.kernel is None and guest.kind != "microvm"
    if starts_itself and guest.firmware == "bios" and facts.uefi and not facts.bios:
        yield "firmware", "bios", 'does not start by BIOS; firmware = "uefi" suits it'


def _uninstallable(guest: Guest, facts: OsFacts) -> Iterator[tuple[str, str, str]]:
    """The same of hardware that the system has no room on, or no driver for, while it is installed."""
    sizes = [drive.size for drive in guest.drive if drive.media == "disk" and drive.size]
    if sizes and facts.minimum.storage and max(sizes) < facts.minimum.storage:
        number = next(number for number, drive in enumerate(guest.drive) if drive.size == max(sizes))
        wanted = f"needs a drive of {Size(facts.minimum.storage)}, and has one of {max(sizes)}"
        yield f"drive[{number}].size", f"{max(sizes)}", wanted
    for number, nic in enumerate(guest.nic):
        if not hardware.has_nic_driver(facts, nic.model):
            yield f"nic[{number}].model", nic.model, _driver(nic.model, "model", hardware.nic_model(facts))
    for number, drive in enumerate(guest.drive):
        interface = drive.bus(guest.kind)
        if drive.media == "disk" and not hardware.has_drive_driver(facts, interface):
            better = _driver(interface, "interface", hardware.drive_interface(facts))
            yield f"drive[{number}].interface", interface, better


def _driver(found: str, key: str, better: str) -> str:
    return f'has no driver for {found} of its own; {key} = "{better}" suits it'
