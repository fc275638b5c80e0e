"""QEMU's descriptors of firmware, as docs/interop/firmware.json of QEMU defines them, and which of them a guest gets.

As in libvirt the first descriptor by file name is chosen whose interface, target and features fit. But those that keep
variables come before the others: edk2 for confidential guests (AMD SEV, Intel TDX) is made for the same machines, has
no variables, and the names of its descriptors sort before that of the usual one in Debian 14.
"""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from kvmrun.model.value import Value

ARCHITECTURE = "x86_64"
_LONGEST = 1000
_MOST = 100
_FORMATS = {"raw", "qcow2"}
_OF_THE_BOARD = "requires-smm"
"""The one feature that asks something of the machine, and that we know how to give."""


class Flash(Value):
    """A file that is mapped as flash memory."""

    path: str
    format: str


class Descriptor(Value):
    """One descriptor. `mapping` is how the firmware gets into the machine; `code` and `template` are its files.

    `targets` are (architecture, globs of machines); `template` is what the variables of a guest are made from.
    """

    name: str
    interfaces: frozenset[str]
    targets: tuple[tuple[str, tuple[str, ...]], ...]
    features: frozenset[str]
    mapping: Literal["split", "memory", "other"]
    code: Flash
    template: Flash | None

    @property
    def needs_smm(self) -> bool:
        """Whether only code in system management mode may change the variables."""
        return _OF_THE_BOARD in self.features

    def fits(self, machine: str, *, secure_boot: bool) -> bool:
        """Whether it is a UEFI firmware for that version of a machine, with Secure Boot in force, or without it."""
        wanted = {"secure-boot", "enrolled-keys"}
        return (
            "uefi" in self.interfaces
            and self.mapping != "other"
            and self._is_for(machine)
            and (wanted <= self.features if secure_boot else "secure-boot" not in self.features)
            and not any(one.startswith("requires-") for one in self.features - {_OF_THE_BOARD})
            and "host-uefi-vars" not in self.features
        )

    def _is_for(self, machine: str) -> bool:
        globs = (glob for architecture, found in self.targets if architecture == ARCHITECTURE for glob in found)
        return any(fnmatch.fnmatchcase(machine, glob.replace("[", "[[]")) for glob in globs)


def choose(descriptors: Iterable[Descriptor], machine: str, *, secure_boot: bool) -> Descriptor | None:
    """The first that fits and keeps variables, else the first that fits; None where none does."""
    fitting = [one for one in descriptors if one.fits(machine, secure_boot=secure_boot)]
    return next((one for one in fitting if one.template is not None), next(iter(fitting), None))


def descriptor_from_json(name: str, data: object) -> Descriptor:
    """The descriptor in `data`, the file `name`. Raises ValueError, which says what is wrong with it."""
    if not isinstance(data, dict):
        raise ValueError("it is not an object")
    mapping, code, template = _mapping(data.get("mapping"))
    targets = tuple(_target(one) for one in _list(data.get("targets"), "targets"))
    return Descriptor(
        name=name,
        interfaces=frozenset(_words(data.get("interface-types"), "interface-types")),
        targets=targets,
        features=frozenset(_words(data.get("features"), "features")),
        mapping=mapping,
        code=code,
        template=template,
    )


def _mapping(data: object) -> tuple[Literal["split", "memory", "other"], Flash, Flash | None]:
    if not isinstance(data, dict):
        raise ValueError("its mapping is not an object")
    device, nothing = data.get("device"), Flash(path="", format="raw")
    if device == "memory":
        return "memory", Flash(path=_path(data, "mapping"), format="raw"), None
    if device != "flash" or data.get("mode", "split") != "split":
        return "other", nothing, None
    return "split", _flash(data, "executable"), _flash(data, "nvram-template")


def _flash(data: Mapping[str, Any], key: str) -> Flash:
    found = data.get(key)
    if not isinstance(found, dict):
        raise ValueError(f"its {key} is not an object")
    if found.get("format") not in _FORMATS:
        raise ValueError(f"the format of its {key} is neither raw nor qcow2")
    return Flash(path=_path(found, key), format=str(found["format"]))


def _path(data: Mapping[str, Any], key: str) -> str:
    path = data.get("filename")
    if not (isinstance(path, str) and path.startswith("/") and path.isprintable() and len(path) <= _LONGEST):
        raise ValueError(f"the filename of its {key} is no absolute path")
    return path


def _target(data: object) -> tuple[str, tuple[str, ...]]:
    if not isinstance(data, dict) or not isinstance(data.get("architecture"), str):
        raise ValueError("one of its targets has no architecture")
    return data["architecture"], _words(data.get("machines"), "machines")


def _words(data: object, key: str) -> tuple[str, ...]:
    found = _list(data, key)
    if not all(isinstance(one, str) and len(one) <= _MOST for one in found):
        raise ValueError(f"its {key} are not words")
    return tuple(found)


def _list(data: object, key: str) -> list[Any]:
    if not isinstance(data, list) or len(data) > _MOST:
        raise ValueError(f"its {key} are no list of at most {_MOST}")
    return data
