"""Looking at the host: the facts a plan asks for, and nothing that is not asked."""

import os
import pwd
import stat

from kvmrun.config.standard_paths import absolute, exchangeable
from kvmrun.errors import KvmrunError, Refused, reason
from kvmrun.host.facts import block_device
from kvmrun.host.files import small_files
from kvmrun.host.links import persistent_taps, tap_device
from kvmrun.host.process import process
from kvmrun.host.rundir import records
from kvmrun.light.abc import Iterable, Iterator, Mapping
from kvmrun.light.contextlib import suppress
from kvmrun.light.typing import Literal
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import KeptTap
from kvmrun.model.guest.paths import Directories, Place
from kvmrun.model.network import link_mark
from kvmrun.plan.start_facts import File, Host

Users = dict[bool, str]
"""{for writing: guest}"""


class Opened:
    """Who of the running guests has a file open, and who has one that lies on it."""

    def __init__(self) -> None:
        self._same: dict[block_device.Key, Users] = {}
        self._below: dict[block_device.Key, Users] = {}

    def add(self, file: os.stat_result, guest: str, *, writing: bool) -> None:
        for table, keys in ((self._same, block_device.same(file)), (self._below, block_device.below(file))):
            for key in keys:
                table.setdefault(key, {})[writing] = guest

    def users(self, file: os.stat_result) -> Users:
        """Those who would notice if `file` were written: it is theirs, or lies on theirs, or theirs on it."""
        found: Users = {}
        for table, keys in ((self._same, block_device.below(file)), (self._below, block_device.same(file))):
            for key in keys:
                found |= table.get(key, {})
        return found


_SYSTEMD = "/run/systemd/system"


class Others:
    """The guests that run when a command begins to start some, looked at once for all of these.

    Those it starts itself are of one lab: what two of them may not share is known from their definitions.
    """

    def __init__(self, where: Directories) -> None:
        self._records: dict[str, Record] | None = None
        self._opened: Opened | None = None
        self._where = where

    def pids(self) -> dict[str, int]:
        """Their pids, by their records; those without one hold no file we know of."""
        return {name: one.pid for name, one in self.records().items() if one.pid}

    def records(self) -> dict[str, Record]:
        """Their records, of every lab in the run directory."""
        if self._records is None:
            self._records = records.running(self._where)
        return self._records

    def opened(self) -> Opened:
        if self._opened is None:
            self._opened = _opened(self.pids())
        return self._opened


