"""The images of a lab: what images.toml pins, the catalogue that applies, and the store of this host."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from kvmrun.api.lab import LabHandle
from kvmrun.api.report import Report, transferring
from kvmrun.config import standard_paths
from kvmrun.config.image import catalogue_file, images_file
from kvmrun.config.image.images_file import IMAGES, ImagesFile
from kvmrun.config.toml_file import parse_toml
from kvmrun.config.toml_values import Converter
from kvmrun.errors import ConfigError, Refused
from kvmrun.host.files import definition_files
from kvmrun.host.images.convert import Moved
from kvmrun.host.images.image_store import ImageStore
from kvmrun.model.deadline import Deadline, current
from kvmrun.model.image.catalogue_entry import CatalogueEntry
from kvmrun.model.image.pinned_image import PinnedImage
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import PathBase


class ImageLab:
    """A lab as far as its images go. Raises ConfigError for an images.toml that is not valid, Refused as root for one
    that is not trusted.
    """

    def __init__(self, lab: LabHandle) -> None:
        self.paths = lab.paths
        self.store = ImageStore(lab.paths.store)
        self.path = f"{self.paths.vms}/{IMAGES}"
        self._require_trusted(self.path)
        self.file: ImagesFile = catalogue_file.read_images_file(self.path)

    def _require_trusted(self, path: str) -> None:
        """For root: raises Refused for a file that another user could have written."""
        if self.paths.root and os.path.lexists(path) and (fault := standard_paths.untrusted_fix(path, os.environ)):
            raise Refused(f"{path} is not to be trusted", "copy it to a place of your own", reason=fault)

    def catalogue(self) -> dict[str, CatalogueEntry]:
        """Every entry by its name."""
        path = catalogue_file.user_catalogue_path(os.environ, root=self.paths.root)
        self._require_trusted(path)
        return catalogue_file.catalogue(self.file, path)

    def pin(self, name: str, pin: PinnedImage | None, deadline: Deadline) -> None:
        """Pin an image, or with None none any more. Raises ConfigError where the file cannot be edited."""
        with self.store.held(f"{self.paths.lab}/{IMAGES}", deadline):
            before = definition_files.read(self.path)
            text = images_file.with_pin(before.decode(errors="surrogateescape"), name, pin)
            after, data = self._pinned(text, name, pin), text.encode(errors="surrogateescape")
            if before != data:
                (definition_files.replace if os.path.lexists(self.path) else definition_files.create)(self.path, data)
        self.file = after

    def _pinned(self, text: str, name: str, pin: PinnedImage | None) -> ImagesFile:
        """What the file says with that text. Raises ConfigError where it does not pin the image."""
        file = Converter(IMAGES, PathBase(directory=self.paths.vms, images=self.paths.images))
        after = images_file.convert_images(file, parse_toml(text.encode(errors="surrogateescape")))
        if file.problems or after.pin.get(name) != pin:
            lines = tuple(f"{one}" for one in file.problems)
            raise ConfigError(f"{self.path} cannot be changed by kvmrun", f"edit {self.path}", lines=lines)
        return after


def image_path(where: Paths, pin: PinnedImage) -> str:
    """The file of a pinned image in the store."""
    return f"{where.store}/{pin.file}"


def deadline_of(timeout: float | None) -> Deadline:
    """The deadline of a call with that limit; without one that of the command."""
    return current() if timeout is None else Deadline.begin(timeout)


@contextmanager
def shown(report: Report, what: str) -> Iterator[Moved]:
    """A function that reports how far a transfer is; the transfer begins when its total is known."""
    with ExitStack() as stack:
        moved: list[Callable[[int], None]] = []

        def show(done: int, total: int) -> None:
            if not moved:
                moved.append(stack.enter_context(transferring(report, what, total)))
            moved[0](done)

        yield show
