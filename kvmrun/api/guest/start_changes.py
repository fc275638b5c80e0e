"""What the options of a start say in place of the definitions, for this one start."""

from collections.abc import Collection

from kvmrun.api.options import StartOptions
from kvmrun.errors import Refused
from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import FilePath


def with_start_options(lab: Lab, where: Paths, names: Collection[str], options: StartOptions) -> Lab:
    """The lab with the options applied to the guests that are started.

    Raises: UsageError for a CD-ROM that is not there; Refused for one that a guest cannot boot.
    """
    changes: dict[str, object] = {"accel": options.accel} if options.accel else {}
    changes |= {"throwaway": True} if options.throwaway else {}
    if not (changes or options.cdrom):
        return lab
    guests = {name: guest.replace(**changes) for name, guest in lab.guests.items()}
    if options.cdrom:
        from kvmrun.api.definition.drives import path_of_file  # loads what makes and downloads images

        path = path_of_file(where, options.cdrom)
        guests |= {name: _with_cdrom(guests[name], path) for name in names if name in guests}
    return lab.replace(guests=guests)


def _with_cdrom(guest: Guest, path: str) -> Guest:
    """The guest with that medium in its first CD-ROM drive, or in one of its own, which it boots before all else."""
    if guest.kind == "microvm":
        fix = 'choose machine = "q35"'
        raise Refused(f"{guest.name} cannot boot a CD-ROM", fix, reason="the firmware of microvm boots a kernel alone")
    drives = list(guest.drive)
    number = next((number for number, drive in enumerate(drives) if drive.media == "cdrom"), len(drives))
    # a drive of its own is one that installers and rescue systems have a driver for
    before = drives[number] if number < len(drives) else Drive(media="cdrom", interface="ide")
    drives[number:] = [before.emptied().with_medium(FilePath(path)), *drives[number + 1 :]]
    changed = guest.replace(drive=tuple(drives), boot=guest.boot.cdrom_first())
    for _, _, wanted in changed.problems():
        raise Refused(f"{guest.name} has no room for a CD-ROM", 'media = "cdrom" in a [[drive]]', reason=wanted)
    return changed
