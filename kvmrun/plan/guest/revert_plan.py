"""Reverting a guest: which of its images are replaced by fresh overlays, and what is refused."""

from kvmrun.errors import Refused
from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.plan.guest import image_plan
from kvmrun.plan.host_facts import DiskFacts
from kvmrun.plan.steps.guest_steps import MakeImage


def fresh_overlays(guest: Guest, host: DiskFacts) -> list[MakeImage]:
    """The overlays that take the places of those there are. One that the next start makes anyway is none of them.

    Raises: Refused for a guest without any, for an image that is not the guest's own, and for a base that a start would
    refuse.
    """
    if not any(map(is_reverted, guest.drive)):
        kept = ", ".join(drive.image for drive in guest.drive if not drive.is_readonly())
        reason = f"none of its drives has a base: {kept}" if kept else "it has no drive with a base"
        raise Refused(
            f"{guest.name} cannot be reverted", "kvmrun new NEW --base FILE defines a guest with one", reason=reason
        )
    drives = [drive for drive in guest.drive if is_reverted(drive) and host.files.get(drive.image) is not None]
    return [_fresh_overlay(guest, drive, host) for drive in drives]


def is_reverted(drive: Drive) -> bool:
    """Whether the drive has an overlay that the guest writes to."""
    return bool(drive.base) and not drive.is_readonly()


def _fresh_overlay(guest: Guest, drive: Drive, host: DiskFacts) -> MakeImage:
    found = image_plan.usable(guest, drive.image, host, writing=True)
    image_plan.require_declared(guest, drive, found)
    if found.kind != "file":
        reason = "it is a block device, which is not replaced by a file"
        raise Refused(
            f"{drive.image} cannot be reverted", "qemu-img create writes another overlay to it", reason=reason
        )
    [step] = image_plan.drive_steps(guest, drive, host.replace(files={**host.files, drive.image: None}))
    return step
