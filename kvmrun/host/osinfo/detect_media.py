"""Which operating system an ISO image installs, by its volume descriptor and the descriptions of media in osinfo-db."""

from contextlib import suppress

from kvmrun.host.osinfo.database import OsDatabase
from kvmrun.host.osinfo.iso_volume import read_volume
from kvmrun.host.osinfo.os_file import OsEntry
from kvmrun.model.image.version_order import version_key
from kvmrun.model.osinfo.os_facts import OsFacts


def detect_os(path: str, database: OsDatabase) -> OsFacts | None:
    """The operating system whose description the image is most like, None where it is like none.

    Every file of the database is read. Of several that are equally like it, it is the newest.
    """
    volume = read_volume(path)
    if volume is None or not volume.volume:
        return None
    found: list[tuple[int, OsEntry]] = []
    for file in database.files():
        with suppress(ValueError):  # a damaged file costs what it described
            if entry := database.read(file):
                found += [(one.likeness(volume), entry) for one in entry.media]
    likeness, best = max(found, key=_rank, default=(0, None))
    return database.facts_of(best) if best and likeness else None


def _rank(found: tuple[int, OsEntry]) -> tuple[int, bool, list[tuple[int, int, str]]]:
    likeness, entry = found
    return likeness, not entry.names[0].endswith("-unknown"), version_key(entry.names[0])
