"""The images of a lab and of the store: listing, verifying, removing."""

import os
from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

from kvmrun.api.image.image_lab import ImageLab, deadline_of, image_path, shown
from kvmrun.api.image.image_references import ImageUse
from kvmrun.api.lab import LabHandle
from kvmrun.api.report import Done, Noted, Report, discard
from kvmrun.errors import KvmrunError, Refused, Several, UsageError
from kvmrun.host.disk import image_files
from kvmrun.host.execute.undo import undone_on_error
from kvmrun.host.files import atomic_write
from kvmrun.host.images.image_store import StoredImage, changed_reason, hash_file
from kvmrun.model.image.pinned_image import PinnedImage
from kvmrun.model.printable import printable
from kvmrun.model.suggest import closest
from kvmrun.model.value import Value

State = Literal["stored", "missing", "changed"]


class ImageStatus(Value):
    """An image: `name` is "" where this lab does not pin it. `size` is that of the file, `disk` what the guest sees,
    both in bytes, None where it is not in the store. `guests` are those of this lab that use it.
    """

    name: str
    state: State
    source: str
    digest: str
    verified: str
    path: str
    build: str | None = None
    size: int | None = None
    disk: int | None = None
    user: str | None = None
    firmware: str | None = None
    seed: str | None = None
    osinfo: str | None = None
    guests: tuple[str, ...] = ()


class CatalogueImage(Value):
    """A release that the catalogue has."""

    name: str
    title: str
    codename: str | None
    user: str | None
    seed: str


def image_status(lab: LabHandle, names: Iterable[str] | None = None) -> list[ImageStatus]:
    """The pinned images of the lab, and without `names` the other images of the store as well.

    Raises: UsageError for a name that is not pinned, ConfigError for an images.toml that is not valid.
    """
    images = ImageLab(lab)
    use = ImageUse(images, LabHandle(lab.paths))
    if names is not None:
        return [_pinned_status(images, use, name) for name in names]
    found = [_pinned_status(images, use, name) for name in sorted(images.file.pin)]
    pinned = {pin.digest for pin in images.file.pin.values()}
    return found + [_stored_status(images, use, one) for one in images.store.images() if one.digest not in pinned]


def catalogue_images(lab: LabHandle) -> list[CatalogueImage]:
    """Everything that the catalogue of the lab has.

    Raises: ConfigError for a catalogue that is not valid.
    """
    return [
        CatalogueImage(
            name=f"{name}:{release}", title=entry.title, codename=one.codename, user=entry.user, seed=entry.seed
        )
        for name, entry in sorted(ImageLab(lab).catalogue().items())
        for release, one in entry.releases.items()
    ]


def verify_images(
    lab: LabHandle, names: Iterable[str] | None = None, *, timeout: float | None = None, report: Report = discard
) -> list[str]:
    """Compare the content of images with their digests; the names of those that are right. `timeout` is in seconds.

    Raises: UsageError for a name that is not pinned, Refused for an image that was changed or is missing, Several for
    more than one.
    """
    images, deadline = ImageLab(lab), deadline_of(timeout)
    right, errors = list[str](), list[KvmrunError]()
    for name in sorted(images.file.pin) if names is None else names:
        pin = _pin(images, name)
        found = images.store.find(pin.digest)
        if found is None:
            errors.append(Refused(f"{name} is not in the store", f"kvmrun image pull {name}"))
            continue
        path = image_path(images.paths, pin)
        with shown(report, name) as moved:
            content = hash_file(path, found.content.algorithm, moved, deadline)
        if content != found.content:
            fix = f"kvmrun image pull {name} gets it again"
            lines = (f"expected {found.content}", f"found    {content}")
            errors.append(Refused(f"{name} was changed after it was verified", fix, reason=path, lines=lines))
            continue
        images.store.note_verified(found)  # it may be a copy of the same content
        right.append(name)
        report(Done(text=f"{name}: its content is the one that was verified"))
    if errors:
        raise errors[0] if len(errors) == 1 else Several(errors)
    return right


