"""One QEMU option as data, and the handles in it: a file, socket or tap that is passed by descriptor.

The same options are spelled in two ways from one table. As run, a handle is the descriptors the table holds for it;
as a person would type it, it is a path or an interface name.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kvmrun.model.value import EMPTY, Value

_JSON_FLAGS = frozenset({"blockdev", "device", "netdev", "object"})


class Image(Value):
    """An image file, opened by us and passed as a descriptor set."""

    path: str
    readonly: bool

    def typed(self) -> str:
        return self.path

    def passed(self, fds: Sequence[int]) -> str:
        return f"/dev/fdset/{fds[0]}"


class TemporaryImage(Value):
    """An image without a name, made for one run of QEMU and passed as a descriptor set: it is gone when QEMU is.

    `path` is for reading alone.
    """

    path: str

    def typed(self) -> str:
        return self.path

    def passed(self, fds: Sequence[int]) -> str:
        return f"/dev/fdset/{fds[0]}"


class BootFile(Value):
    """A kernel or an initial RAM disk: QEMU takes no descriptor set here, but opens its own descriptor by path."""

    path: str

    def typed(self) -> str:
        return self.path

    def passed(self, fds: Sequence[int]) -> str:
        return f"/proc/self/fd/{fds[0]}"


class Listener(Value):
    """A Unix socket in the guest's run directory on which QEMU listens."""

    path: str

    def typed(self) -> Mapping[str, str]:
        return {"path": self.path}

    def passed(self, fds: Sequence[int]) -> Mapping[str, str]:
        return {"fd": str(fds[0])}


class VncDirectory(Value):
    """The directory, owned by the guest's uid, in which QEMU makes its VNC socket."""

    path: str

    def typed(self) -> str:
        return f"unix:{self.path.replace(',', ',,')}/v"

    def passed(self, fds: Sequence[int]) -> str:
        return f"unix:/proc/self/fd/{fds[0]}/v"


class VncPort(Value):
    """A TCP port of the loopback address, bound by us: QEMU begins without, and is handed it before the guest runs."""

    number: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.number}"

    def typed(self) -> str:
        return f"127.0.0.1:{self.number - 5900}"

    def passed(self, _fds: Sequence[int]) -> str:
        return "none"


class Tap(Value):
    """The host end of a NIC; one descriptor a queue, then one of /dev/vhost-net a queue where that is used."""

    name: str
    queues: int
    vhost: bool

    def typed(self) -> Mapping[str, object]:
        spelled: dict[str, object] = {"ifname": self.name, "script": "no", "downscript": "no"}
        if self.queues > 1:
            spelled["queues"] = self.queues
        return spelled | ({"vhost": True} if self.vhost else {})

    def passed(self, fds: Sequence[int]) -> Mapping[str, object]:
        plural = "s" if self.queues > 1 else ""
        taps, vhosts = fds[: self.queues], fds[self.queues :]
        spelled: dict[str, object] = {f"fd{plural}": ":".join(map(str, taps))}
        if self.vhost:
            spelled |= {"vhost": True, f"vhostfd{plural}": ":".join(map(str, vhosts))}
        return spelled


class Log(Value):
    """The pipe into the guest's logger, passed as a descriptor set; `path` is the directory it keeps."""

    path: str

    def typed(self) -> str:
        return f"{self.path}/current"

    def passed(self, fds: Sequence[int]) -> str:
        return f"/dev/fdset/{fds[0]}"


class TpmSocket(Value):
    """The control channel of the guest's swtpm, connected by us; `path` is where one would be listened on."""

    path: str

    def typed(self) -> Mapping[str, str]:
        return {"path": self.path}

    def passed(self, fds: Sequence[int]) -> Mapping[str, str]:
        return {"fd": str(fds[0])}


HANDLES = (TpmSocket, Image, TemporaryImage, BootFile, Listener, VncDirectory, VncPort, Tap, Log)
Handle = TpmSocket | Image | TemporaryImage | BootFile | Listener | VncDirectory | VncPort | Tap | Log
_IN_SETS = Image | TemporaryImage | Log
Table = Mapping[Handle, Sequence[int]]


class Option(Value):
    """`-flag`, then `text`, then `props` (as JSON where QEMU takes it). A handle may stand for either value.

    A handle among the props whose spelling is a mapping puts its keys in place of its own.
    """

    flag: str
    text: str | Handle = ""
    props: Mapping[str, object] = EMPTY

    def argv(self, table: Table | None) -> tuple[str, ...]:
        """The words of this option; `table` gives the descriptors of each handle, None spells it for a person."""
        props = _spelled(self.props, table)
        if self.flag in _JSON_FLAGS:
            return f"-{self.flag}", json.dumps(props)
        text = str(_spell(self.text, table))
        words = ([text] if text else []) + [f"{key}={str(value).replace(',', ',,')}" for key, value in props.items()]
        return (f"-{self.flag}", ",".join(words)) if words else (f"-{self.flag}",)

    def spelled(self, table: Table) -> Mapping[str, object]:
        """The props as QMP takes them, with these descriptors for the handles."""
        return _spelled(self.props, table)

    def handles(self) -> Iterator[Handle]:
        """Every handle this option needs, in order."""
        if isinstance(self.text, HANDLES):
            yield self.text
        yield from _within(self.props)


def argv(options: Iterable[Option], table: Table | None) -> list[tuple[str, ...]]:
    """All options spelled, each descriptor set introduced before its first use."""
    words: list[tuple[str, ...]] = []
    known: set[int] = set()
    for option in options:
        if table is not None:
            for handle in option.handles():
                if isinstance(handle, _IN_SETS) and (fd := table[handle][0]) not in known:
                    known.add(fd)
                    words.append(("-add-fd", f"fd={fd},set={fd}"))
        words.append(option.argv(table))
    return words


def _within(value: object) -> Iterator[Handle]:
    if isinstance(value, HANDLES):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _within(inner)


def _spell(value: object, table: Table | None) -> object:
    if isinstance(value, HANDLES):
        return value.typed() if table is None else value.passed(table[value])
    return _spelled(value, table) if isinstance(value, Mapping) else value


def _spelled(props: Mapping[str, object], table: Table | None) -> dict[str, object]:
    spelled: dict[str, object] = {}
    for key, value in props.items():
        found = _spell(value, table)
        if isinstance(value, HANDLES) and isinstance(found, Mapping):
            spelled |= found
        else:
            spelled[key] = found
    return spelled
