"""A definition for a new guest, commented, and valid before anybody sees it."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from kvmrun.api.definition import definitions, drives
from kvmrun.api.definition.definition_options import NewGuestOptions
from kvmrun.api.lab import LabHandle, guest_or_error, read_definitions
from kvmrun.config import definition_template, toml_edit
from kvmrun.errors import ConfigError, UsageError
from kvmrun.host.files import definition_files, known_hosts
from kvmrun.model import derive
from kvmrun.model.guest.guest import Boot, Guest
from kvmrun.model.guest.nic import Nic
from kvmrun.model.guest.paths import Paths
from kvmrun.model.lab import Lab, nic_names

_KINDS = ("image", "base", "cdrom", "copy")


def new_guest(lab: LabHandle, name: str, options: NewGuestOptions) -> str:
    """Write the definition of a guest that there is not yet; its path.

    Raises: UsageError for a name or options that make no sense, Refused for a name or an image that there is,
    NotPermitted, NoSuchGuest for what is to be copied, ConfigError where the guest would not be valid.
    """
    where = lab.paths
    if len([kind for kind in _KINDS if getattr(options, kind)]) > 1:
        raise UsageError("--image, --base, --cdrom and --copy exclude each other", f"kvmrun new {name} --base FILE")
    before = read_definitions(where)
    name = definitions.parse_new_name(name, before)
    definitions.require_writable(where)
    text = _copy_text(before, where, name, options.copy) if options.copy else _new_text(before, where, name, options)
    text = _with_free_addresses(before, where, name, _sized(text, options.sizes()))
    _, errors = definitions.errors_added_by(where, before, _draft(name, text))
    definitions.raise_config_error(f"{name} would not be valid", "nothing was written; correct that first", errors)
    path = definitions.definition_path(where, name)
    definition_files.create(path, text.encode(errors="surrogateescape"))
    known_hosts.forget(where, name)  # of an earlier guest whose file was removed by hand
    return path


def _draft(name: str, text: str) -> dict[str, bytes]:
    return {f"{name}.toml": text.encode(errors="surrogateescape")}


def _new_text(before: Lab, where: Paths, name: str, options: NewGuestOptions) -> str:
    """The text of a guest with nothing but what was asked for; the rest in comments."""
    now, nics = _defaults_applied(before, where, name)
    asked = drives.drives_from_options(before, where, now, options)
    keys = drives.keys_for_drives(now, options) if asked else []
    if any(key == "unset" for key, _, _ in keys):
        now = now.replace(boot=Boot())
    return definition_template.definition_text(
        now, where.images, keys=keys, drives=asked, nics=[_explicit_nic_keys(nic) for nic in nics]
    )


def _sized(text: str, values: Mapping[str, object]) -> str:
    """The text with these keys in the place of those that it has, or shows in comments."""
    lines = [
        line for line in text.splitlines(keepends=True) if line.split(" =")[0] not in {f"# {key}" for key in values}
    ]
    plain = toml_edit.drop_keys("".join(lines), *(("", key) for key in values))
    return toml_edit.insert_keys(plain, toml_edit.TOP, values) if values else text


def _defaults_applied(before: Lab, where: Paths, name: str) -> tuple[Guest, tuple[Nic, ...]]:
    """The guest that an empty file makes of the lab's defaults; on the first network where they name none there is."""
    network = next(iter(before.networks), "")
    for text in ("", f'[[nic]]\nnetwork = "{network}"\n' if network else "nic = []\n"):
        lab, errors = definitions.errors_added_by(where, before, _draft(name, text))
        if name in lab.guests:
            return lab.guests[name], lab.guests[name].nic
    lines = tuple(f"{one}" for one in (*before.problems, *errors) if not one.warning)
    raise ConfigError("the lab's own files are not valid", "kvmrun edit defaults, or kvmrun edit networks", lines=lines)


def _explicit_nic_keys(nic: Nic) -> dict[str, object]:
    """What a card says of itself that is not the default, and its network."""
    told = {key: value for key, value in nic.as_dict().items() if value != Nic.DEFAULTS[key]}
    return {"network": nic.network} | told


def _copy_text(before: Lab, where: Paths, name: str, other: str) -> str:
    """The text of another guest, less what is its alone; refused where it is not the same guest then."""
    guest = guest_or_error(before, other)
    text = definition_files.read(definitions.definition_path(where, other)).decode()
    text = toml_edit.drop_keys(text, ("", "uuid"), ("nic", "mac"), ("nic", "address"))
    for number, drive in enumerate(guest.drive):
        if not drive.is_readonly():
            image = drives.copy_image_name(where, guest, number, name)
            drives.require_new_image(before, where, name, image)
            text = toml_edit.replace_text(text, ("drive", number), "image", image)
    lab, errors = definitions.errors_added_by(where, before, _draft(name, text))
    copy = lab.guests.get(name)
    if copy is None or _comparable(copy) != _comparable(guest).replace(name=copy.name):
        lines = tuple(f"{one}" for one in errors)
        raise ConfigError(
            f"{other} is written in a way that kvmrun cannot copy", f"copy {other}.toml by hand", lines=lines
        )
    return text


def _comparable(guest: Guest) -> Guest:
    """The guest less what a copy of it does not share."""
    return guest.replace(
        uuid=None,
        drive=tuple(drive if drive.is_readonly() else drive.replace(image="") for drive in guest.drive),
        nic=tuple(nic.replace(mac=None, address=None) for nic in guest.nic),
    )


def _with_free_addresses(before: Lab, where: Paths, name: str, text: str) -> str:
    """The text with an address for each card whose own is taken, or that would take one from a guest there is."""
    lab, _ = definitions.errors_added_by(where, before, _draft(name, text))
    if name not in lab.guests:
        return text
    for number, address in _address_conflicts(before, lab, name):
        text = toml_edit.insert_keys(text, ("nic", number), {"address": address})
    return text


def _address_conflicts(before: Lab, after: Lab, name: str) -> Iterator[tuple[int, str]]:
    taken = {(port.network, port.address) for ports in before.ports().values() for port in ports}
    for number, (nic, key) in enumerate(zip(after.guests[name].nic, nic_names(after.guests[name].nic), strict=True)):
        network = after.networks[nic.network]
        if nic.address or network.external:
            continue
        wanted = list[IPv4Address]()
        for one in network.candidates(derive.number(after.seed, name, key)):
            wanted.append(one)
            if (network.name, str(one)) not in taken:
                break
        taken.add((network.name, str(wanted[-1])))
        if len(wanted) > 1:
            yield number, str(wanted[-1])