def host(guest: Guest, place: Place, where: Directories, others: Others) -> Host:
    """Everything about the host but its networks that starting `guest` depends on."""
    access, gid = kvm(root=where.root)
    files = _files(guest, others)
    kept = persistent_taps.kept(where, ((guest.name, port) for port in place.ports))
    return Host(
        qemu=(program := qemu()),
        qemu_problem=_unusable(program, root=where.root and not guest.user) if program else "",
        kvm=access,
        kvm_gid=gid,
        vhost=has_vhost(),
        nft=bool(process.find_tool("nft")),
        root=where.root,
        systemd=systemd(root=where.root),
        uid=os.geteuid(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        images=where.images,
        files=files,
        beside={path: _beside(path) for path, file in files.items() if file is None},
        exchangeable=_exchangeable(files) if where.root else {},
        taken_taps=frozenset(port.tap for port in place.ports if tap_device.index(port.tap)),
        marks={port.tap: alias for port in place.ports if (alias := tap_device.alias(port.tap))},
        leftover_taps=frozenset(_leftovers(guest.name, place, kept)) if where.root else frozenset(),
        kept_taps=kept,
        taken_uids=_uids(others.pids()) if place.uid is not None else {},
        taken_ports=_ports(guest, others),
        accounts=accounts([guest.user] if guest.user else []),
    )


def _ports(guest: Guest, others: Others) -> dict[int, str]:
    """Who has the port that the guest is to be shown on, where it is not free."""
    if not guest.display.port:
        return {}
    from kvmrun.host.facts import tcp_port

    return {guest.display.port: holder} if (holder := tcp_port.holder(guest.display.port, others.pids())) else {}


def qemu() -> str:
    """The QEMU binary, "" when there is none. Raises Refused for a name that cannot be shown."""
    given = os.environ.get("KVMRUN_QEMU", "")
    if not given.isprintable():
        raise Refused(f"{given} is no QEMU", "unset KVMRUN_QEMU", why="it cannot be shown as it is")
    return (absolute(given) if "/" in given else given) or process.find_tool("qemu-system-x86_64")


def _unusable(program: str, *, root: bool) -> str:
    """Why the program cannot be run, "" where it can; for `root` it runs as an account with no rights of its own."""
    if "/" not in program:
        return "" if process.find_tool(program) else f"there is no {program} in /usr/bin and the like"
    try:
        mode = os.stat(program).st_mode
    except OSError as why:
        return reason(why)
    if not stat.S_ISREG(mode):
        return f"{program} is not a file"
    if not root:
        return "" if os.access(program, os.X_OK) else f"{program}: permission denied"
    path = program
    while path != "/":
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return f"the account of the guest may not pass {path}" if path != program else f"{path} is not executable"
        path = os.path.dirname(path)
    return ""


def systemd(*, root: bool) -> bool:
    """Whether there is a systemd that would take a guest of ours: the system's for root, else the user's own."""
    if not os.path.isdir(_SYSTEMD):
        return False
    bus = root or os.path.exists(f"{os.environ.get('XDG_RUNTIME_DIR', '')}/bus")
    return bus and bool(process.find_tool("busctl"))


def has_vhost() -> bool:
    return os.access("/dev/vhost-net", os.R_OK | os.W_OK)


def devices(guest: Guest) -> set[str]:
    """Those of its images that are block devices."""
    return {file.path for drive in guest.drive for file in drive.files() if stat.S_ISBLK(_mode(file.path))}


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def accounts(names: Iterable[str]) -> dict[str, int]:
    """The uids of those of `names` that exist."""
    found = {}
    for name in names:
        try:
            found[name] = pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return found


def kvm(*, root: bool) -> tuple[Literal["ready", "absent", "forbidden"], int]:
    """Whether a QEMU without privileges could open /dev/kvm, and the group that lets it."""
    try:
        found = os.stat("/dev/kvm")
    except OSError:
        return "absent", 0
    if root:
        ready = found.st_mode & 0o006 == 0o006 or (found.st_mode & 0o060 == 0o060 and found.st_gid != 0)
    else:
        ready = os.access("/dev/kvm", os.R_OK | os.W_OK)
    return "ready" if ready else "forbidden", found.st_gid


def _uids(others: Mapping[str, int]) -> dict[int, str]:
    return {uid: other for other, pid in others.items() if (uid := process.account(pid)) >= 0}


def _files(guest: Guest, others: Others) -> dict[str, File | None]:
    files: dict[str, File | None] = {}
    if guest.drive:
        from kvmrun.host.files import image_files

        opened = others.opened()
        for drive in guest.drive:
            formats = {drive.image: drive.image_format(), **({drive.base: drive.chain_format()} if drive.base else {})}
            files |= {path: _with_users(image_files.look(path, formats[path]), path, opened) for path in formats}
    for path in (guest.boot.kernel, guest.boot.initrd):
        if path:
            files[path] = File(kind="file", size=0) if os.path.isfile(path) else None
    return files


def _beside(path: str) -> tuple[str, ...]:
    """Names in the directory of that path, for somebody who has mistyped one of them."""
    try:
        return tuple(sorted(os.listdir(os.path.dirname(path)))[:1000])
    except OSError:
        return ()


def images(guest: Guest) -> dict[str, File | None]:
    """The guest's images, as far as they are there and can be read."""
    from kvmrun.host.files import image_files

    found: dict[str, File | None] = {}
    for drive in guest.drive:
        for path, kind in ((drive.image, drive.image_format()), (drive.base, drive.chain_format())):
            with suppress(KvmrunError):
                found[path or ""] = image_files.look(path, kind) if path else None
    return found


def _exchangeable(paths: Iterable[str]) -> dict[str, str]:
    """Those of `paths` where another user could put another file before root opens it, with the reason."""
    return {path: why for path in paths if (why := exchangeable(path, os.environ))}


def _with_users(file: File | None, path: str, opened: Opened) -> File | None:
    if file is None:
        return None
    users = opened.users(os.stat(path))
    return file.but(writer=users.get(True, ""), reader=users.get(False, ""))


def _opened(others: Mapping[str, int]) -> Opened:
    found = Opened()
    for guest, pid in others.items():
        for number, file in _descriptors(pid):
            try:
                with open(f"/proc/{pid}/fdinfo/{number}", encoding="utf-8") as info:
                    flags = int(info.read(256).split("flags:")[1].split()[0], 8)
            except (OSError, ValueError, IndexError):
                continue
            found.add(file, guest, writing=flags & os.O_ACCMODE != os.O_RDONLY)
    return found


def _descriptors(pid: int) -> list[tuple[str, os.stat_result]]:
    found = []
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []
    for number in numbers:
        try:
            found.append((number, os.stat(f"/proc/{pid}/fd/{number}")))
        except OSError:
            continue
    return found


def _leftovers(guest: str, place: Place, kept: Mapping[str, KeptTap]) -> Iterator[str]:
    """The taps of a guest that does not run which are there all the same."""
    for port in place.ports:
        if (
            port.tap not in kept
            and tap_device.index(port.tap)
            and link_mark.is_same(tap_device.alias(port.tap), port.alias(guest))
        ):
            yield port.tap


def read(path: str) -> str | None:
    return small_files.text(path)
