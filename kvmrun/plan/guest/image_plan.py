"""The images of one guest: what has to be made, and what is refused because of what a file is."""

import os
from collections.abc import Container, Iterator, Mapping, Sequence

from kvmrun.errors import HostLacks, Refused
from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Problem
from kvmrun.model.paths import store_beside
from kvmrun.model.printable import quoted
from kvmrun.model.scalars import Size
from kvmrun.model.suggest import closest
from kvmrun.plan.host_facts import DiskFacts, ImageFacts
from kvmrun.plan.steps.guest_steps import MakeImage

Files = Mapping[str, ImageFacts | None]


def image_steps(guest: Guest, host: DiskFacts) -> Iterator[MakeImage]:
    """The images that are to be made. Raises Refused for one that cannot be used."""
    for drive in guest.drive:
        yield from drive_steps(guest, drive, host)
    require_kernel(guest, host)


def without_absent(guest: Guest, missing: Container[str]) -> Guest:
    """The guest with an empty tray in the place of each optional CD-ROM whose image is one of the `missing` files."""
    drives = (one.emptied() if one.optional and one.image in missing else one for one in guest.drive)
    return guest.replace(drive=tuple(drives))


def require_kernel(guest: Guest, host: DiskFacts) -> None:
    """Raises Refused where the kernel or the initial RAM disk of the guest cannot be used."""
    for path in (guest.boot.kernel, guest.boot.initrd):
        if path:
            usable(guest, path, host, writing=False)


def require_aio(guest: Guest, ways: Mapping[str, str]) -> None:
    """Raises HostLacks for an aio mode that was asked for and is not there; `ways` has the reasons."""
    for number, drive in enumerate(guest.drive):
        if drive.aio and (lack := ways.get(drive.aio)):
            fix = f"leave aio out in drive {number} of {guest.name}.toml: the best way there is is used then"
            raise HostLacks(f"{guest.name} asks for {drive.aio} and cannot have it", fix, reason=lack)


def drive_steps(guest: Guest, drive: Drive, host: DiskFacts) -> Iterator[MakeImage]:
    """The image of one drive, where it is to be made. Raises Refused for what cannot be used."""
    if not drive.image:
        return
    found = host.files.get(drive.image)
    if drive.base:
        below = usable(guest, drive.base, host, writing=False)
        _whole(guest, drive.base, below, "use a base that is no overlay: qemu-img convert makes one")
    if found is None:
        yield _missing(guest, drive, host)
    else:
        usable(guest, drive.image, host, writing=not drive.is_readonly())
        require_declared(guest, drive, found)
    for _, error in unfit_reason(guest, drive, host.files):
        raise error


def made_size(made: MakeImage, host: DiskFacts) -> int:
    """The bytes that an image has once it is made: its own size, or that of its base."""
    below = host.files.get(made.base or "")
    return made.size or (below.size if below else 0)


def require_declared(guest: Guest, drive: Drive, found: ImageFacts) -> None:
    """Raises Refused where the image is an overlay and the drive has no base, or the reverse."""
    if drive.base and not found.backing:
        fix = "leave base out, or name an image that is still to be made"
        raise Refused(f"{guest.name} cannot use {drive.image}", fix, reason="it has a base, and is no overlay")
    _whole(guest, drive.image, found, "" if drive.base else "name its base with base = … in the drive")


def unfit_reason(guest: Guest, drive: Drive, files: Files) -> Iterator[tuple[str, Refused]]:
    """What is wrong with a drive because of what is in its files, as (key, error); nothing is made of the content."""
    base = ("base", drive.base, drive.base_format, drive.chain_format())
    for key, path, given, kind in (("image", drive.image, drive.format, drive.image_format()), base):
        found = files.get(path) if path else None
        if path and found and found.content and kind == "raw" and not given:
            yield key, _another(guest, path, found.content, "format" if key == "image" else "base_format")
    if drive.base and (below := files.get(drive.base)) is not None:
        if below.changed:
            yield "base", _changed(guest, drive.base, below)
        found = files.get(drive.image)
        size = found.size if found else drive.size or below.size
        if size < below.size:
            yield "size" if drive.size else "image", _smaller(guest, drive, below, made=found is not None)


def image_problems(guest: Guest, files: Files) -> Iterator[Problem]:
    """What is wrong with the guest's images, as `kvmrun check` tells it; sizes that do not hold are warnings."""
    file = f"{guest.name}.toml"
    for number, drive in enumerate(guest.drive):
        for key, error in unfit_reason(guest, drive, files):
            path = (drive.base if key == "base" else drive.image) or ""
            text = f"{path} cannot be used: {error.reason}; {error.fix}"
            yield Problem(file=file, key=f"drive[{number}].{key}", found=path, wanted=error.fix, text=text)
    for key, found, wanted in image_notes(guest, files):
        yield Problem(file=file, key=key, found=found, wanted=wanted, warning=True)


