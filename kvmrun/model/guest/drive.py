"""A drive: what the guest sees, and the image behind it."""

from collections.abc import Container, Iterator
from typing import Literal

from kvmrun.model.guest import drive_throttle
from kvmrun.model.guest.qemu_option import Image, Option, TemporaryImage
from kvmrun.model.scalars import BaseImage, FilePath, Size
from kvmrun.model.value import Value

SUFFIXES = {".qcow2": "qcow2", ".raw": "raw", ".img": "raw", ".iso": "raw"}
_DEVICES = {"virtio": "virtio-blk-{bus}", "scsi": "scsi-{kind}", "ide": "ide-{kind}", "nvme": "nvme"}
IDE_PORTS = {"q35": ("ide.0", "ide.1", "ide.2", "ide.3", "ide.4", "ide.5"), "pc": ("ide.0", "ide.0", "ide.1", "ide.1")}
"""The bus of each IDE drive in turn: left to itself QEMU puts all on the first, where q35 has room for one."""
_BUSES = {"q35": tuple(_DEVICES), "pc": tuple(_DEVICES), "microvm": ("virtio", "scsi")}


class FileUse(Value):
    """How the files of a guest's drives are used: `devices` are the paths of block devices.

    With `throwaway` nothing is written to them, and `missing` are those that are still to be made. `aio` are the aio
    modes of QEMU beside "threads" that it and the kernel have.
    """

    devices: Container[str] = ()
    throwaway: bool = False
    missing: Container[str] = ()
    aio: Container[str] = ()


