"""Facts of the host that the start of a guest depends on."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from kvmrun.config.standard_paths import make_absolute, untrusted_fix
from kvmrun.errors import Refused, host_reason
from kvmrun.host.disk import image_aio
from kvmrun.host.facts import block_device
from kvmrun.host.facts.guest_runtime import account_ids
from kvmrun.host.files import named_files, ownership, small_files
from kvmrun.host.firmware import machine_pin
from kvmrun.host.links import persistent_taps, tap_device
from kvmrun.host.process import process
from kvmrun.host.rundir import records
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import PersistentTap
from kvmrun.model.machine.machine_type import MachineType
from kvmrun.model.network import link_alias
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.value import EMPTY
from kvmrun.plan.firmware_facts import FirmwareFacts
from kvmrun.plan.host_facts import DiskFacts, ImageFacts, StartFacts

Users = dict[bool, str]
"""{for writing: guest}"""


class OpenFileIndex:
    """Who of the running guests has a file open, and who has one that lies on it."""

    def __init__(self) -> None:
        self._same: dict[block_device.Key, Users] = {}
        self._below: dict[block_device.Key, Users] = {}

    def add(self, file: os.stat_result, guest: str, *, writing: bool) -> None:
        for table, keys in (
            (self._same, block_device.identities(file)),
            (self._below, block_device.identities_below(file)),
        ):
            for key in keys:
                table.setdefault(key, {})[writing] = guest

    def users(self, file: os.stat_result) -> Users:
        """The guests that a write to `file` affects: they use it, what it lies on, or what lies on it."""
        found: Users = {}
        for table, keys in (
            (self._same, block_device.identities_below(file)),
            (self._below, block_device.identities(file)),
        ):
            for key in keys:
                found |= table.get(key, {})
        return found


_SYSTEMD = "/run/systemd/system"


class RunningGuests:
    """The guests that run when a command begins to start some, looked at once for all of these.

    Those it starts itself are of one lab: what two of them may not share is known from their definitions.
    """

    def __init__(self, where: Paths) -> None:
        self._records: dict[str, Record] | None = None
        self._opened: OpenFileIndex | None = None
        self._where = where

    def pids(self) -> dict[str, int]:
        """Their pids, by their records; those without one hold no file we know of."""
        return {name: one.pid for name, one in self.records().items() if one.pid}

    def records(self) -> dict[str, Record]:
        """Their records, of every lab in the run directory."""
        if self._records is None:
            self._records = records.running(self._where)
        return self._records

    def opened(self) -> OpenFileIndex:
        if self._opened is None:
            self._opened = _opened(self.pids())
        return self._opened


def start_facts(guest: Guest, runtime: GuestRuntime, where: Paths, others: RunningGuests) -> StartFacts:
    """Everything about the host but its networks that starting `guest` depends on."""
    access, gid = kvm_facts(root=where.root)
    machine = known_machine(guest, where)
    kept = persistent_taps.kept(where, ((guest.name, port) for port in runtime.ports))
    marks = {port.tap: alias for port in runtime.ports if (alias := tap_device.alias(port.tap))}
    return StartFacts(
        qemu=(program := qemu_facts()),
        qemu_problem=_unusable(program, root=where.root and not guest.user) if program else "",
        kvm=access,
        kvm_gid=gid,
        vhost=has_vhost(),
        nft=bool(process.find_program("nft")),
        root=where.root,
        systemd=systemd(root=where.root),
        uid=os.geteuid(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        **vars(disk_facts(guest, where, others)),
        taken_taps=frozenset(port.tap for port in runtime.ports if tap_device.ifindex(port.tap)),
        marks=marks,
        leftover_taps=frozenset(_leftovers(guest.name, runtime, kept, marks)) if where.root else frozenset(),
        kept_taps=kept,
        taken_uids=_uids(others.pids()) if runtime.uid is not None else {},
        taken_ports=_ports(guest, others),
        accounts=account_ids([guest.user] if guest.user else []),
        machine=machine,
        firmware=firmware_facts([guest], where, {guest.name: machine}).get(guest.name),
        aio=image_aio.aio_facts(guest, program),
        swtpm=bool(guest.tpm and process.find_program("swtpm")),
    )


def disk_facts(guest: Guest, where: Paths, others: RunningGuests) -> DiskFacts:
    """Everything about the files of a guest that using them depends on."""
    files = _files(guest, others, where.store)
    return DiskFacts(
        images=where.images,
        files=files,
        beside={path: named_files.names_beside(path) for path, file in files.items() if file is None},
        exchangeable=_exchangeable(files) if where.root else {},
    )


def known_machine(guest: Guest, where: Paths) -> MachineType | None:
    """The version of its machine that the guest has since its first start, None before that and where it is given."""
    found = machine_pin.read_pin(ownership.guest_state(where, guest.name), guest.machine)
    return found if found != guest.machine else None


def firmware_facts(
    guests: Iterable[Guest], where: Paths, machines: Mapping[str, MachineType | None] = EMPTY
) -> dict[str, FirmwareFacts]:
    """What this host has for the firmware of those with UEFI, by name; `machines` are those that are known already."""
    asking = [guest for guest in guests if guest.firmware == "uefi"]
    if not asking:
        return {}
    from kvmrun.host.firmware import descriptor_files, firmware_lookup  # only for guests with UEFI

    found = descriptor_files.read_descriptors(root=where.root)
    known = {one.name: machines[one.name] if one.name in machines else known_machine(one, where) for one in asking}
    asked = [guest.replace(machine=known[guest.name] or guest.machine) for guest in asking]
    return {guest.name: firmware_lookup.firmware_facts(guest, where, qemu_facts(), found) for guest in asked}


def _ports(guest: Guest, others: RunningGuests) -> dict[int, str]:
    """Who has the port that the guest is to be shown on, where it is not free."""
    if not guest.display.port:
        return {}
    from kvmrun.host.facts import tcp_port

    return {guest.display.port: holder} if (holder := tcp_port.port_owner(guest.display.port, others.pids())) else {}


def qemu_facts() -> str:
    """The QEMU binary, "" when there is none. Raises Refused for a name that cannot be shown."""
    given = os.environ.get("KVMRUN_QEMU", "")
    if not given.isprintable():
        raise Refused(f"{given} is no QEMU", "unset KVMRUN_QEMU", reason="it cannot be shown as it is")
    return (make_absolute(given) if "/" in given else given) or process.find_program("qemu-system-x86_64")


def _unusable(program: str, *, root: bool) -> str:
    """Why the program cannot be run, "" where it can; for `root` it runs as an account with no rights of its own."""
    if "/" not in program:
        return "" if process.find_program(program) else f"there is no {program} in /usr/bin and the like"
    try:
        mode = os.stat(program).st_mode
    except OSError as error:
        return host_reason(error)
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
    return bus and bool(process.find_program("busctl"))


def has_vhost() -> bool:
    return os.access("/dev/vhost-net", os.R_OK | os.W_OK)


def kvm_facts(*, root: bool) -> tuple[Literal["ready", "absent", "forbidden"], int]:
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
    return {uid: other for other, pid in others.items() if (uid := process.uid_of(pid)) >= 0}


def _files(guest: Guest, others: RunningGuests, store: str) -> dict[str, ImageFacts | None]:
    files: dict[str, ImageFacts | None] = {}
    if guest.drive:
        from kvmrun.host.disk import image_files

        opened = others.opened()
        for drive in guest.drive:
            formats: dict[str, str] = {
                **({drive.image: drive.image_format()} if drive.image else {}),
                **({drive.base: drive.chain_format()} if drive.base else {}),
            }
            files |= {path: _with_users(image_files.image_facts(path, formats[path]), path, opened) for path in formats}
            if drive.base:
                image_files.mark_changed_base(files, drive.image, drive.base, store)
    for path in (guest.boot.kernel, guest.boot.initrd):
        if path:
            files[path] = ImageFacts(kind="file", size=0) if os.path.isfile(path) else None
    return files


def _exchangeable(paths: Iterable[str]) -> dict[str, str]:
    """Those of `paths` where another user could put another file before root opens it, with the reason."""
    return {path: reason for path in paths if (reason := untrusted_fix(path, os.environ))}


def _with_users(file: ImageFacts | None, path: str, opened: OpenFileIndex) -> ImageFacts | None:
    if file is None:
        return None
    users = opened.users(os.stat(path))
    return file.replace(writer=users.get(True, ""), reader=users.get(False, ""))


def _opened(others: Mapping[str, int]) -> OpenFileIndex:
    found = OpenFileIndex()
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


def _leftovers(
    guest: str, runtime: GuestRuntime, kept: Mapping[str, PersistentTap], marks: Mapping[str, str]
) -> Iterator[str]:
    """The taps that are left of a guest that does not run; `marks` are the aliases of those that are there."""
    for port in runtime.ports:
        if port.tap not in kept and link_alias.is_same(marks.get(port.tap, ""), port.alias(guest)):
            yield port.tap


def read(path: str) -> str | None:
    return small_files.read_text(path)
