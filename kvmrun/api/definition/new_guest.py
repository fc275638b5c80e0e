"""Writing the definition of a new guest, with comments, once it is known to be valid."""

import os
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from kvmrun.api.definition import definitions, drives
from kvmrun.api.definition.copied_text import copied_text
from kvmrun.api.definition.definition_options import NewGuestOptions
from kvmrun.api.definition.new_guest_os import NewGuestOs, system_of
from kvmrun.api.image.image_lab import ImageLab
from kvmrun.api.image.pull_image import PulledImage, PullOptions, pull_image
from kvmrun.api.image.resolve_image import is_source
from kvmrun.api.lab import LabHandle, guest_or_error
from kvmrun.api.report import Report, discard
from kvmrun.config import definition_template, toml_edit
from kvmrun.config.toml_writer import Entry
from kvmrun.errors import ConfigError, UsageError
from kvmrun.host.facts import guest_facts
from kvmrun.host.files import definition_files, known_hosts
from kvmrun.host.firmware import machine_pin
from kvmrun.model import derive
from kvmrun.model.firmware.boot import Boot
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.nic import Nic
from kvmrun.model.image.catalogue_entry import is_entry_name
from kvmrun.model.lab import Lab, nic_names

_KINDS = ("image", "base", "cdrom", "copy")


def new_guest(lab: LabHandle, name: str, options: NewGuestOptions, report: Report = discard) -> str:
    """Write the definition of a new guest; the path of the file.

    Raises: UsageError for a name or options that make no sense, Refused for a name or an image that there is,
    NotPermitted, NoSuchGuest for what is to be copied, ConfigError where the guest would not be valid, and what
    `pull_image` raises for an image that is to be had from elsewhere.
    """
    if len([kind for kind in _KINDS if getattr(options, kind)]) > 1:
        raise UsageError("--image, --base, --cdrom and --copy exclude each other", f"kvmrun new {name} --base FILE")
    lab = LabHandle(lab.paths)  # whose definitions are read anew
    name = definitions.parse_new_name(name, lab.definitions)
    definitions.require_writable(lab.paths)
    if options.copy:
        text = _copy_text(lab, name, options.copy)
    elif pulled := _pulled(lab, name, options, report):
        text = _image_text(lab, name, options, pulled, report)
    else:
        text = _new_text(lab, name, options, report)
    text = with_free_addresses(lab, name, _sized(text, options.sizes()))
    _, errors = definitions.errors_added_by(lab, _draft(name, text))
    definitions.raise_config_error(f"{name} would not be valid", "nothing was written; correct that first", errors)
    path = definitions.definition_path(lab.paths, name)
    definition_files.create(path, text.encode(errors="surrogateescape"))
    known_hosts.forget(lab.paths, name)  # of an earlier guest whose file was removed by hand
    return path


def _draft(name: str, text: str) -> dict[str, bytes]:
    return {f"{name}.toml": text.encode(errors="surrogateescape")}


def _new_text(lab: LabHandle, name: str, options: NewGuestOptions, report: Report) -> str:
    """The text of a guest with nothing but what was asked for; the rest in comments."""
    after = _defaults_applied(lab, name)
    now = after.guests[name]
    known = options.replace(cdrom=drives.path_of_file(lab.paths, options.cdrom)) if options.cdrom else options
    system = system_of(lab, known, None, now.os, report)
    now = system.on_known_machine(now)
    asked = drives.drives_from_options(lab, now, options, system)
    keys = [*_hardware_keys(now, after.guests[name]), *system.keys(now, after.sources[name])]
    keys = _added(keys, drives.keys_for_drives(now, options) if asked else ())
    if any(key == "unset" for key, _, _ in keys):
        now = now.replace(boot=Boot())
    nics = _keys_of_nics(now, system)
    return definition_template.definition_text(now, lab.paths.images, keys=keys, drives=asked, nics=nics)


def _added(keys: list[Entry], more: Iterable[Entry]) -> list[Entry]:
    """The keys, and those of `more` that nothing is said of yet: what the system needs counts before what is usual."""
    known = {key for key, _, _ in keys}
    return [*keys, *(one for one in more if one[0] not in known)]


def _pulled(lab: LabHandle, name: str, options: NewGuestOptions, report: Report) -> PulledImage | None:
    """The image that is to be the base, which is got now; None where a file, or none, was named."""
    word = options.image or ""
    is_file = os.path.exists(word) or os.path.exists(f"{lab.paths.images}/{word}")
    if is_file or not (is_source(word) or (is_entry_name(word) and word in ImageLab(lab).catalogue())):
        return None
    drives.require_new_image(lab, name, f"{name}.qcow2")
    return pull_image(lab, word, PullOptions(unverified=options.unverified), report)