class Drive(Value):
    """One drive. `format` and `base_format` are never probed: given, or told by the suffix of the file's name.

    A CD-ROM without an image is an empty tray, and so is an `optional` one whose image is not there.
    """

    image: FilePath = FilePath("")
    format: Literal["qcow2", "raw"] | None = None
    base: BaseImage | None = None
    base_format: Literal["qcow2", "raw"] | None = None
    size: Size | None = None
    media: Literal["disk", "cdrom"] = "disk"
    optional: bool = False
    readonly: bool = False
    interface: Literal["virtio", "scsi", "ide", "nvme"] | None = None
    cache: Literal["writeback", "none", "writethrough", "directsync", "unsafe"] = "writeback"
    discard: bool = True
    detect_zeroes: Literal["unmap", "on", "off"] | None = None
    aio: Literal["io_uring", "native", "threads"] | None = None
    bps: Size | None = None
    read_bps: Size | None = None
    write_bps: Size | None = None
    iops: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None

    def problems(self, machine: str) -> Iterator[tuple[str, str, str]]:
        """What is wrong with this drive as (key, found, wanted)."""
        yield from self._image_problems()
        if self.image and not self.image_format():
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
        yield from self._speed_problems()

    def _image_problems(self) -> Iterator[tuple[str, str, str]]:
        if self.media == "disk":
            if not self.image:
                yield "image", "", 'a path: only media = "cdrom" can be without'
            if self.optional:
                yield "optional", "true", 'media = "cdrom" beside it: a disk cannot be absent'
        elif not self.image:
            for key in ("format", "base", "base_format", "size", "optional"):
                if found := getattr(self, key):
                    yield key, "true" if found is True else f"{found}", "no value, because this CD-ROM has no image"

    def emptied(self) -> "Drive":
        """The CD-ROM with an empty tray."""
        return self.replace(image=FilePath(""), format=None, base=None, base_format=None, size=None, optional=False)

    def with_medium(self, path: FilePath) -> "Drive":
        """The CD-ROM with that file in its tray: a raw one where the suffix does not tell."""
        return self.replace(image=path, format=None if _told_by(path) else "raw")

    def _speed_problems(self) -> Iterator[tuple[str, str, str]]:
        if self.media == "cdrom":
            for key in ("detect_zeroes", "aio", *drive_throttle.KEYS):
                if (found := getattr(self, key)) is not None:
                    yield key, f"{found}", "no value, because this drive is a CD-ROM"
            return
        if self.detect_zeroes == "unmap" and not self.discard:
            yield "detect_zeroes", "unmap", '"on" or "off", because discard is off'
        if self.aio == "native" and not self._is_direct():
            yield "aio", "native", 'cache = "none" or "directsync" beside it'
        yield from drive_throttle.problems(self._limits())

    def _limits(self) -> dict[str, int | None]:
        return {key: getattr(self, key) for key in drive_throttle.KEYS}

    def _is_direct(self) -> bool:
        return self.cache in {"none", "directsync"}

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
        if self.image:
            yield Image(path=self.image, readonly=self.is_readonly())
        if self.base:
            yield Image(path=self.base, readonly=True)

    def temporary(self) -> TemporaryImage:
        """What a throwaway guest writes to instead of the image."""
        return TemporaryImage(path=f"{self.image}.throwaway")

    def throwaway_files(self, missing: Container[str]) -> Iterator[Image]:
        """The files QEMU is to have where nothing is to be written, less those that are still to be made."""
        return (file.replace(readonly=True) for file in self.files() if file.path not in missing)

    def options(self, number: int, machine: str, *, ide: int, bootindex: int | None, use: FileUse) -> Iterator[Option]:
        """Drive `number` of the guest, with `ide` IDE drives before it.

        `bootindex` is its turn when the firmware looks for something to boot.
        """
        above = ""
        for option in self._nodes(f"d{number}", use):
            yield option
            above = f"{option.props.get('node-name', '')}"
        bus = self.bus(machine)
        kind = "cd" if self.media == "cdrom" else "hd"
        device: dict[str, object] = {
            "driver": _DEVICES[bus].format(bus="device" if machine == "microvm" else "pci", kind=kind),
            "id": f"drive{number}",
        }
        if above:
            device["drive"] = above
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

    def _nodes(self, node: str, use: FileUse) -> Iterator[Option]:
        """The image, with its limits above it; nothing for an empty tray."""
        if not self.image:
            return
        props = self._blockdev(node, use)
        if limits := drive_throttle.limits(self._limits()):
            yield drive_throttle.group_option(f"limits{node[1:]}", limits)
            above: dict[str, object] = {"driver": "throttle", "node-name": throttle_node(node)}
            above |= {key: value for key, value in props.items() if key in {"read-only", "discard", "cache"}}
            props = {**above, "throttle-group": f"limits{node[1:]}", "file": props}
        yield Option(flag="blockdev", props=props)

    def medium(self, node: str, use: FileUse) -> Option:
        """The image of a CD-ROM as a node by itself, to be inserted into its tray."""
        return Option(flag="blockdev", props=self._blockdev(node, use))

    def _blockdev(self, node: str, use: FileUse) -> dict[str, object]:
        """The image with what it lies on; every element of the chain is listed, so that QEMU follows no name."""
        layers: list[tuple[str, Image | TemporaryImage]] = []
        files = self.files()
        if use.throwaway and not self.is_readonly():
            layers.append(("qcow2", self.temporary()))
            files = self.throwaway_files(use.missing)
        layers += [(self.image_format() if file.path == self.image else self.chain_format(), file) for file in files]
        found: dict[str, object] | None = None
        for depth, (driver, file) in reversed([*enumerate(layers)]):
            below, found = found, self._layer(f"{node}{'b' * depth}", driver, file, use)
            if driver == "qcow2":
                found["backing"] = below
        assert found is not None
        if not self.is_readonly():
            found["detect-zeroes"] = self.detect_zeroes or ("on" if self.discard else "off")
        return found

    def _layer(self, node: str, driver: str, image: Image | TemporaryImage, use: FileUse) -> dict[str, object]:
        temporary = isinstance(image, TemporaryImage)
        readonly = isinstance(image, Image) and image.readonly
        flags: dict[str, object] = {"read-only": readonly}
        if not readonly:
            flags |= {"discard": "unmap" if self.discard else "ignore"}
        cache = {"direct": self._is_direct(), "no-flush": self.cache == "unsafe"}
        if temporary:
            cache = {"direct": False, "no-flush": True}  # nobody reads it after the guest
        kind = "host_device" if image.path in use.devices else "file"
        file: dict[str, object] = {"driver": kind, "filename": image, "cache": cache, **flags}
        if self.media == "disk":
            file["aio"] = self._way(use.aio, direct=cache["direct"])
        return {"driver": driver, "node-name": node, **flags, "cache": cache, "file": file}

    def _way(self, known: Container[str], *, direct: bool) -> str:
        """The aio mode of QEMU for one file; QEMU takes "native" only past the page cache of the host."""
        wanted = [self.aio] if self.aio else [way for way in ("io_uring", "native") if way in known]
        return next((way for way in wanted if way != "native" or direct), "threads")


def throttle_node(node: str) -> str:
    """The node that holds the requests to another one back, where the drive has limits."""
    return f"{node}t"


def _told_by(path: str) -> str:
    return next((name for suffix, name in SUFFIXES.items() if path.endswith(suffix)), "")
