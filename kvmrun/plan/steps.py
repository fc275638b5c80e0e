"""Everything that can be done to a host. A step says what it is in words; host.hand does it."""

from kvmrun.model.frozen import Frozen
from kvmrun.model.option import BootFile, Image, Listener, Log, Option, Tap, VncDirectory
from kvmrun.model.record import Record
from kvmrun.plan.display import TakePort
from kvmrun.plan.guard import LoadGuard
from kvmrun.plan.scope import EnterScope
from kvmrun.plan.ways import WayStep


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


class KeepTap(Frozen):
    """A tap that stays, for `owner` (a uid) to start its guest without privileges."""

    tap: str
    queues: int
    owner: int
    mac: str
    bridge: str
    alias: str
    mtu: int
    isolated: bool

    def __str__(self) -> str:
        return f"make tap {self.tap} on {self.bridge} for uid {self.owner}, to stay"


class DropTap(Frozen):
    tap: str
    queues: int

    def __str__(self) -> str:
        return f"remove tap {self.tap}"


class Join(Frozen):
    """A running guest's tap back to its bridge."""

    tap: str
    bridge: str
    isolated: bool

    def __str__(self) -> str:
        return f"plug tap {self.tap} into {self.bridge} again"


class SetUp(Frozen):
    link: str

    def __str__(self) -> str:
        return f"set {self.link} up"


class SetSysctl(Frozen):
    """A setting below /proc/sys/net, remembered with its earlier value as long as a `user` needs it."""

    name: str
    value: str
    user: str

    def __str__(self) -> str:
        return f"set net.{self.name.replace('/', '.')} = {self.value}"


class RestoreSysctls(Frozen):
    user: str

    def __str__(self) -> str:
        return "restore the settings of the kernel that were changed"


class LoadRules(Frozen):
    """Replace our table in one transaction. `digest` is that of the text, kept in `record`."""

    table: str
    text: str
    digest: str
    record: str

    def __str__(self) -> str:
        return f"load the packet filter table {self.table}"


class DropRules(Frozen):
    table: str
    record: str

    def __str__(self) -> str:
        return f"remove the packet filter table {self.table}"


class WriteNames(Frozen):
    """One of dnsmasq's files: ours, readable for the account it runs as."""

    path: str
    text: str
    uid: int

    def __str__(self) -> str:
        return f"write {self.path}"


class StartNames(Frozen):
    """dnsmasq for one network, with the configuration at `config`, in place of one that runs."""

    network: str
    bridge: str
    config: str
    leases: str
    log: str
    uid: int
    log_uid: int

    def __str__(self) -> str:
        return f"start dnsmasq on {self.bridge} with {self.config}"


class ReloadNames(Frozen):
    network: str
    config: str
    uid: int

    def __str__(self) -> str:
        return f"have dnsmasq of {self.network} read names and reservations again"


class StopNames(Frozen):
    network: str
    config: str
    uid: int

    def __str__(self) -> str:
        return f"stop dnsmasq of {self.network}"


class RemoveFiles(Frozen):
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"remove {', '.join(self.paths)}"


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
    isolated: bool

    def __str__(self) -> str:
        return f"plug tap {self.tap.name} into {self.bridge}{', isolated' if self.isolated else ''}"


class AttachTap(Frozen):
    """A tap that was made to stay and is a port already: opened, nothing else."""

    tap: Tap

    def __str__(self) -> str:
        return f"open tap {self.tap.name}, made by kvmrun net up --owner"


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


LinkStep = MakeBridge | SetBridge | AddAddress | RemoveAddress | SetUp | Join | KeepTap | DropTap | RemoveBridge
NamesStep = StartNames | ReloadNames | StopNames
OtherStep = SetSysctl | RestoreSysctls | LoadRules | DropRules | WriteNames | RemoveFiles
NetworkStep = LinkStep | NamesStep | OtherStep | WayStep
FileStep = MakeImage | TakePlace | OpenFile | MakeVncDirectory | WriteRecord
GuestStep = FileStep | PlugTap | AttachTap | Listen | TakePort | LoadGuard | StartLogger | Launch | EnterScope
Step = NetworkStep | GuestStep
