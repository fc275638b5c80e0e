"""The media in the CD-ROM drives of a guest that runs: which there are, and changing one."""

import os
from collections.abc import Sequence

from kvmrun.api.definition.drives import path_of_file
from kvmrun.api.guest_socket import monitor_of
from kvmrun.api.lab import LabHandle, require_running
from kvmrun.errors import KvmrunError, Refused, UsageError
from kvmrun.host.disk import open_image
from kvmrun.host.facts import guest_facts
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest.drive import Drive, FileUse
from kvmrun.model.guest.guest import Guest
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.printable import printable
from kvmrun.model.scalars import FilePath, GuestName
from kvmrun.model.value import Value
from kvmrun.monitor.qmp import trays
from kvmrun.monitor.qmp.fd_passing import QmpConnection, QmpError, open_connection
from kvmrun.monitor.qmp.trays import Tray
from kvmrun.plan.guest import image_plan

_LIMIT = 10.0


class Medium(Value):
    """What a CD-ROM drive of a running guest holds: `image` is the path of the file, None for an empty tray.

    `is_locked` says that the guest uses the medium and lets nobody take it out.
    """

    guest: str
    drive: int
    image: str | None
    is_open: bool
    is_locked: bool

    def __str__(self) -> str:
        image = "empty" if self.image is None else printable(self.image, 4096) or "a file that cannot be seen"
        return f"drive {self.drive}: {image}{', locked by the guest' * self.is_locked}{', open' * self.is_open}"


def media(lab: LabHandle, name: str, *, timeout: float | None = None) -> tuple[Medium, ...]:
    """The media of a guest, by the account of its QEMU, which has `timeout` seconds to answer, or 10.

    Raises: NoSuchGuest, NotRunning, Unresponsive.
    """
    directory = require_running(lab.paths, name)
    with open_connection(monitor_of(directory, name), Deadline.begin(timeout).granted(_LIMIT)) as qmp:
        return tuple(_media(lab.paths, name, qmp))


def change_medium(
    lab: LabHandle, name: str, file: str | None, *, drive: str | None = None, timeout: float | None = None
) -> Medium:
    """Put `file` into the CD-ROM drive of a running guest, or leave its tray empty. What the drive holds then.

    `drive` is its number, and may be left out where there is only one. QEMU has `timeout` seconds to answer, or 10, and
    the guest a moment to release a medium that it uses. The definition stays as it is.

    Raises: NoSuchGuest, NotRunning, Unresponsive; UsageError for a drive or a file that there is not; Refused for a
    locked tray, and for a file that the guest may not use; KvmrunError where QEMU refuses.
    """
    where, deadline = lab.paths, Deadline.begin(timeout)
    directory = require_running(where, name)
    path = path_of_file(where, file) if file is not None else None
    with (
        rundir.locked(directory, name, limit=deadline.left(rundir.OP_LIMIT)),
        open_connection(monitor_of(directory, name), deadline.granted(_LIMIT)) as qmp,
    ):
        before = _chosen(name, _media(where, name, qmp), drive)
        tray = next(one for one in trays.read_trays(qmp) if one.drive == before.drive)
        try:
            with defer_signals():
                _replace(where, name, qmp, tray, path)
        except QmpError as no:
            raise KvmrunError(f"the medium of {name} cannot be changed", reason=no.message) from None
        try:
            return _chosen(name, _media(where, name, qmp), f"{before.drive}")
        except (KvmrunError, OSError):  # it has been changed all the same
            return Medium(guest=name, drive=before.drive, image=path, is_open=path is None, is_locked=False)


def _replace(where: Paths, name: str, qmp: QmpConnection, tray: Tray, path: str | None) -> None:
    names = f"d{tray.drive}", f"d{tray.drive}m"
    for stale in names:
        if stale != tray.node:
            trays.discard_node(qmp, stale, trays.fdset_of(qmp, stale))  # of a change that was cut short
    if path is None:
        trays.open_tray(qmp, tray, name)
        trays.replace_medium(qmp, tray, "")
        return
    medium = Drive(media="cdrom").with_medium(FilePath(path))
    guest = Guest(name=GuestName(name), nic=(), drive=(medium,))
    facts = guest_facts.disk_facts(guest, where, guest_facts.RunningGuests(where))
    list(image_plan.drive_steps(guest, medium, facts))
    found = facts.files[path]
    use = FileUse(devices={path} if found and found.kind == "device" else ())
    node = names[tray.node == names[0]]
    [file] = medium.files()
    with open_image.opened(path, readonly=True) as fd:
        fdset = qmp.execute("add-fd", {"opaque": "medium"}, fd=fd)["fdset-id"]
    try:
        qmp.execute("blockdev-add", medium.medium(node, use).spelled({file: [fdset]}))
        trays.open_tray(qmp, tray, name)
        trays.replace_medium(qmp, tray, node)
    except KvmrunError:
        trays.discard_node(qmp, node, fdset)
        raise


def _media(where: Paths, name: str, qmp: QmpConnection) -> list[Medium]:
    """The media of all CD-ROM drives but that of the seed, which is not the user's to change."""
    directory = where.guest(name)
    record = rundir.read_record(directory)
    pid = rundir.qemu_pid(directory, record.pid if record else 0)
    state = GuestRuntime(guest=name, uuid="", directory=directory, log="", ports=(), state=where.guest_state(name))
    found = []
    for tray in trays.read_trays(qmp):
        image = _path_of(qmp, tray, pid) if tray.node else None
        if image is None or os.path.dirname(image) != os.path.realpath(state.seed):
            found.append(
                Medium(guest=name, drive=tray.drive, image=image, is_open=tray.is_open, is_locked=tray.is_locked)
            )
    return found


def _path_of(qmp: QmpConnection, tray: Tray, pid: int) -> str:
    """The path of the file in a tray, as the kernel knows it; "" where that cannot be seen."""
    for fd in trays.descriptors_of(qmp, tray.fdset):
        try:
            return os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
    return ""


def _chosen(name: str, known: Sequence[Medium], word: str | None) -> Medium:
    """The drive that is meant, by its number, or the only one. Raises Refused, UsageError."""
    if not known:
        fix = f'media = "cdrom" in a [[drive]] of {name}.toml, then kvmrun restart {name}'
        raise Refused(f"{name} has no CD-ROM drive", fix)
    found = [one for one in known if word in {None, f"{one.drive}"}]
    if len(found) == 1:
        return found[0]
    fix = " or ".join(f"{name}:{one.drive} ({os.path.basename(one.image or 'empty')})" for one in known)
    what = "has several CD-ROM drives" if word is None else f"has no CD-ROM drive {printable(word, 60)}"
    raise UsageError(f"{name} {what}", f"name {'one: ' if len(known) > 1 else ''}{fix}")
