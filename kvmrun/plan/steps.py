"""Everything that can be done to a host. A step says what it is in words; host.hand does it."""

from kvmrun.model.frozen import Frozen
from kvmrun.model.option import BootFile, Image, Listener, Log, Option, Tap, VncDirectory
from kvmrun.model.record import Record


class MakeBridge(Frozen):
    name: str
    alias: str

    def __str__(self) -> str:
        return f"make bridge {self.name}"


class SetBridge(Frozen):
    """Attributes of a bridge of ours, all written at once."""

    name: str
    mac: str
    mtu: int

    def __str__(self) -> str:
        return f"set bridge {self.name}: MAC {self.mac}, MTU {self.mtu}, no spanning tree, no forwarding delay"


class AddAddress(Frozen):
    link: str
    address: str

    def __str__(self) -> str:
        return f"give {self.link} the address {self.address}"


class RemoveAddress(Frozen):
    link: str
    address: str

    def __str__(self) -> str:
        return f"take the address {self.address} from {self.link}"


class SetUp(Frozen):
    link: str

    def __str__(self) -> str:
        return f"set {self.link} up"


class RemoveBridge(Frozen):
    name: str

    def __str__(self) -> str:
        return f"remove bridge {self.name}"


class MakeImage(Frozen):
    """An empty image, or an overlay of `base`. `size` in bytes, None for the base's own."""

    path: str
    format: str
    size: int | None
    base: str | None = None
    base_format: str = ""

    def __str__(self) -> str:
        size = f" of {self.size}" if self.size else ""
        over = f" over {self.base}" if self.base else ""
        return f"make {self.format} image {self.path}{size}{over}"


class TakePlace(Frozen):
    """The guest's run directory, and in it the lock that says the guest lives."""

    guest: str
    directory: str

    def __str__(self) -> str:
        return f"take the place of {self.guest} in {self.directory}"


class OpenFile(Frozen):
    file: Image | BootFile

    def __str__(self) -> str:
        how = "" if isinstance(self.file, BootFile) else " read-only" if self.file.readonly else " for writing"
        return f"open {self.file.path}{how}"


class MakeVncDirectory(Frozen):
    directory: VncDirectory
    uid: int | None

    def __str__(self) -> str:
        return f"make {self.directory.path} for the VNC socket"


class PlugTap(Frozen):
    tap: Tap
    mac: str
    bridge: str
    alias: str
    mtu: int

    def __str__(self) -> str:
        return f"plug tap {self.tap.name} into {self.bridge}"


class Listen(Frozen):
    listener: Listener

    def __str__(self) -> str:
        return f"listen on {self.listener.path}"


class StartLogger(Frozen):
    log: Log
    uid: int | None

    def __str__(self) -> str:
        return f"start its logger, which keeps the newest 4 MB in {self.log.path}"


class WriteRecord(Frozen):
    path: str
    record: Record

    def __str__(self) -> str:
        return f"write the record {self.path}"


class Launch(Frozen):
    """QEMU itself, paused. `uid` None: as the caller. `raw` are the user's own words, at the end."""

    qemu: str
    options: tuple[Option, ...]
    raw: tuple[str, ...]
    uid: int | None
    group: int | None
    log: Log

    def __str__(self) -> str:
        return f"start {self.qemu}, paused" + (f", as uid {self.uid}" if self.uid is not None else "")


NetworkStep = MakeBridge | SetBridge | AddAddress | RemoveAddress | SetUp | RemoveBridge
GuestStep = MakeImage | TakePlace | OpenFile | MakeVncDirectory | PlugTap | Listen | StartLogger | WriteRecord | Launch
Step = NetworkStep | GuestStep
