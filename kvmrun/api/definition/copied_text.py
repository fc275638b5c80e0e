"""The definition of a guest as the text for another one: what only one of the two can have is left out."""

from collections.abc import Collection, Mapping

from kvmrun.api.definition import definitions
from kvmrun.api.lab import LabHandle
from kvmrun.config import toml_edit
from kvmrun.errors import ConfigError
from kvmrun.host.files import definition_files
from kvmrun.model.guest.guest import Guest
from kvmrun.model.scalars import Display


def copied_text(
    lab: LabHandle, guest: Guest, name: str, images: Mapping[int, str], *, whole: Collection[int] = ()
) -> str:
    """The text of `guest` for one called `name`, with other images for the drives of these numbers.

    Those of `whole` have no base any more. Raises ConfigError where the text does not mean the same guest then.
    """
    text = definition_files.read(definitions.definition_path(lab.paths, guest.name)).decode()
    text = toml_edit.drop_keys(text, ("", "uuid"), ("nic", "mac"), ("nic", "address"))
    if guest.display.port:
        text = toml_edit.replace_text(text, toml_edit.TOP, "display", "vnc")
    for number, image in images.items():
        text = toml_edit.replace_text(text, ("drive", number), "image", image)
    for number in whole:
        text = toml_edit.drop_section_keys(text, ("drive", number), "base", "base_format")
    after, errors = definitions.errors_added_by(lab, {f"{name}.toml": text.encode()})
    copy = after.guests.get(name)
    if copy is None or _comparable(copy, whole) != _comparable(guest, whole).replace(name=copy.name):
        lines = tuple(f"{one}" for one in errors)
        fix = f"copy {guest.name}.toml by hand"
        raise ConfigError(f"{guest.name} is written in a way that kvmrun cannot copy", fix, lines=lines)
    return text


def changes_of_copy(guest: Guest) -> list[str]:
    """What of a guest's definition its copy does not have, as sentences."""
    found = [f"uuid = {guest.uuid} is not copied"] if guest.uuid else []
    for number, nic in enumerate(guest.nic):
        given = {"mac": nic.mac, "address": nic.address}
        found += [f"{key} = {value} of nic[{number}] is not copied" for key, value in given.items() if value]
    if guest.display.port:
        found.append(f"display = {guest.display} is vnc in the copy: a port can have one guest alone")
    return found


def _comparable(guest: Guest, whole: Collection[int]) -> Guest:
    """The guest without the values that a copy does not share."""
    drives = []
    for number, drive in enumerate(guest.drive):
        changes: dict[str, object] = {} if drive.is_readonly() else {"image": ""}
        changes |= {"base": None, "base_format": None} if number in whole else {}
        drives.append(drive.replace(format=drive.image_format() or None, **changes))
    return guest.replace(
        uuid=None,
        display=Display("vnc") if guest.display.port else guest.display,
        drive=tuple(drives),
        nic=tuple(nic.replace(mac=None, address=None) for nic in guest.nic),
    )
