"""One guest: its definition with every default, what follows from its name, its QEMU command, and how it is now."""

from collections.abc import Mapping

from kvmrun.api.disk.media import Medium, media
from kvmrun.api.lab import LabHandle, guest_or_error
from kvmrun.api.status import agent_addresses, status_confinement
from kvmrun.api.status.live_status import guest_statuses, visible_run_directories
from kvmrun.errors import KvmrunError
from kvmrun.host.facts import guest_facts
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.files import named_files
from kvmrun.host.rundir import rundir, socket_lookup
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.guest_status import Status
from kvmrun.model.guest.qemu_option import argv
from kvmrun.model.lab import Lab
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.value import EMPTY, Value
from kvmrun.plan.guest import firmware_plan, image_plan

_PATIENCE = 2.0
"""How long QEMU may take to say what is in its drives, in seconds."""


class GuestDetails(Value):
    """All there is to know of one guest. `definition` is None where it runs and has no valid definition any more.

    `command` is for reading, with paths where descriptors are passed: a tuple for the program and one for each option.
    The arguments that the definition adds as they are come after it. Without a definition it is one tuple, the command
    line of the QEMU that runs. `machine` is the version of its machine, or the kind before the first start. `display`
    says where a viewer finds the display, None where there is none. `media` are those in its CD-ROM drives, None where
    it does not run, or does not say. `sources` says where its memory and its processors come from.
    """

    definition: Guest | None
    runtime: GuestRuntime
    command: tuple[tuple[str, ...], ...]
    display: str | None
    status: Status
    machine: str | None = None
    media: tuple[Medium, ...] | None = None
    sources: Mapping[str, str] = EMPTY


def guest_details(lab: LabHandle, name: str) -> GuestDetails:
    """Look at one guest; nothing is changed, and no part of the guest is waited for longer than 2 s.

    Raises: NoSuchGuest; ConfigError for a definition that is not valid, of a guest that does not run.
    """
    definitions, where = lab.definitions, lab.paths
    lab_now = lab.in_force()
    if name in lab_now.now.running and name not in definitions.guests:
        return _recorded(lab_now, where, name)
    guest = guest_or_error(definitions, name)
    runtime = guest_runtimes(lab_now, where)[guest.name]
    machine = guest_facts.known_machine(guest, where) or guest.machine
    missing = named_files.missing_files(guest) if any(drive.optional for drive in guest.drive) else ()
    asked = image_plan.without_absent(guest.replace(machine=machine), missing)
    found = guest_facts.firmware_facts([guest], where, {guest.name: machine}).get(guest.name)
    options = asked.options(
        runtime,
        vhost=guest_facts.has_vhost(),
        use=named_files.file_use(asked, program := guest_facts.qemu_facts()),
        firmware=firmware_plan.known_firmware(guest, runtime, found),
    )
    command = ((program,), *(tuple(option) for option in argv(options, None)))
    return GuestDetails(
        definition=guest,
        runtime=runtime,
        command=command,
        display=guest.shown_at(runtime) or None,
        status=_status(definitions, where, guest.name),
        machine=machine,
        media=_media(where, name) if any(drive.media == "cdrom" for drive in guest.drive) else None,
        sources=definitions.sources[guest.name],
    )


def _recorded(lab: Lab, where: Paths, name: str) -> GuestDetails:
    """A guest that runs without a valid definition: as its record and its QEMU tell it."""
    record = lab.now.running[name]
    runtime = GuestRuntime(
        guest=record.name,
        uuid=record.uuid,
        directory=where.guest(record.name),
        log=where.log(record.name),
        ports=lab.ports()[record.name],
        lab=record.lab,
    )
    command = tuple(socket_lookup.command_line(rundir.qemu_pid(runtime.directory, record.pid)))
    status = _status(lab, where, record.name)
    return GuestDetails(
        definition=None,
        runtime=runtime,
        command=(command,),
        display=record.display or None,
        status=status,
        media=_media(where, name) or None,
    )


def _media(where: Paths, name: str) -> tuple[Medium, ...] | None:
    """What its CD-ROM drives hold, where it runs and says so in time."""
    try:
        return media(LabHandle(where), name, timeout=_PATIENCE)
    except KvmrunError:
        return None


def _status(lab: Lab, where: Paths, name: str) -> Status:
    here = visible_run_directories(where)
    rows = status_confinement.with_confinement(guest_statuses(where, lab, [name]), where, here)
    [now] = agent_addresses.with_agent_addresses(rows, here)
    return now
