"""A larger drive: its image, whether the guest runs or not, and the size in the definition."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any

from kvmrun.api.definition import definitions
from kvmrun.api.disk.image_tool import image_tool
from kvmrun.api.guest_socket import monitor_of
from kvmrun.api.lab import LabHandle, guest_or_error, read_definitions, refuse_other, refuse_other_image
from kvmrun.config import toml_edit
from kvmrun.errors import ConfigError, KvmrunError, Refused
from kvmrun.host.disk import image_files, image_process, open_image
from kvmrun.host.execute.undo import undone_on_error
from kvmrun.host.facts import guest_facts
from kvmrun.host.files import definition_files
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest.drive import Drive, throttle_node
from kvmrun.model.guest.guest import Guest
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import Size
from kvmrun.model.value import Value
from kvmrun.monitor.qmp.fd_passing import QmpError, open_connection
from kvmrun.plan.guest import resize_plan

_LIMIT = 60.0


class Resized(Value):
    """A drive of a guest with its size in bytes; `before` is what its image had, None for one that is still to be made.

    `is_running` says whether the guest runs, and `sees_it` whether it notices without being started again. With
    `is_written` the size is in the definition, which had another or none.
    """

    guest: str
    drive: int
    image: str
    before: int | None
    size: int
    is_running: bool
    sees_it: bool
    is_written: bool


def resize_drive(
    lab: LabHandle, name: str, size: str, *, drive: str | None = None, timeout: float | None = None
) -> Resized:
    """Make a drive larger, to `size`, such as "40G", and write the size into the definition where it has one or a base.

    `drive` is its number or the name of its image, and may be left out where there is only one. A guest that runs goes
    on meanwhile; its QEMU has `timeout` seconds, or 60.

    Raises: ConfigError, NoSuchGuest; UsageError for a size or a drive that there is not; Refused for a smaller size, a
    block device, a throwaway guest, and an image that the guest may not write to; KvmrunError where QEMU refuses.
    """
    lab = LabHandle(lab.paths)  # whose definitions are read anew
    guest, where, wanted = guest_or_error(lab.definitions, name), lab.paths, resize_plan.parse_size(size)
    refuse_other(where, name)
    number = resize_plan.chosen_drive(guest, drive)
    chosen, deadline = guest.drive[number], Deadline.begin(timeout)
    with rundir.locked(where.guest(name), name, limit=deadline.left(rundir.OP_LIMIT)):
        refuse_other_image(where, guest)
        text = _with_size(lab, guest, number, wanted)
        running = rundir.is_running(where.guest(name))
        written = partial(_written, definitions.definition_path(where, name), text)
        request = _Request(where=where, guest=guest, number=number, size=wanted, deadline=deadline, written=written)
        before = _resize_running(request) if running else _resize_stopped(request)
    return Resized(
        guest=name,
        drive=number,
        image=chosen.image,
        before=before,
        size=int(wanted),
        is_running=running,
        sees_it=running and chosen.bus(guest.kind) in {"virtio", "scsi"},
        is_written=text is not None,
    )


def _with_size(lab: LabHandle, guest: Guest, number: int, size: Size) -> str | None:
    """The definition with the size of a drive; None where it has it, or is to have none. Raises ConfigError."""
    drive, where = guest.drive[number], lab.paths
    if drive.size == size or not (drive.size or drive.base):
        return None
    definitions.require_writable(where)
    old = definition_files.read(definitions.definition_path(where, guest.name)).decode()
    section = ("drive", number)
    if any((here, key) == (section, "size") for here, key, _ in toml_edit.lines(old)):
        text = toml_edit.replace_text(old, section, "size", f"{size}")
    else:
        text = toml_edit.insert_keys(old, section, {"size": f"{size}"})
    drives = list(guest.drive)
    drives[number] = drive.replace(size=size)
    after = read_definitions(where, {f"{guest.name}.toml": text.encode()})
    if after.guests.get(guest.name) != guest.replace(drive=tuple(drives)):
        fix = f'kvmrun edit {guest.name}: size = "{size}" in drive {number}, then the same command again'
        raise ConfigError(f"{guest.name}.toml is written in a way that kvmrun cannot change", fix)
    return text


class _Request(Value):
    """What is asked of a drive. `written` is the definition with the size, for as long as nothing fails."""

    where: Paths
    guest: Guest
    number: int
    size: Size
    deadline: Deadline
    written: Callable[[], AbstractContextManager[None]]


@contextmanager
def _written(path: str, text: str | None) -> Iterator[None]:
    """Write the definition, then do the body: an image cannot be made smaller again, and a text can be put back."""
    with undone_on_error() as undone_by:
        if text is not None:
            definition_files.replace_for_now(path, text.encode(), undone_by)
        yield


@contextmanager
def _grown(drive: Drive, size: Size) -> Iterator[None]:
    """Have the body resize an image. Where that has the size all the same, only an answer of QEMU was lost."""
    try:
        yield
    except KvmrunError:
        found = image_files.image_facts(drive.image, drive.image_format())
        if found is None or found.size != size:
            raise


def _resize_stopped(request: _Request) -> int | None:
    """Make the image of a guest that does not run larger. The size that it had."""
    where, guest, size = request.where, request.guest, request.size
    drive, facts = guest.drive[request.number], guest_facts.disk_facts(guest, where, guest_facts.RunningGuests(where))
    now = resize_plan.size_now(guest, drive, size, facts)
    resize_plan.require_growth(drive, size, now, facts.files.get(drive.base or ""))
    with request.written():
        if now is not None and now != size:
            deadline = Deadline.begin(request.deadline.granted(_LIMIT))
            with open_image.opened(drive.image, readonly=False) as fd, defer_signals(), _grown(drive, size):
                _resize_image(drive, fd, size, deadline)
    return now


def _resize_image(drive: Drive, fd: int, size: Size, deadline: Deadline) -> None:
    what = f"{drive.image} cannot be resized"
    node = image_process.node("d0", drive.image_format(), fd, readonly=False)
    with image_tool(what, [node], [fd], deadline) as qmp:
        try:
            qmp.execute("block_resize", {"node-name": "d0", "size": int(size)})
        except QmpError as error:
            raise KvmrunError(what, "free some room", reason=error.message) from None


def _resize_running(request: _Request) -> int:
    """Have the QEMU of the guest resize the image. The size that it had."""
    guest, size = request.guest, request.size
    directory, drive = request.where.guest(guest.name), guest.drive[request.number]
    record = rundir.read_record(directory)
    if record is not None and record.throwaway:
        reason = "it was started with --throwaway, and nothing of its images is changed"
        raise Refused(f"{guest.name} cannot be resized", f"kvmrun stop {guest.name}", reason=reason)
    pid = rundir.qemu_pid(directory, record.pid if record else 0)
    with open_connection(monitor_of(directory, guest.name), request.deadline.granted(_LIMIT)) as qmp:
        sets = _sets_with(qmp.execute("query-fdsets"), pid, drive)
        node, now = _node_of(qmp.execute("query-named-block-nodes", {"flat": True}), sets)
        if not node:
            fix = f"kvmrun stop {guest.name}, then the same command again"
            raise Refused(f"{guest.name} runs without {drive.image}", fix, reason="its definition was changed since")
        resize_plan.require_growth(drive, size, now, None)
        with defer_signals(), request.written(), _grown(drive, size):
            if now != size:
                try:
                    qmp.execute("block_resize", {"node-name": node, "size": int(size)})
                except QmpError as error:
                    raise KvmrunError(f"{drive.image} cannot be resized", reason=error.message) from None
    return now


def _sets_with(answer: Any, pid: int, drive: Drive) -> set[str]:
    """The descriptor sets in which QEMU has the image of a drive, as its nodes name them."""
    found = set()
    with suppress(KeyError, TypeError, ValueError):
        for one in answer:
            if any(open_image.is_open_in(pid, int(fd["fd"]), drive.image) for fd in one["fds"]):
                found.add(f"/dev/fdset/{int(one['fdset-id'])}")
    return found


def _node_of(nodes: Any, sets: set[str]) -> tuple[str, int]:
    """(name, size) of the drive's node that has one of these sets open; ("", 0) for none."""
    for one in nodes if isinstance(nodes, list) else ():
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            name, image = str(one["node-name"]), one["image"]
            file = str(image["filename"])
            if file.startswith("json:"):
                file = str(json.loads(file[5:])["file"]["filename"])
            if name[:1] == "d" and name[1:].isdigit() and file in sets:
                above = throttle_node(name)  # the device hears of its size only where it is attached
                is_throttled = any(other["node-name"] == above for other in nodes)
                return above if is_throttled else name, int(image["virtual-size"])
    return "", 0
