"""One file of osinfo-db, read by expat: what it says of an operating system, and of those that it descends from.

The file is an installed one, but may be damaged. A document type is refused, so that there are no entities to expand.
"""

from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

from kvmrun.model.osinfo.media import MediaPattern
from kvmrun.model.osinfo.os_facts import Resources
from kvmrun.model.printable import printable
from kvmrun.model.value import EMPTY, Value

ARCHITECTURE = "x86_64"
_LARGEST_TEXT = 2000
_DEEPEST = 30
_NUMBERS = {"n-cpus": ("cpus", 1 << 16), "ram": ("memory", 1 << 50), "storage": ("storage", 1 << 60)}
"""How each number of resources is called here, and the largest that is believed."""
_KINDS = {
    "volume-id": "volume",
    "system-id": "system",
    "publisher-id": "publisher",
    "application-id": "application",
    "volume-size": "size",
}


class OsEntry(Value):
    """What one file says. `parents` are those that it takes facts over from, in their order: clones before others.

    `resources` are by "minimum" and "recommended", None where they are those of a parent. `devices` and `firmware` are
    IDs with whether they are supported.
    """

    id: str
    names: tuple[str, ...]
    title: str
    family: str
    parents: tuple[str, ...]
    resources: Mapping[str, Resources] | None
    devices: Mapping[str, bool] = EMPTY
    firmware: Mapping[str, bool] = EMPTY
    media: tuple[MediaPattern, ...] = ()


def parse_os(*files: bytes) -> OsEntry:
    """The entry in a file and in those that extend it. Raises ValueError, which says what is wrong."""
    reader = _Reader()
    for data in files:
        reader.read(data)
    return reader.entry()


class _Reader:
    """Gathers what is wanted of an <os>, wherever in its order it stands."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._text: list[str] = []
        self._id = ""
        self._names: list[str] = []
        self._title = ""
        self._family = ""
        self._parents: dict[str, list[str]] = {"clones": [], "derives-from": []}
        self._numbers: dict[str, dict[str, dict[str, int]]] = {}
        self._architecture = ""
        self._language = False
        self._devices: dict[str, bool] = {}
        self._firmware: dict[str, bool] = {}
        self._medium: dict[str, Any] | None = None
        self._media: list[MediaPattern] = []

    def read(self, data: bytes) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.StartDoctypeDeclHandler = _refuse_doctype
        try:
            parser.Parse(data, True)
        except (expat.ExpatError, LookupError) as error:  # the latter for an encoding that there is not
            raise ValueError(f"it is not XML: {error}") from None
        self._path.clear()

    def entry(self) -> OsEntry:
        if not self._id or not self._names:
            raise ValueError("it describes no operating system")
        every, own = (self._numbers.get(one, {}) for one in ("all", ARCHITECTURE))
        found = {kind: Resources(**every.get(kind, {}) | own.get(kind, {})) for kind in every.keys() | own.keys()}
        return OsEntry(
            id=self._id,
            names=tuple(self._names),
            title=self._title or self._names[0],
            family=self._family,
            parents=(*self._parents["clones"], *self._parents["derives-from"]),
            resources=found or None,
            devices=self._devices,
            firmware=self._firmware,
            media=tuple(self._media),
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._text.clear()
        if len(self._path) > _DEEPEST:
            raise ValueError("its elements are nested too deeply")
        place = "/".join(self._path)
        self._path.append(tag)
        supported = attributes.get("supported") != "false"
        if place == "libosinfo" and tag == "os" and not self._id:
            self._id = attributes.get("id", "")
        elif place == "libosinfo/os":
            self._language = "xml:lang" in attributes
            self._architecture = attributes.get("arch", "")
            if tag in self._parents:
                self._parents[tag].append(attributes.get("id", ""))
            elif tag == "firmware" and self._architecture == ARCHITECTURE:
                self._firmware[attributes.get("type", "")] = supported
            elif tag == "media" and self._architecture in {ARCHITECTURE, "all"}:
                self._medium = {}
        elif place == "libosinfo/os/devices" and tag == "device":
            self._devices[attributes.get("id", "")] = supported

    def _end(self, tag: str) -> None:
        text = "".join(self._text).strip()[:_LARGEST_TEXT]
        self._text.clear()
        self._path.pop()
        place = self._path[2:] if self._path[:2] == ["libosinfo", "os"] else ["elsewhere"]
        if not place and tag == "short-id" and text and text not in self._names:
            self._names.append(printable(text, 100))
        elif not place and tag == "name" and not self._language and not self._title:
            self._title = printable(text, 100)
        elif not place and tag == "family":
            self._family = printable(text, 100)
        elif not place and tag == "media" and self._medium is not None:
            self._media.append(MediaPattern(**self._medium))
            self._medium = None
        elif place[:1] == ["resources"] and len(place) == 2 and tag in _NUMBERS:
            key, most = _NUMBERS[tag]
            if (number := _number(text, most)) is not None:
                self._numbers.setdefault(self._architecture, {}).setdefault(place[1], {})[key] = number
        elif place == ["media", "iso"] and tag in _KINDS and self._medium is not None:
            key = _KINDS[tag]
            self._medium[key] = _number(text, 1 << 60) if key == "size" else text


def _number(text: str, most: int) -> int | None:
    """The number, None for what is none or is beyond belief."""
    known = text.isascii() and text.isdecimal() and len(text) < 20
    return int(text) if known and 0 < int(text) <= most else None


def _refuse_doctype(*_: object) -> None:
    raise ValueError("it declares a document type")