def missing_problems(guest: Guest, missing: Mapping[str, Sequence[str]], images: str) -> Iterator[Problem]:
    """The files of a definition that are not there, but for what the first start or `kvmrun build` makes.

    `missing` has them with the names of the files in their directories; `images` is where kvmrun keeps images.
    """
    for number, drive in enumerate(guest.drive):
        if drive.optional and drive.image in missing:
            text = f"there is no file {drive.image}: the guest starts with an empty tray"
            key, wanted = f"drive[{number}].image", "the image of a CD-ROM"
            yield Problem(file=f"{guest.name}.toml", key=key, found=drive.image, wanted=wanted, warning=True, text=text)
    for key, path, fix in _named_files(guest, missing, images):
        if path in missing and not _built_by(path, images):
            text = f"there is no file {path}; {fix}"
            yield Problem(file=f"{guest.name}.toml", key=key, found=path, wanted=fix, text=text)


def _named_files(guest: Guest, missing: Mapping[str, Sequence[str]], images: str) -> Iterator[tuple[str, str, str]]:
    """(key, path, what to do where it is missing) of every file that a start does not make."""
    for number, drive in enumerate(guest.drive):
        if drive.image and not (_is_made(drive) or drive.optional):
            yield f"drive[{number}].image", drive.image, _image_fix(drive, missing)
        if drive.base:
            yield f"drive[{number}].base", drive.base, _instead(guest, drive.base, images, missing)
    for key, path in (("boot.kernel", guest.boot.kernel), ("boot.initrd", guest.boot.initrd)):
        if path:
            yield key, path, _instead(guest, path, images, missing)


def image_notes(guest: Guest, files: Files) -> Iterator[tuple[str, str, str]]:
    """What of the definition is not so of the images, as (key, found, wanted): sizes, and bases that were changed."""
    for number, drive in enumerate(guest.drive):
        found = files.get(drive.image)
        if drive.base and found is not None and found.base_differs:
            wanted = (
                f"the file over which {drive.image} was made; its size or its time is another now, and the guest may "
            )
            wanted += f"find damaged files; kvmrun revert {guest.name} makes a fresh overlay"
            yield f"drive[{number}].base", drive.base, wanted
        if found is not None and drive.size and found.size != drive.size:
            has = Size(found.size)
            wanted = f"{has}, which is the size that {drive.image} has already"
            if found.kind == "file" and drive.size > has:
                wanted += f"; kvmrun resize {guest.name}:{number} {drive.size} makes it as large"
            elif found.kind == "file" and has % 1024 == 0:
                wanted += f"; kvmrun resize {guest.name}:{number} {has} writes that into the definition"
            yield f"drive[{number}].size", f"{drive.size}", wanted


def _changed(guest: Guest, path: str, found: ImageFacts) -> Refused:
    fix = "kvmrun image pull gets it again; kvmrun image verify compares its content"
    return Refused(f"{guest.name} cannot use {path}", fix, reason=found.changed)


def _another(guest: Guest, path: str, content: str, key: str) -> Refused:
    """The refusal of a file that is called raw and is not. Only a person knows whether a guest wrote that content."""
    fix = f"qemu-img convert -f {content} -O qcow2 {quoted(path)} NEW.qcow2"
    if content == "qcow2":
        fix = f'add {key} = "qcow2" to that drive'
    elif content in _PACKED:
        fix = f"unpack it first: {_PACKED[content]} {quoted(path)}"
    reason = f"its content is {content}, and its name says raw"
    return Refused(
        f"{guest.name} cannot use {path}", f'{fix}; or {key} = "raw", if a guest has written it', reason=reason
    )


_PACKED = {"gzip": "gunzip", "xz": "unxz", "zstd": "unzstd", "bzip2": "bunzip2", "zip": "unzip"}


def _smaller(guest: Guest, drive: Drive, below: ImageFacts, *, made: bool) -> Refused:
    reason = f"it would hide the end of its base {drive.base}, which has {Size(below.size)}"
    fix = f"leave size out, or make it {Size(below.size)} or more"
    if made:
        fix = f"qemu-img resize -f qcow2 {quoted(drive.image)} {int(below.size)}"
    return Refused(f"{guest.name} cannot use {drive.image}", fix, reason=reason)


