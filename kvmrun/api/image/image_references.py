"""Who uses an image of the store: guests, overlays, and other labs of this host."""

import os
from collections.abc import Iterator

from kvmrun.api.definition import guest_images
from kvmrun.api.image.image_lab import ImageLab
from kvmrun.api.lab import LabHandle
from kvmrun.config.image import catalogue_file
from kvmrun.config.image.images_file import IMAGES
from kvmrun.config.load_lab import load_lab
from kvmrun.errors import ConfigError
from kvmrun.host.disk import image_files
from kvmrun.host.facts.guest_facts import RunningGuests
from kvmrun.host.images.image_store import StoredImage


class ImageUse:
    """Answers for all images of one command; the running guests are looked up once."""

    def __init__(self, images: ImageLab, lab: LabHandle) -> None:
        self._images = images
        self._lab = lab
        self._running = RunningGuests(images.paths)
        self._overlays: dict[str, list[str]] | None = None

    def guests(self, path: str) -> list[str]:
        """The guests of this lab whose definition names the file, valid or not."""
        return guest_images.image_users(self._lab, path)

    def others(self, image: StoredImage) -> list[str]:
        """What else needs the image, in words: running guests, overlays, other labs."""
        path = self._images.store.path(image.digest)
        found = [f"{name}, which is running," for name in self._runners(path)]
        found += [f"the overlay {one}" for one in self._over().get(path, [])]
        return found + [f"the lab {lab}" for lab in self._other_labs(image, path)]

    def _runners(self, path: str) -> list[str]:
        try:
            users = self._running.opened().users(os.stat(path))
        except OSError:
            return []
        return sorted({name for name in users.values() if name})

    def _over(self) -> dict[str, list[str]]:
        """The overlays among the images of this host, by their base."""
        if self._overlays is None:
            self._overlays = {}
            directory = self._images.paths.images
            for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
                if base := image_files.backing_name(f"{directory}/{name}"):
                    self._overlays.setdefault(base, []).append(f"{directory}/{name}")
        return self._overlays

    def _other_labs(self, image: StoredImage, path: str) -> Iterator[str]:
        for lab in image.labs:
            if lab != self._images.paths.lab and os.path.isdir(lab) and self._is_used_by(lab, image, path):
                yield lab

    def _is_used_by(self, lab: str, image: StoredImage, path: str) -> bool:
        """Whether another lab pins the image or names its file. What cannot be read may use it."""
        try:
            pins = catalogue_file.read_images_file(f"{lab}/{IMAGES}").pin.values()
        except ConfigError:
            return True
        if any(pin.digest == image.digest for pin in pins):
            return True
        guests = load_lab(lab, self._images.paths.images).guests.values()
        return any(path == drive.base for guest in guests for drive in guest.drive)
