"""Cloning a guest: what becomes of each drive, and what is refused."""

from typing import Literal

from kvmrun.errors import Refused
from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.value import Value
from kvmrun.plan.guest import image_plan
from kvmrun.plan.host_facts import DiskFacts

Way = Literal["shared", "made", "copied", "whole"]


class DriveCopy(Value):
    """What the clone has in the place of a drive: the same file, a new one that its first start makes, a copy of the
    image, or one image of all that the guest sees, of `size` bytes.
    """

    drive: Drive
    way: Way
    size: int


def drive_copies(guest: Guest, host: DiskFacts, *, full: bool) -> list[DriveCopy]:
    """One for each drive. Raises Refused for a drive that cannot be cloned, or only with `full`."""
    return [_drive_copy(guest, drive, host, full=full) for drive in guest.drive]


def _drive_copy(guest: Guest, drive: Drive, host: DiskFacts, *, full: bool) -> DriveCopy:
    if drive.is_readonly():
        return DriveCopy(drive=drive, way="shared", size=0)
    found = host.files.get(drive.image)
    if found is None:
        [made] = image_plan.drive_steps(guest, drive, host)
        size = image_plan.made_size(made, host)
        return DriveCopy(drive=drive, way="whole" if full and drive.base else "made", size=size)
    list(image_plan.drive_steps(guest, drive.replace(readonly=True), host))
    if found.kind != "file":
        reason = "it is a block device, which two guests cannot share"
        raise Refused(f"{guest.name} cannot be cloned: {drive.image}", "kvmrun new NEW --image FILE", reason=reason)
    if not (drive.base or full):
        fix = "kvmrun clone --full copies it"
        raise Refused(f"{guest.name} cannot be cloned: {drive.image} has no base", fix, reason=_REASON)
    return DriveCopy(drive=drive, way="whole" if drive.base and full else "copied", size=found.size)


_REASON = "only what a guest wrote over a base is copied without --full"