def _image_text(lab: LabHandle, name: str, options: NewGuestOptions, pulled: PulledImage, report: Report) -> str:
    """The text of a guest whose system is that image."""
    after = _defaults_applied(lab, name)
    now = after.guests[name]
    system = system_of(lab, options, pulled.pin, now.os, report)
    asked = drives.drives_over_image(now, pulled, options, system)
    keys = [*_hardware_keys(now, now), *system.keys(now, after.sources[name])]
    keys = _added(keys, drives.keys_for_image(now, pulled))
    now = now.replace(boot=Boot()) if now.boot.kernel else now
    text = definition_template.definition_text(
        now, lab.paths.images, keys=keys, drives=asked, nics=_keys_of_nics(now, system)
    )
    text = drives.with_image_kernel(text, pulled)
    if not pulled.pin.user or pulled.pin.seed == "none":
        return text
    built = pulled.pin.verified == "archive"  # here, with the agent; most publishers leave it out
    return f"{text}\n{definition_template.seed_text(f'{pulled.pin.user}', pulled.pin.seed, has_agent=built)}"


def _hardware_keys(now: Guest, default: Guest) -> list[Entry]:
    """The version that its machine has today, so that the guest is the same with another QEMU, and devices that only
    new guests get, because those that are there would find other hardware.

    `default` is the guest that the defaults make.
    """
    newest = machine_pin.newest_version(guest_facts.qemu_facts(), now.machine)
    told = newest != default.machine
    keys: list[Entry] = [("machine", f"{newest}", "stays the same with a newer QEMU")] if told else []
    if not now.free_page_reporting:
        keys.append(("free_page_reporting", True, "memory that the guest does not use is the host's again"))
    return keys


def _sized(text: str, values: Mapping[str, object]) -> str:
    """The text with these keys in the place of those that it has, or shows in comments."""
    lines = [
        line for line in text.splitlines(keepends=True) if line.split(" =")[0] not in {f"# {key}" for key in values}
    ]
    given = (*values, *(["topology"] if "cpus" in values else []))  # which says the same
    plain = toml_edit.drop_keys("".join(lines), *(("", key) for key in given))
    return toml_edit.insert_keys(plain, toml_edit.TOP, values) if values else text


def _defaults_applied(lab: LabHandle, name: str) -> Lab:
    """The lab with the guest that an empty file makes of its defaults, on its first network where they name none."""
    network = next(iter(lab.definitions.networks), "")
    for text in ("", f'[[nic]]\nnetwork = "{network}"\n' if network else "nic = []\n"):
        after, errors = definitions.errors_added_by(lab, _draft(name, text))
        if name in after.guests:
            return after
    lines = tuple(f"{one}" for one in (*lab.definitions.problems, *errors) if not one.warning)
    raise ConfigError("the lab's own files are not valid", "kvmrun edit defaults, or kvmrun edit networks", lines=lines)


def _keys_of_nics(now: Guest, system: NewGuestOs) -> list[dict[str, object]]:
    """What each NIC says of itself that is not the default, and its network; the model is one that the system knows."""
    known = [system.with_known_nic(now, nic) for nic in now.nic]
    told = [{key: value for key, value in nic.as_dict().items() if value != Nic.DEFAULTS[key]} for nic in known]
    return [{"network": nic.network} | keys for nic, keys in zip(known, told, strict=True)]


def _copy_text(lab: LabHandle, name: str, other: str) -> str:
    """The text of another guest, less what is its alone; its images are made by the first start."""
    guest = guest_or_error(lab.definitions, other)
    written = [number for number, drive in enumerate(guest.drive) if not drive.is_readonly()]
    images = {number: drives.copy_image_name(lab.paths, guest, number, name) for number in written}
    for image in images.values():
        drives.require_new_image(lab, name, image)
    return copied_text(lab, guest, name, images)


def with_free_addresses(lab: LabHandle, name: str, text: str) -> str:
    """The text with an address for each NIC whose own is taken, or that would take one from a guest there is."""
    after, _ = definitions.errors_added_by(lab, _draft(name, text))
    if name not in after.guests:
        return text
    for number, address in _address_conflicts(lab.definitions, after, name):
        text = toml_edit.insert_keys(text, ("nic", number), {"address": address})
    return text


def _address_conflicts(before: Lab, after: Lab, name: str) -> Iterator[tuple[int, str]]:
    taken = {(port.network, port.address) for ports in before.ports().values() for port in ports}
    for number, (nic, key) in enumerate(zip(after.guests[name].nic, nic_names(after.guests[name].nic), strict=True)):
        network = after.networks[nic.network]
        if nic.address or network.external:
            continue
        wanted = list[IPv4Address]()
        for one in network.candidates(derive.address_offset(after.seed, name, key)):
            wanted.append(one)
            if (network.name, str(one)) not in taken:
                break
        taken.add((network.name, str(wanted[-1])))
        if len(wanted) > 1:
            yield number, str(wanted[-1])
