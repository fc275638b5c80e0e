"""A drive: what the guest sees, and the image behind it."""

from collections.abc import Container, Iterator
from typing import Literal

from kvmrun.model.guest.qemu_argv import Image, Option
from kvmrun.model.scalars import BaseImage, FilePath, Size
from kvmrun.model.value import Value

SUFFIXES = {".qcow2": "qcow2", ".raw": "raw", ".img": "raw", ".iso": "raw"}
_DEVICES = {"virtio": "virtio-blk-{bus}", "scsi": "scsi-{kind}", "ide": "ide-{kind}", "nvme": "nvme"}
IDE_PORTS = {"q35": ("ide.0", "ide.1", "ide.2", "ide.3", "ide.4", "ide.5"), "pc": ("ide.0", "ide.0", "ide.1", "ide.1")}
"""The bus of each IDE drive in turn: left to itself QEMU puts all on the first, where q35 has room for one."""
_BUSES = {"q35": tuple(_DEVICES), "pc": tuple(_DEVICES), "microvm": ("virtio", "scsi")}


class Drive(Value):
    """One drive. `format` and `base_format` are never probed: given, or told by the suffix of the file's name."""

    image: FilePath
    format: Literal["qcow2", "raw"] | None = None
    base: BaseImage | None = None
    base_format: Literal["qcow2", "raw"] | None = None
    size: Size | None = None
    media: Literal["disk", "cdrom"] = "disk"
    readonly: bool = False
    interface: Literal["virtio", "scsi", "ide", "nvme"] | None = None
    cache: Literal["writeback", "none", "writethrough", "directsync", "unsafe"] = "writeback"
    discard: bool = True

    def problems(self, machine: str) -> Iterator[tuple[str, str, str]]:
        """What is wrong with this drive as (key, found, wanted)."""
        if not self.image_format():
            yield "format", "", f'"qcow2" or "raw", because the suffix of {self.image} does not tell which'
        if self.base and not self.chain_format():
            yield "base_format", "", f'"qcow2" or "raw", because the suffix of {self.base} does not tell which'
        if self.base and self.image_format() == "raw":
            yield "base", self.base, 'no value, because a raw image has no base; format = "qcow2" has'
        if self.base and self.base == self.image:
            yield "base", self.base, "another file than the image itself"
        if self.bus(machine) not in _BUSES[machine]:
            yield "interface", self.interface or "", f"one that {machine} has: {', '.join(_BUSES[machine])}"
        if self.media == "cdrom" and self.bus(machine) not in {"ide", "scsi"}:
            yield "interface", self.interface or "", '"ide" or "scsi" for a CD-ROM'
        if self.media == "disk" and self.readonly and self.bus(machine) == "ide":
            yield "interface", self.interface or "", "another one, because an IDE disk cannot be read-only"

    def image_format(self) -> str:
        return self.format or _told_by(self.image)

    def chain_format(self) -> str:
        return self.base_format or (_told_by(self.base) if self.base else "")

    def bus(self, machine: str) -> str:
        if self.media == "cdrom":
            # Kernels for clouds have a driver for virtio-scsi and for the PIIX IDE of pc, none for the AHCI of q35.
            return self.interface or ("ide" if machine == "pc" else "scsi")
        return self.interface or "virtio"

    def is_readonly(self) -> bool:
        return self.readonly or self.media == "cdrom"

    def files(self) -> Iterator[Image]:
        """The files QEMU is to have, each opened by us."""
        yield Image(path=self.image, readonly=self.is_readonly())
        if self.base:
            yield Image(path=self.base, readonly=True)

    def options(
        self, number: int, machine: str, *, ide: int, bootindex: int | None, devices: Container[str] = ()
    ) -> Iterator[Option]:
        """Drive `number` of the guest, with `ide` IDE drives before it; `devices` are the paths of block devices.

        `bootindex` is its turn when the firmware looks for something to boot.
        """
        yield Option(flag="blockdev", props=self._blockdev(f"d{number}", devices))
        bus = self.bus(machine)
        kind = "cd" if self.media == "cdrom" else "hd"
        device: dict[str, object] = {
            "driver": _DEVICES[bus].format(bus="device" if machine == "microvm" else "pci", kind=kind),
            "id": f"drive{number}",
            "drive": f"d{number}",
        }
        if bus == "scsi":
            device["bus"] = "scsi0.0"
        if bus == "ide":
            device["bus"] = IDE_PORTS[machine][ide]
        if bus == "nvme":
            device["serial"] = f"drive{number}"
        elif self.media == "disk":
            # a full host pauses the guest, which can continue once there is room, instead of giving it an error
            device |= {"werror": "stop", "rerror": "stop"}
            device["write-cache"] = "off" if self.cache in {"writethrough", "directsync"} else "on"
        if bootindex is not None:
            device["bootindex"] = bootindex
        yield Option(flag="device", props=device)

    def _blockdev(self, node: str, devices: Container[str]) -> dict[str, object]:
        image, *chain = self.files()
        top = self._layer(node, self.image_format(), image, devices)
        if self.image_format() == "qcow2":
            top["backing"] = self._layer(f"{node}b", self.chain_format(), chain[0], devices) if chain else None
            if chain and self.chain_format() == "qcow2":
                top["backing"]["backing"] = None  # type: ignore[index]
        return top

    def _layer(self, node: str, driver: str, image: Image, devices: Container[str]) -> dict[str, object]:
        flags: dict[str, object] = {"read-only": image.readonly}
        if not image.readonly:
            flags |= {"discard": "unmap" if self.discard else "ignore"}
        cache = {"direct": self.cache in {"none", "directsync"}, "no-flush": self.cache == "unsafe"}
        kind = "host_device" if image.path in devices else "file"
        file = {"driver": kind, "filename": image, "cache": cache, **flags}
        return {"driver": driver, "node-name": node, **flags, "cache": cache, "file": file}


def _told_by(path: str) -> str:
    return next((name for suffix, name in SUFFIXES.items() if path.endswith(suffix)), "")