def _missing(guest: Guest, drive: Drive, host: DiskFacts) -> MakeImage:
    if not _is_made(drive):
        fix = _image_fix(drive, host.beside)
        raise Refused(f"{guest.name} has no image {drive.image}", fix, reason="no such file")
    _exchangeable(guest, drive.image, host)
    return MakeImage(
        path=drive.image,
        format=drive.image_format(),
        size=drive.size,
        base=drive.base,
        base_format=drive.chain_format(),
        notes_base=bool(drive.base) and os.path.dirname(f"{drive.base}") != store_beside(host.images),
    )


def _is_made(drive: Drive) -> bool:
    """Whether the first start makes the image."""
    return bool(drive.base or drive.size) and not drive.is_readonly()


def _image_fix(drive: Drive, beside: Mapping[str, Sequence[str]]) -> str:
    disk = drive.media == "disk"
    other = "give size (and base) to have it made" if disk else "set optional = true to start with an empty tray"
    fix = f"correct the path, or {other}"
    near = closest(drive.image.rpartition("/")[2], beside.get(drive.image, ()))
    return fix + (f": did you mean {near}?" if near else "")


def _exchangeable(guest: Guest, path: str, host: DiskFacts) -> None:
    """Refuse a place where another user has a hand in what file is there. No fix changes what is another's."""
    if fault := host.exchangeable.get(path):
        fix = f'image = "{path.rpartition("/")[2]}", which is made in {host.images}'
        if host.files.get(path):
            fix = f"{copy_to_images(path, host.images)} in {guest.name}.toml"
        raise Refused(f"{guest.name} cannot use {path}", fix, reason=exchangeable_reason(fault))


def copy_to_images(path: str, images: str) -> str:
    """How a file comes to the directory of images, which need not exist yet, and what it is called there."""
    place = quoted(images)
    return f"mkdir -p {place} && cp --no-clobber {quoted(path)} {place}, and name it {path.rpartition('/')[2]}"


def exchangeable_reason(fault: str) -> str:
    return f"another user of this host could put another file in its place, as {fault}"


def usable(guest: Guest, path: str, host: DiskFacts, *, writing: bool) -> ImageFacts:
    """What is known of a file that the guest may use. Raises Refused for any other."""
    found = host.files.get(path)
    if found is None:
        raise Refused(
            f"{guest.name} has no {path}", _instead(guest, path, host.images, host.beside), reason="no such file"
        )
    if found.kind == "other":
        reason = "it is not a regular file or a block device"
        raise Refused(f"{guest.name} cannot use {path}", "name a file or a block device", reason=reason)
    _exchangeable(guest, path, host)
    if found.changed:
        raise _changed(guest, path, found)
    if writing and os.path.dirname(path) == store_beside(host.images):
        fix = "name it as base, and give the guest an image of its own"
        raise Refused(
            f"{guest.name} cannot write to {path}", fix, reason="it is the base of every guest of that system"
        )
    if other := found.writer or (found.reader if writing else ""):
        fix = f"kvmrun stop {other}, or give {guest.name} an overlay of its own (base = …)"
        verb = "write to" if writing else "read"
        raise Refused(f"{guest.name} cannot {verb} {path}", fix, reason=f"{other} is running and has it")
    return found


def _instead(guest: Guest, path: str, images: str, beside: Mapping[str, Sequence[str]]) -> str:
    """What to do where a file is missing: what is built, or the file that was probably meant."""
    if os.path.dirname(path) == store_beside(images):
        return "kvmrun image pull gets every image that images.toml pins"
    if built := _built_by(path, images):
        return f"kvmrun build {built}"
    near = closest(path.rpartition("/")[2], beside.get(path, ()))
    return f"correct the path in {guest.name}.toml" + (f": did you mean {near}?" if near else "")


def _built_by(path: str, images: str) -> str:
    """Which guest `kvmrun build` builds with that file among the images, "" for none."""
    place, _, name = path.rpartition("/")
    return _BUILT.get(name, "") if place == images else ""


_BUILT = {
    **dict.fromkeys(("demo-vmlinuz", "demo-initrd", "demo-agent"), "demo"),
    **dict.fromkeys(("debian-vmlinuz", "debian-initrd", "debian.raw", "debian-seed.iso"), "debian"),
}


def _whole(guest: Guest, path: str, found: ImageFacts, fix: str) -> None:
    """Refuse an image with parts elsewhere; `fix` is for an overlay, "" where it may be one."""
    if found.data_file:
        reason = "its header names a data file elsewhere on this host"
        raise Refused(f"{guest.name} cannot use {path}", "qemu-img convert it to a whole image", reason=reason)
    if found.backing and fix:
        reason = "it is an overlay, and kvmrun never follows the base that an image names"
        raise Refused(f"{guest.name} cannot use {path}", fix, reason=reason)
