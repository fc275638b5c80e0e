"""The drives of a guest that is about to be defined."""

import os

from kvmrun.api.definition import guest_images
from kvmrun.api.definition.definition_options import NewGuestOptions
from kvmrun.api.definition.new_guest_os import NewGuestOs
from kvmrun.api.image.pull_image import PulledImage
from kvmrun.api.lab import LabHandle
from kvmrun.config.standard_paths import make_absolute, untrusted_fix
from kvmrun.config.toml_writer import Entry, format_entry
from kvmrun.errors import Refused, UsageError
from kvmrun.host.disk import image_files
from kvmrun.model.guest.guest import Guest
from kvmrun.model.paths import Paths
from kvmrun.model.printable import quoted
from kvmrun.model.scalars import Size
from kvmrun.plan.guest.image_plan import copy_to_images, exchangeable_reason

_SIZE = "20G"
"""The size of a new image where nothing tells another."""
_SYSTEM = Size(1 << 30)
"""The least memory that a whole system is given."""


def drives_from_options(lab: LabHandle, now: Guest, options: NewGuestOptions, system: NewGuestOs) -> list[list[Entry]]:
    """The drives that are asked for, each a list of keys; `now` is the guest without them, `system` what
    it is to run.

    Raises: UsageError for a base that cannot be one; Refused for an image that there is.
    """
    where = lab.paths
    if options.image:
        return [[("image", _file(where, options.image), ""), *_format("format", options)]]
    if not (options.base or options.cdrom or options.size):
        return []
    if options.base and _is_disc(path_of_file(where, options.base)):
        raise UsageError(
            f"{options.base} cannot be a base",
            f"kvmrun new {now.name} --cdrom {quoted(options.base)}",
            reason="it is the image of a CD-ROM, which has no disk to write over",
        )
    require_new_image(lab, now.name, f"{now.name}.qcow2")
    drive: list[Entry] = [("image", f"{now.name}.qcow2", "created by the first start")]
    if options.base:
        drive += [("base", _file(where, options.base), "stays unchanged"), *_format("base_format", options)]
    if options.size or not options.base:
        drive.append(("size", options.size or system.disk_size() or _SIZE, ""))
    drive += [] if options.base else system.drive_keys(now)
    cdrom: list[Entry] = [
        ("image", _file(where, options.cdrom or ""), ""),
        *_format("format", options),
        ("media", "cdrom", "remove this table when the installation is done"),
    ]
    if now.kind == "q35":
        cdrom.append(("interface", "ide", "installers have a driver for it; kernels of cloud images do not"))
    return [drive, cdrom] if options.cdrom else [drive]


def keys_for_drives(now: Guest, options: NewGuestOptions) -> list[Entry]:
    """What a guest that boots from those drives needs beyond `now`, the guest that the defaults make."""
    found: list[Entry] = []
    if now.boot.kernel:
        found.append(("unset", ["boot"], "without the kernel of defaults.toml it boots from its drives"))
    least = Size(1 << 30) if options.cdrom else Size(512 << 20)
    if now.memory < least:
        found.append(("memory", str(least), ""))
    if options.cdrom and now.display == "none" and now.kind != "microvm":
        told = f'kvmrun view {now.name} shows it; "none": a text installer on kvmrun console {now.name}'
        found.append(("display", "vnc", told))
    return found


def drives_over_image(
    now: Guest, pulled: PulledImage, options: NewGuestOptions, system: NewGuestOs
) -> list[list[Entry]]:
    """The drive of a guest whose system comes from a pinned image, as large as the system is to have it."""
    base = image_files.image_facts(pulled.path, "qcow2")
    size = options.size or system.disk_size(base.size if base else 0)
    drive: list[Entry] = [("image", f"{now.name}.qcow2", "created by the first start")]
    drive.append(("base", pulled.name, "pinned in images.toml; stays unchanged"))
    return [drive + ([("size", size, "")] if size else [])]


