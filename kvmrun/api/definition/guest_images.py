"""The images of a guest that is about to be removed: those that kvmrun made for it alone, and the others."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kvmrun.api.definition import definitions
from kvmrun.api.lab import LabHandle
from kvmrun.config import toml_edit
from kvmrun.config.load_lab import path_base
from kvmrun.config.toml_file import Unreadable, parse_toml
from kvmrun.host.files import definition_files, ownership
from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import BaseImage, FilePath


def images_of(lab: LabHandle, name: str) -> tuple[list[str], list[str]]:
    """Existing images that the guest writes to: (made by kvmrun where it keeps images, and used by no other; others).

    Of a guest whose definition has errors the drives are read from its text, whatever else is wrong with it. A file
    that no drive names, and that is called as an image of the guest would be, is one of the others.
    """
    where, guests = lab.paths, lab.definitions.guests
    drives: list[tuple[str, bool]]
    guessed: list[str] = []
    if name in guests:
        drives = [(drive.image, bool(drive.base or drive.size)) for drive in _writable(guests[name].drive)]
    else:
        drives = list(_from_text(where, name))
        guessed = _called_like(where, name, {image for image, _ in drives})
    used = {path for other, path in _named_files(lab) if other != name}
    there = {image: made for image, made in drives if os.path.isfile(image) and image not in used}
    ours = [image for image, made in there.items() if made and os.path.dirname(image) == where.images]
    ours = [
        image for image in ours if not ownership.other_owner(where.state, "image", os.path.basename(image), where.lab)
    ]
    return ours, [*(image for image in there if image not in ours), *(one for one in guessed if one not in used)]


def image_users(lab: LabHandle, image: str) -> list[str]:
    """The guests of the lab whose definition names the image, be it valid or not."""
    return list(dict.fromkeys(name for name, path in _named_files(lab) if path == image))


def _named_files(lab: LabHandle) -> Iterator[tuple[str, str]]:
    """(guest, image) for every image and base that a definition names, of invalid guests by their text."""
    for name, guest in lab.definitions.guests.items():
        yield from ((name, path) for path in _files(guest))
    for name in lab.definitions.invalid:
        yield from ((name, path) for path, _ in _from_text(lab.paths, name))


def _files(guest: Guest) -> Iterable[str]:
    for drive in guest.drive:
        yield from (image.path for image in drive.files())


def _writable(drives: Iterable[Drive]) -> Iterator[Drive]:
    return (drive for drive in drives if not drive.is_readonly())


def _from_text(where: Paths, name: str) -> Iterator[tuple[str, bool]]:
    """(path, whether kvmrun made it) of every image and base that the text of a definition names."""
    base = path_base(where.vms, where.images)
    for table in _tables(definition_files.read(definitions.definition_path(where, name))):
        for key, kind in (("image", FilePath), ("base", BaseImage)):
            try:
                path = kind.parse(table.get(key), base)
            except ValueError:
                continue
            written = table.get("media") != "cdrom" and table.get("readonly") is not True
            yield path, key == "image" and written and bool(table.get("base") or table.get("size"))


def _tables(data: bytes) -> list[Mapping[str, Any]]:
    """The drives in the text; line by line where it is no TOML."""
    try:
        drives = parse_toml(data).get("drive")
        return [one for one in drives if isinstance(one, dict)] if isinstance(drives, list) else []
    except Unreadable:
        found: dict[toml_edit.Section, dict[str, object]] = {}
        for section, key, line in toml_edit.lines(data.decode("utf-8-sig", errors="surrogateescape")):
            if section[0] == "drive" and key:
                found.setdefault(section, {})[key] = toml_edit.value(line)
        return list(found.values())


def _called_like(where: Paths, name: str, known: set[str]) -> list[str]:
    """Files where kvmrun keeps images that are called as those of the guest are: NAME.qcow2, NAME-1.raw."""
    try:
        files = sorted(os.listdir(where.images))
    except OSError:
        return []
    paths = [f"{where.images}/{file}" for file in files if file.partition(".")[0] == name]
    return [path for path in paths if path not in known]