def remove_images(
    lab: LabHandle, names: Iterable[str], *, timeout: float | None = None, report: Report = discard
) -> None:
    """Pin images no longer, and remove those from the store that nobody else uses. `timeout` is in seconds.

    Raises: UsageError for a name that is not pinned, Refused for an image that a definition of the lab names.
    """
    images, deadline = ImageLab(lab), deadline_of(timeout)
    use = ImageUse(images, LabHandle(lab.paths))
    for name in names:
        pin = _pin(images, name)
        path = image_path(images.paths, pin)
        if users := use.guests(path):
            raise Refused(f"{name} is in use", f"kvmrun rm {users[0]}", reason=f"it is the base of {', '.join(users)}")
        with images.store.held(pin.digest, deadline), undone_on_error() as undone_by:
            found = images.store.find(pin.digest)
            images.pin(name, None, deadline)
            undone_by(partial(images.pin, name, pin, deadline))
            again = any(one.digest == pin.digest for one in images.file.pin.values())
            needed = ["another name of this lab"] if again else use.others(found) if found else []
            if needed:
                report(Noted(text=f"{name} is not pinned any more; {path} stays: {needed[0]} needs it"))
            else:
                images.store.remove(pin.digest)
                report(Done(text=f"removed {name}"))


def prune_images(
    lab: LabHandle, *, dry_run: bool = False, timeout: float | None = None, report: Report = discard
) -> list[str]:
    """Remove from the store what nobody uses, and what is left of downloads; the files, with `dry_run` those to go.

    `timeout` is in seconds. Raises: Busy where another command is at work on an image, NotPermitted.
    """
    images, deadline = ImageLab(lab), deadline_of(timeout)
    use = ImageUse(images, LabHandle(lab.paths))
    pinned = {pin.digest for pin in images.file.pin.values()}
    gone = list[str]()

    def tell(path: str) -> None:
        gone.append(path)
        report(Done(text=f"{'would remove' if dry_run else 'removed'} {path}"))

    for digest in [one.digest for one in images.store.images()]:
        with images.store.held(digest, deadline):
            image, path = images.store.find(digest), images.store.path(digest)
            if image is None or digest in pinned or use.guests(path) or use.others(image):
                continue
            if not dry_run:
                images.store.remove(digest)
            tell(path)
    for path in images.store.parts():
        if not path.endswith(".lock"):
            if not dry_run:
                atomic_write.remove(path)
            tell(path)
    return gone


def _pin(images: ImageLab, name: str) -> PinnedImage:
    if name in images.file.pin:
        return images.file.pin[name]
    near = closest(name, images.file.pin)
    fix = f"did you mean {near}?" if near else "kvmrun image list"
    raise UsageError(f"{printable(name, 80)} is not pinned in {images.path}", fix)


def _pinned_status(images: ImageLab, use: ImageUse, name: str) -> ImageStatus:
    pin = _pin(images, name)
    path = image_path(images.paths, pin)
    status = ImageStatus(name=name, state="missing", path=path, guests=tuple(use.guests(path)), **_told(pin))
    return status if images.store.find(pin.digest) is None else _measured(status)


def _told(pin: PinnedImage) -> dict[str, Any]:
    shown_keys = ("source", "digest", "verified", "build", "user", "firmware", "seed", "osinfo")
    return {key: getattr(pin, key) for key in shown_keys}


def _stored_status(images: ImageLab, use: ImageUse, image: StoredImage) -> ImageStatus:
    path = images.store.path(image.digest)
    known: dict[str, Any] = {"source": image.source, "digest": image.digest, "verified": image.verified}
    return _measured(ImageStatus(name="", state="stored", path=path, guests=tuple(use.guests(path)), **known))


def _measured(status: ImageStatus) -> ImageStatus:
    state: State = "changed" if changed_reason(status.path) else "stored"
    found = image_files.image_facts(status.path, "qcow2")
    disk = found.size if found else None
    return status.replace(state=state, size=os.stat(status.path).st_size, disk=disk)
