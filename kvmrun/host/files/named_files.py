"""The files that the definition of a guest names: what they are, and which do not exist."""

import os
import stat
from contextlib import suppress

from kvmrun.errors import KvmrunError
from kvmrun.host.disk import image_aio
from kvmrun.model.guest.drive import FileUse
from kvmrun.model.guest.guest import Guest
from kvmrun.plan.host_facts import ImageFacts


def guest_image_facts(guest: Guest, store: str) -> dict[str, ImageFacts | None]:
    """The guest's images, as far as they are there and can be read; `store` is the directory of verified ones."""
    from kvmrun.host.disk import image_files

    found: dict[str, ImageFacts | None] = {}
    for drive in guest.drive:
        for path, kind in ((drive.image, drive.image_format()), (drive.base, drive.chain_format())):
            with suppress(KvmrunError):
                found[path or ""] = image_files.image_facts(path, kind) if path else None
        if drive.base:
            image_files.mark_changed_base(found, drive.image, drive.base, store)
    return found


def missing_files(guest: Guest) -> dict[str, tuple[str, ...]]:
    """The files of the guest's definition that do not exist, each with the names in its directory.

    A file that cannot be looked at, for lack of rights or while its file system is absent, is not one of them.
    """
    named = {image.path for drive in guest.drive for image in drive.files()}
    named |= {str(path) for path in (guest.boot.kernel, guest.boot.initrd) if path}
    return {path: names_beside(path) for path in sorted(named) if _is_missing(path)}


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def names_beside(path: str) -> tuple[str, ...]:
    """Names in the directory of that path, for somebody who has mistyped one of them."""
    try:
        return tuple(sorted(os.listdir(os.path.dirname(path)))[:1000])
    except OSError:
        return ()


def file_use(guest: Guest, qemu: str) -> FileUse:
    """How a start would use the files of the guest's drives."""
    files = [file.path for drive in guest.drive for file in drive.files()]
    return FileUse(
        devices={path for path in files if stat.S_ISBLK(_mode(path))},
        missing=missing_files(guest) if guest.throwaway else (),
        aio=[way for way, lack in image_aio.aio_facts(guest, qemu).items() if not lack],
    )


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0
