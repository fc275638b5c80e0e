"""The firmware of a guest: which it gets, what has to be made for it, and what is refused."""

from collections.abc import Iterator

from kvmrun.errors import HostLacks, KvmrunError, Refused
from kvmrun.model.firmware.descriptor import Descriptor
from kvmrun.model.firmware.uefi_firmware import UefiFirmware, firmware_of
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.qemu_option import TemporaryImage
from kvmrun.model.lab import Problem
from kvmrun.model.paths import GuestRuntime
from kvmrun.model.printable import quoted
from kvmrun.model.scalars import Size
from kvmrun.plan.firmware_facts import FirmwareFacts, VariablesFacts
from kvmrun.plan.steps.firmware_steps import MakeVariables
from kvmrun.plan.steps.guest_steps import MakeTemporaryImage, OpenFile

_INSTALL = "apt install ovmf"


def firmware_steps(guest: Guest, runtime: GuestRuntime, facts: FirmwareFacts | None) -> Iterator[MakeVariables]:
    """The variables that are to be made. Raises HostLacks, Refused for a firmware that the guest cannot have."""
    if facts is None:
        return
    firmware = require_firmware(guest, runtime, facts)
    template = facts.chosen.template if facts.chosen else None
    if not firmware.variables or template is None:
        return
    if facts.variables is None:
        yield MakeVariables(path=firmware.variables, template=template, uid=runtime.uid)
    elif reason := _fault(facts.variables, facts):
        moved = f"mv {quoted(firmware.variables)} {quoted(firmware.variables)}.old"
        fix = f"{moved} has the next start make new ones, without the boot entries and the keys that the guest has set"
        raise Refused(f"{guest.name} cannot use its UEFI variables {firmware.variables}", fix, reason=reason)


def require_firmware(guest: Guest, runtime: GuestRuntime, facts: FirmwareFacts) -> UefiFirmware:
    """The firmware that the guest gets. Raises HostLacks where there is none."""
    what = "UEFI firmware with Secure Boot" if guest.secure_boot else "UEFI firmware"
    if facts.chosen is None:
        raise HostLacks(f"{guest.name} asks for {what}, and none is installed", _INSTALL, reason=_why_none(facts))
    if facts.absent:
        reason = f"{facts.chosen.name} names {facts.absent[0]}, which is not there"
        raise HostLacks(f"the {what} of {guest.name} is incomplete", _INSTALL, reason=reason)
    return _firmware(guest, runtime, facts.chosen)


def firmware_files(
    firmware: UefiFirmware | None, runtime: GuestRuntime, facts: FirmwareFacts | None
) -> Iterator[OpenFile | MakeTemporaryImage]:
    """How the files of the firmware are opened, or made for one run."""
    if firmware is None or facts is None:
        return
    for file in firmware.files():
        if isinstance(file, TemporaryImage):
            yield MakeTemporaryImage(file=file, size=facts.size, directory=runtime.state)
        else:
            yield OpenFile(file=file)


def known_firmware(guest: Guest, runtime: GuestRuntime, facts: FirmwareFacts | None) -> UefiFirmware | None:
    """The firmware that the guest would get, None where that is the machine's own, or none that fits is there."""
    return _firmware(guest, runtime, facts.chosen) if facts and facts.chosen else None


def _firmware(guest: Guest, runtime: GuestRuntime, chosen: Descriptor) -> UefiFirmware:
    return firmware_of(chosen, runtime.uefi_variables(secure_boot=guest.secure_boot), throwaway=guest.throwaway)


def firmware_error(guest: Guest, runtime: GuestRuntime, facts: FirmwareFacts | None) -> KvmrunError | None:
    """What prevents the guest from having its firmware on this host, None where nothing does."""
    try:
        list(firmware_steps(guest, runtime, facts))
    except KvmrunError as error:
        return error
    return None


def firmware_problems(guest: Guest, runtime: GuestRuntime, facts: FirmwareFacts | None) -> Iterator[Problem]:
    """What prevents the guest from having its firmware on this host, as `kvmrun check` tells it."""
    if error := firmware_error(guest, runtime, facts):
        key = "secure_boot" if guest.secure_boot else "firmware"
        text = f"{error.message}, because {error.reason}; {error.fix}"
        file = f"{guest.name}.toml"
        yield Problem(file=file, key=key, found=guest.firmware, wanted=error.fix, warning=True, text=text)


def _fault(variables: VariablesFacts, facts: FirmwareFacts) -> str:
    """Why the variables cannot be used, "" where they can."""
    if variables.fault or variables.size == facts.size:
        return variables.fault
    return f"they take {Size(variables.size)} of flash memory, and those of this firmware {Size(facts.size)}"


def _why_none(facts: FirmwareFacts) -> str:
    for path, reason in facts.bad.items():
        return f"{path} cannot be used: {reason}"
    if not facts.found:
        return "there is no descriptor in /usr/share/qemu/firmware and /etc/qemu/firmware"
    return f"no descriptor in /usr/share/qemu/firmware and /etc/qemu/firmware fits {facts.machine}"
