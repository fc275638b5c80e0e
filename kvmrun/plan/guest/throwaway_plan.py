"""The files of a throwaway guest: nothing is written to its images, but to temporary images above them.

An image that a start would make is not made: its base, or nothing, is what the temporary image lies on.
"""

from collections.abc import Iterator

from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.plan.guest import image_plan
from kvmrun.plan.host_facts import DiskFacts
from kvmrun.plan.steps.guest_steps import MakeTemporaryImage, OpenFile


def file_steps(guest: Guest, host: DiskFacts) -> Iterator[OpenFile | MakeTemporaryImage]:
    """The files that are opened, all for reading alone, and the temporary images. Raises Refused as a start does."""
    missing = {path for path, file in host.files.items() if file is None}
    files = (file for drive in guest.drive for file in drive.throwaway_files(missing))
    opened = [OpenFile(file=file) for file in dict.fromkeys(files)]
    made = [step for drive in guest.drive for step in _temporary_image(guest, drive, host)]
    image_plan.require_kernel(guest, host)
    yield from opened
    yield from made


def _temporary_image(guest: Guest, drive: Drive, host: DiskFacts) -> Iterator[MakeTemporaryImage]:
    if not drive.image:
        return
    found = host.files.get(drive.image)
    # what only reads an image is not refused because of another guest that does
    made = list(image_plan.drive_steps(guest, drive.replace(readonly=True) if found else drive, host))
    if not drive.is_readonly():
        size = found.size if found else image_plan.made_size(made[0], host)
        yield MakeTemporaryImage(file=drive.temporary(), size=size, directory=host.images)
