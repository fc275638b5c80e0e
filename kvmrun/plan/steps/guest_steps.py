"""Everything that is done to start a guest. A step says what it is in words; host.execute performs it."""

from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.qemu_option import BootFile, Image, Listener, Log, Option, Tap, TemporaryImage, VncDirectory
from kvmrun.model.value import Value
from kvmrun.plan.guest.scope_plan import EnterScope
from kvmrun.plan.guest.vnc_port import BindVncPort
from kvmrun.plan.network.nft_guard import LoadGuard
from kvmrun.plan.steps.firmware_steps import FirmwareStep


class MakeImage(Value):
    """An empty image, or an overlay of `base`. `size` in bytes, None for the base's own.

    With `notes_base` the image keeps what its base was like, so that a later start notices a change.
    """

    path: str
    format: str
    size: int | None
    base: str | None = None
    base_format: str = ""
    notes_base: bool = False

    def __str__(self) -> str:
        size = f" of {self.size}" if self.size else ""
        over = f" over {self.base}" if self.base else ""
        return f"make {self.format} image {self.path}{size}{over}"


class MakeTemporaryImage(Value):
    """An empty image of `size` bytes without a name, in the file system of `directory`."""

    file: TemporaryImage
    size: int
    directory: str

    def __str__(self) -> str:
        return f"make a temporary image of {self.size} in {self.directory}, which is gone when QEMU is"


class WriteSeed(Value):
    """The files of a seed, contents by name, or with `iso` a medium with these files."""

    directory: str
    instance: str
    documents: tuple[tuple[str, bytes], ...]
    iso: bool

    def __str__(self) -> str:
        return f"write the seed {self.instance} to {self.directory}"


class ClaimRunDirectory(Value):
    """The guest's runtime directory with the lock that proves that the guest runs."""

    guest: str
    directory: str

    def __str__(self) -> str:
        return f"claim the runtime directory {self.directory} for {self.guest}"


class OpenFile(Value):
    file: Image | BootFile

    def __str__(self) -> str:
        how = "" if isinstance(self.file, BootFile) else " read-only" if self.file.readonly else " for writing"
        return f"open {self.file.path}{how}"


class MakeVncDirectory(Value):
    directory: VncDirectory
    uid: int | None

    def __str__(self) -> str:
        return f"make {self.directory.path} for the VNC socket"


class OpenTap(Value):
    """A tap, new or made to stay: QEMU needs its descriptor; the rest can come while it starts."""

    tap: Tap
    kept: bool = False

    def __str__(self) -> str:
        return f"open tap {self.tap.name}"


class PlugTap(Value):
    """A tap that is there, as a port of its bridge; `owner` of one that is persistent. `differs` says why, where it is
    a port already.
    """

    tap: str
    mac: str
    bridge: str
    alias: str
    mtu: int
    isolated: bool
    owner: int | None = None
    differs: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.differs == (f"is not on {self.bridge}",):
            return f"plug tap {self.tap} into {self.bridge} again"
        if self.differs:
            return f"restore the settings of {self.tap}, which {', '.join(self.differs)}"
        return f"plug tap {self.tap} into {self.bridge}{', isolated' if self.isolated else ''}"


class RemoveTap(Value):
    """A tap of ours that outlived its guest without having been made persistent."""

    tap: str

    def __str__(self) -> str:
        return f"remove tap {self.tap}, which outlived its guest"


class ListenOnSocket(Value):
    listener: Listener

    def __str__(self) -> str:
        return f"listen on {self.listener.path}"


class StartLogger(Value):
    log: Log
    uid: int | None

    def __str__(self) -> str:
        return f"start its logger, which keeps the newest 4 MB in {self.log.path}"


class WriteRecord(Value):
    path: str
    record: Record

    def __str__(self) -> str:
        return f"write the record {self.path}"


class Launch(Value):
    """QEMU itself, paused. `uid` None: as the caller. `raw` are the user's own words, at the end."""

    qemu: str
    options: tuple[Option, ...]
    raw: tuple[str, ...]
    uid: int | None
    group: int | None
    log: Log

    def __str__(self) -> str:
        return f"start {self.qemu}, paused" + (f", as uid {self.uid}" if self.uid is not None else "")


FileStep = MakeImage | MakeTemporaryImage | WriteSeed | ClaimRunDirectory | OpenFile | MakeVncDirectory | WriteRecord
GuestStep = (
    FileStep
    | BindVncPort
    | RemoveTap
    | OpenTap
    | PlugTap
    | ListenOnSocket
    | LoadGuard
    | StartLogger
    | Launch
    | FirmwareStep
    | EnterScope
)