def keys_for_image(now: Guest, pulled: PulledImage) -> list[Entry]:
    """What a guest of a pinned image needs beyond `now`, the guest that the defaults make."""
    found: list[Entry] = []
    if now.boot.kernel and not pulled.pin.kernel:
        found.append(("unset", ["boot"], "without the kernel of defaults.toml it boots from its drive"))
    if now.memory < _SYSTEM:
        found.append(("memory", f"{_SYSTEM}", ""))
    if pulled.pin.firmware == "uefi" != now.firmware:
        found.append(("firmware", pulled.pin.firmware, "that the image boots with"))
    if pulled.pin.user:
        found.append(("ssh_user", f"{pulled.pin.user}", "the account that the image has"))
    return found


def with_image_kernel(text: str, pulled: PulledImage) -> str:
    """The text with the kernel of an image that has no boot loader."""
    if not pulled.pin.kernel:
        return text
    stem = pulled.path.removesuffix(".qcow2")
    entries = (("kernel", f"{stem}.vmlinuz", ""), ("initrd", f"{stem}.initrd", ""))
    lines = [*map(format_entry, entries), format_entry(("cmdline", "root=LABEL=root rw console=ttyS0", ""))]
    kept = [
        line for line in text.splitlines(keepends=True) if not line.startswith(("# [boot]", "# order =", "# kernel"))
    ]
    return f"{''.join(kept)}\n[boot]\n{''.join(lines)}"


def copy_image_name(where: Paths, guest: Guest, number: int, name: str) -> str:
    """The image that a copy called `name` is to have in the place of one of `guest`'s, which its first start makes.

    Raises: Refused for an image that only this guest can have.
    """
    drive = guest.drive[number]
    if not (drive.base or drive.size):
        fix = f"kvmrun clone {guest.name} {name} --full copies it"
        reason = "it has neither base nor size to make another from"
        raise Refused(f"{guest.name} cannot be copied: its image {drive.image} is its own", fix, reason=reason)
    return image_name_of_copy(where, guest, number, name)


def image_name_of_copy(where: Paths, guest: Guest, number: int, name: str) -> str:
    """What the image of a copy called `name` is called, as its definition names it."""
    drive = guest.drive[number]
    directory, file = os.path.split(drive.image)
    new = file.replace(guest.name, name) if guest.name in file else f"{name}-{number}.{drive.image_format()}"
    return new if directory == where.images else f"{directory}/{new}"


def _is_disc(path: str) -> bool:
    """Whether a file is called an ISO, and has the volume descriptor of ISO 9660."""
    try:
        with open(path, "rb") as file:
            head = file.read(0x8006)
    except OSError:
        return False
    return head[0x8001:] == b"CD001" and path.lower().endswith(".iso")


def path_of_file(where: Paths, word: str) -> str:
    """The path of a file that is there, which a person named as on the command line, or as an image of ours.

    Raises: UsageError where there is none; Refused for root where another user could put another file there.
    """
    file = _file(where, word)
    return file if os.path.isabs(file) else f"{where.images}/{file}"


def _file(where: Paths, word: str) -> str:
    """A file that is there, as a definition names it: an image of ours by its name, any other by its path."""
    path = make_absolute(word)
    ours = os.path.dirname(path) == where.images
    if os.path.exists(path):
        if where.root and (fault := untrusted_fix(path, os.environ)):
            fix = copy_to_images(path, where.images)
            raise Refused(f"a guest cannot use {path}", fix, reason=exchangeable_reason(fault))
        return os.path.basename(path) if ours else path
    if "/" not in word and os.path.exists(f"{where.images}/{word}"):
        return word
    fix = f"name one, or put it into {where.images}; kvmrun image list --all shows images of systems"
    raise UsageError(f"there is no file {word}", fix)


def require_new_image(lab: LabHandle, name: str, image: str) -> None:
    """Raises Refused where the image that is to be made for `name` exists, and says whose it is."""
    path = image if "/" in image else f"{lab.paths.images}/{image}"
    if not os.path.lexists(path):
        return
    if names := ", ".join(guest_images.image_users(lab, path)):
        raise Refused(f"the image {path} exists already", "choose another name", reason=f"it belongs to {names}")
    reason = "no guest of this lab uses it: it is left from an earlier guest, or was put there"
    raise Refused(f"the image {path} exists already", f"kvmrun new {name} --image {image} uses it", reason=reason)


def _format(key: str, options: NewGuestOptions) -> list[Entry]:
    return [(key, options.format, "")] if options.format else []
