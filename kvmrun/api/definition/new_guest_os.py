"""The operating system of a guest that is about to be defined, and what is written into its definition by that.

Everything is written out, so that the guest is the same on another host and with another osinfo-db.
"""

from collections.abc import Iterator, Mapping

from kvmrun.api.definition.definition_options import NewGuestOptions
from kvmrun.api.lab import LabHandle
from kvmrun.api.report import Noted, Report
from kvmrun.config.toml_writer import Entry
from kvmrun.errors import UsageError
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.nic import Nic
from kvmrun.model.image.pinned_image import PinnedImage
from kvmrun.model.machine.machine_type import MachineType
from kvmrun.model.osinfo import hardware, os_size
from kvmrun.model.osinfo.os_facts import OsFacts, OsMissing
from kvmrun.model.osinfo.os_name import OsName
from kvmrun.model.printable import printable
from kvmrun.model.scalars import Size

_GIB = 1 << 30


class NewGuestOs:
    """What is known of the system of a new guest: `name` is what its file is to say, `facts` what osinfo-db does."""

    def __init__(self, name: str | None = None, facts: OsFacts | None = None) -> None:
        self.name = name
        self.facts = facts

    def keys(self, now: Guest, sources: Mapping[str, str]) -> Iterator[Entry]:
        """The keys of the definition; `now` is the guest that the defaults make, `sources` where its size is from."""
        if self.name and self.name != now.os:
            yield "os", self.name, self.facts.title if self.facts else ""
        if self.facts is None:
            return
        from kvmrun.host.osinfo.database import host_size

        host = host_size()
        memory = os_size.derived_memory(self.facts, host, now.limits.memory)
        if memory and (sources["memory"] != "defaults.toml" or now.memory < (self.facts.minimum.memory or 0)):
            yield "memory", f"{memory.value}", memory.reason
        if sources["cpus"] != "defaults.toml" and not now.topology:
            cpus = os_size.derived_cpus(self.facts, host)
            yield "cpus", cpus.value, cpus.reason
        if now.firmware == "bios" and now.kind != "microvm" and self.facts.uefi and not self.facts.bios:
            yield "firmware", "uefi", f"{self.facts.name} does not start by BIOS"
        if now.clock == "utc" and self.facts.keeps_local_time:
            yield "clock", "local", f"{self.facts.name} takes it for the local time"

    def on_known_machine(self, now: Guest) -> Guest:
        """The guest with a machine that the system starts on."""
        if self.facts is None or now.kind != "q35" or hardware.starts_on_q35(self.facts):
            return now
        return now.replace(machine=MachineType("pc"))

    def disk_size(self, least: int = 0) -> str | None:
        """The size of a new image, None where osinfo-db tells none, or no more than `least` bytes."""
        wanted = self.facts.storage() if self.facts else None
        return f"{Size(-(-wanted // _GIB) * _GIB)}" if wanted and wanted > least else None

    def drive_keys(self, now: Guest) -> list[Entry]:
        """What a drive has to say so that the system finds a driver for it while it is installed."""
        if self.facts is None or now.kind == "microvm" or hardware.has_drive_driver(self.facts, "virtio"):
            return []
        return [("interface", hardware.drive_interface(self.facts), f"{self.facts.name} has no driver for virtio")]

    def with_known_nic(self, now: Guest, nic: Nic) -> Nic:
        """The NIC as a model that the system has a driver for."""
        if self.facts is None or now.kind == "microvm" or hardware.has_nic_driver(self.facts, nic.model):
            return nic
        return nic.replace(model=hardware.nic_model(self.facts))


def system_of(
    lab: LabHandle, options: NewGuestOptions, pin: PinnedImage | None, default: OsName | None, report: Report
) -> NewGuestOs:
    """The system that is named, else that of the pinned image, else that which the CD-ROM installs, else `default`.

    `options` have the path of the CD-ROM.

    Raises: UsageError for a name that is none, and for one that the osinfo-db of this host does not have.
    """
    from kvmrun.host.osinfo.database import database  # only a new guest needs all of it

    known = database(root=lab.paths.root)
    if options.os:
        return _named(known.facts(name := _parsed(options.os)), name, report)
    if pin is not None and pin.osinfo:
        found = known.facts(OsName(pin.osinfo))
        return NewGuestOs(found.name, found) if isinstance(found, OsFacts) else NewGuestOs()
    if options.cdrom:
        from kvmrun.host.osinfo.detect_media import detect_os

        if detected := detect_os(options.cdrom, known):
            report(Noted(text=f"{printable(options.cdrom, 200)} installs {detected.title}, as osinfo-db says"))
            return NewGuestOs(detected.name, detected)
    if default is None:
        return NewGuestOs()
    found = known.facts(default)
    return NewGuestOs(default, found if isinstance(found, OsFacts) else None)


def os_names(lab: LabHandle, prefix: str = "") -> list[str]:
    """The IDs that begin so of the operating systems that osinfo-db has on this host, none where it is not there."""
    from kvmrun.host.osinfo.database import database  # only who asks for the names needs it

    return database(root=lab.paths.root).names(prefix)


def _named(found: OsFacts | OsMissing, name: OsName, report: Report) -> NewGuestOs:
    """The system that the caller has named. One that nothing is known of here is written down all the same."""
    if isinstance(found, OsFacts):
        return NewGuestOs(name, found)
    if found.why == "unknown":
        raise UsageError(found.reason, found.fix)
    report(Noted(text=f"{found.reason}: os is written, and nothing is chosen for {name}; {found.fix}"))
    return NewGuestOs(name)


def _parsed(word: str) -> OsName:
    try:
        return OsName.parse(word)
    except ValueError as wanted:
        raise UsageError(f"{printable(word, 60)} is no operating system", f"name {wanted}") from None
