"""The size of a drive: which drive is meant, and what is refused before it grows."""

import os

from kvmrun.errors import Refused, UsageError
from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.printable import printable
from kvmrun.model.scalars import Size
from kvmrun.plan.guest import image_plan
from kvmrun.plan.host_facts import DiskFacts, ImageFacts


def parse_size(word: str) -> Size:
    """The size that a person typed. Raises UsageError."""
    try:
        return Size.parse(word)
    except ValueError as wanted:
        raise UsageError(f"{printable(word, 60)} is not a size", f"name {wanted}") from None


def chosen_drive(guest: Guest, word: str | None) -> int:
    """The number of the drive that is meant: by its number, or by the name of its image; or the only one.

    Raises: UsageError for a word that means none, and where several could be meant; Refused for one that is read alone.
    """
    written = [number for number, drive in enumerate(guest.drive) if not drive.is_readonly()]
    if word is None:
        if len(written) == 1:
            return written[0]
        fix = " or ".join(f"{guest.name}:{number} ({_file(guest.drive[number])})" for number in written)
        what = "has several drives" if written else "has no drive that it writes to"
        raise UsageError(f"{guest.name} {what}", fix and f"name one: {fix}")
    found = [number for number, drive in enumerate(guest.drive) if word in {f"{number}", _file(drive)}]
    if len(found) != 1:
        fix = "its drives are " + ", ".join(f"{number} ({_file(drive)})" for number, drive in enumerate(guest.drive))
        raise UsageError(f"{guest.name} has no drive {printable(word, 60)}", fix if guest.drive else "")
    if found[0] not in written:
        raise Refused(f"drive {found[0]} of {guest.name} is read-only", "resize its image by qemu-img")
    return found[0]


def size_now(guest: Guest, drive: Drive, size: Size, host: DiskFacts) -> int | None:
    """The size of an image whose guest does not run; None for one that the first start makes, which may have `size`.

    Raises: Refused for an image that is not the guest's to write to, or that is not a file.
    """
    found = host.files.get(drive.image)
    if found is None:
        list(image_plan.drive_steps(guest, drive.replace(size=size) if drive.size else drive, host))
        return None
    image_plan.usable(guest, drive.image, host, writing=True)
    image_plan.require_declared(guest, drive, found)
    require_file(drive, found.kind)
    for _, error in image_plan.unfit_reason(guest, drive, host.files):
        raise error
    return found.size


def require_file(drive: Drive, kind: str) -> None:
    """Raises Refused for a block device."""
    if kind != "file":
        reason = "it is a block device, which has the size that the host gave it"
        raise Refused(f"{drive.image} cannot be resized", "lvextend, or what made the device", reason=reason)


def require_growth(drive: Drive, size: int, now: int | None, base: ImageFacts | None) -> None:
    """Raises Refused for a size that would cut something off."""
    if now is not None and size < now:
        fix = f"name {Size(now)} or more; a smaller image is a new one, to which the guest copies"
        reason = "what is behind its new end would be lost, with the file systems there"
        raise Refused(f"{drive.image} has {Size(now)}, and is never made smaller", fix, reason=reason)
    if base is not None and size < base.size:
        reason = f"it would hide the end of its base {drive.base}"
        raise Refused(f"{drive.image} cannot have {Size(size)}", f"name {Size(base.size)} or more", reason=reason)


def _file(drive: Drive) -> str:
    return os.path.basename(drive.image) or "empty"
