"""images.toml of a lab: the images it uses, each pinned to one digest, and catalogue entries of its own."""

from collections.abc import Mapping

from kvmrun.config.toml_values import Converter
from kvmrun.config.toml_writer import format_document, format_value
from kvmrun.model.image.catalogue_entry import CatalogueEntry, is_entry_name, is_image_name
from kvmrun.model.image.pinned_image import PinnedImage
from kvmrun.model.printable import printable
from kvmrun.model.value import EMPTY, Value

IMAGES = "images.toml"
_HEAD = """# The images that guests of this lab use. kvmrun image writes the [pin] tables: as long as they are kept, the
# same lab is the same system. kvmrun help images describes the file.
"""


class ImagesFile(Value):
    """The whole file."""

    pin: Mapping[str, PinnedImage] = EMPTY
    catalogue: Mapping[str, CatalogueEntry] = EMPTY


def convert_images(file: Converter, table: Mapping[str, object]) -> ImagesFile:
    """The file, with what is wrong in it recorded in `file`; empty where something is."""
    found: ImagesFile | None = file.convert(ImagesFile, table)
    if found is None:
        return ImagesFile()
    for name in found.pin:
        if not is_image_name(name):
            file.sentence(f"pin.{printable(name, 60)}", 'this is no name of an image, such as "debian:13"')
    for name, entry in found.catalogue.items():
        if not is_entry_name(name) or name in {"apt", "url", "local", "http", "https"}:
            file.sentence(
                f"catalogue.{printable(name, 60)}", "the name of an entry is a word that is not used otherwise"
            )
        for key, wanted in entry.problems():
            file.sentence(f"catalogue.{name}.{key}", f"this key must be {wanted}")
    return found if not file.problems else ImagesFile()


def with_pin(text: str, name: str, pin: PinnedImage | None) -> str:
    """The text of the file with that image pinned, or with None no longer pinned; the rest stays as it is."""
    kept, own = list[str](), False
    header = f"[pin.{format_value(name)}]"
    for line in (text or _HEAD).splitlines():
        own = line.strip() == header if line.startswith("[") else own
        if not own:
            kept.append(line)
    body = "\n".join(kept).rstrip("\n") + "\n"
    if pin is None:
        return body
    values = {key: value for key, value in pin.as_dict().items() if value != PinnedImage.DEFAULTS.get(key, "")}
    return f"{body}\n{header}\n{format_document(values)}"
