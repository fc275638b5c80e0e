"""The catalogue: the entries that come with kvmrun, over them those of the user, and over these the lab's own."""

import os
from collections.abc import Mapping
from functools import cache

from kvmrun.config.image.images_file import ImagesFile, convert_images
from kvmrun.config.toml_file import Unreadable, read_toml
from kvmrun.config.toml_values import Converter
from kvmrun.errors import ConfigError
from kvmrun.model.image.catalogue_entry import CatalogueEntry
from kvmrun.model.scalars import PathBase

_SHIPPED = f"{os.path.dirname(os.path.abspath(__file__))}/catalogue.toml"


def user_catalogue_path(environ: Mapping[str, str], *, root: bool) -> str:
    """The file with the user's own entries, which need not exist."""
    if root:
        return "/etc/kvmrun/catalogue.toml"
    return os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "kvmrun/catalogue.toml")


def read_images_file(path: str) -> ImagesFile:
    """What images.toml, or a file with a catalogue, says. Raises ConfigError with all that is wrong in it."""
    if not os.path.lexists(path):
        return ImagesFile()
    file = Converter(os.path.basename(path), PathBase(directory=os.path.dirname(path), images=os.path.dirname(path)))
    try:
        found = convert_images(file, read_toml(path))
    except Unreadable as error:
        raise ConfigError(f"{path} is not valid", f"edit {path}", lines=(error.text or error.wanted,)) from None
    if file.problems:
        raise ConfigError(f"{path} is not valid", f"edit {path}", lines=tuple(f"{one}" for one in file.problems))
    return found


@cache
def shipped_catalogue() -> Mapping[str, CatalogueEntry]:
    """The entries that come with kvmrun."""
    return read_images_file(_SHIPPED).catalogue


def catalogue(own: ImagesFile, user_file: str) -> dict[str, CatalogueEntry]:
    """Every entry by its name; an entry of the lab hides one of the user, and that one of ours."""
    return {**shipped_catalogue(), **read_images_file(user_file).catalogue, **own.catalogue}
