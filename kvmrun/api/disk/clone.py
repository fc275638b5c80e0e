"""A clone of a guest that does not run: its definition, with an identity of its own, and what is on its drives."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial

from kvmrun.api.definition import copied_text, definitions, drives, new_guest
from kvmrun.api.disk.image_tool import image_tool
from kvmrun.api.lab import LabHandle, guest_or_error, refuse_other_image
from kvmrun.api.options import CloneOptions
from kvmrun.api.report import Report, discard, transferring
from kvmrun.errors import KvmrunError, Unresponsive
from kvmrun.host.disk import copy_image, image_files, image_process, open_image
from kvmrun.host.disk.copy_image import NewImage
from kvmrun.host.execute.undo import undone_on_error
from kvmrun.host.facts import guest_facts
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.files import definition_files, known_hosts, ownership
from kvmrun.host.firmware.state_copy import state_copy
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.monitor.qmp.fd_passing import QmpConnection, QmpError
from kvmrun.plan.guest import clone_plan
from kvmrun.plan.guest.clone_plan import DriveCopy
from kvmrun.plan.steps.guest_steps import MakeImage


class Cloned(Value):
    """A new guest like `guest`: the path of its definition, its images, and what of the definition it does not have."""

    guest: str
    path: str
    images: tuple[str, ...]
    changes: tuple[str, ...]


def clone_guest(
    lab: LabHandle, name: str, new: str, options: CloneOptions = CloneOptions(), report: Report = discard
) -> Cloned:
    """Make a guest `new` like `name`, which must not run, with the same content of its drives.

    Of a drive with a base the overlay is copied, and the base is shared; with `options.full` every image is whole.
    UUID, MACs and addresses follow from the new name. All images are complete before the first has its name, and the
    definition comes last.

    Raises: ConfigError, NoSuchGuest; UsageError, Refused for `new`; Refused where the guest runs, or has a drive that
    cannot be cloned, or only with `full`; NotPermitted; KvmrunError where there is no room.
    """
    lab = LabHandle(lab.paths)  # whose definitions are read anew
    guest, where, deadline = guest_or_error(lab.definitions, name), lab.paths, Deadline.begin(options.timeout)
    new = definitions.parse_new_name(new, lab.definitions)
    definitions.require_writable(where)
    first, second = sorted((guest.name, new))
    with rundir.locked(where.guest(first), first), rundir.locked(where.guest(second), second), ExitStack() as stack:
        definitions.require_stopped(where, guest.name, "cloned")
        definitions.require_stopped(where, new, "replaced")
        refuse_other_image(where, guest)
        facts = guest_facts.disk_facts(guest, where, guest_facts.RunningGuests(where))
        copies = clone_plan.drive_copies(guest, facts, full=options.full)
        text = _clone_text(lab, guest, new, copies)
        after = definitions.errors_added_by(lab, {f"{new}.toml": text.encode()})[0]
        state = stack.enter_context(_state_copy(lab, after, guest.name, new))
        made: dict[str, NewImage] = {}
        for one, drive in zip(copies, after.guests[new].drive, strict=True):
            if one.way in {"copied", "whole"}:
                made[drive.image] = stack.enter_context(copy_image.new_image(drive.image))
                _copy(one, made[drive.image], report, deadline)
                os.fsync(made[drive.image].fd)
        with defer_signals():
            _publish(where, after.guests[new], text, made, state)
    return Cloned(
        guest=guest.name,
        path=definitions.definition_path(where, new),
        images=tuple(made),
        changes=tuple(copied_text.changes_of_copy(guest)),
    )


def _clone_text(lab: LabHandle, guest: Guest, new: str, copies: list[DriveCopy]) -> str:
    """The definition of the clone. Raises ConfigError where it would not be valid, Refused for an image there is."""
    written = [number for number, one in enumerate(copies) if one.way != "shared"]
    images = {number: drives.image_name_of_copy(lab.paths, guest, number, new) for number in written}
    for image in images.values():
        drives.require_new_image(lab, new, image)
    whole = [number for number, one in enumerate(copies) if one.way == "whole" and one.drive.base]
    text = new_guest.with_free_addresses(lab, new, copied_text.copied_text(lab, guest, new, images, whole=whole))
    _, errors = definitions.errors_added_by(lab, {f"{new}.toml": text.encode()})
    definitions.raise_config_error(f"{new} would not be valid", "nothing was written; correct that first", errors)
    return text


def _state_copy(lab: LabHandle, after: Lab, name: str, new: str) -> AbstractContextManager[Callable[[], None] | None]:
    """A copy of what the guest keeps besides its images, where it keeps anything, for the account of the clone."""
    where = lab.paths
    kept = ownership.guest_state(where, name)
    if not os.path.isdir(kept):
        return nullcontext(None)
    old_uid, new_uid = guest_runtimes(lab.definitions, where)[name].uid, guest_runtimes(after, where)[new].uid
    owners = {old_uid: new_uid} if old_uid is not None and new_uid is not None else {}
    return state_copy(kept, where.guest_state(new), owners)


def _publish(where: Paths, copy: Guest, text: str, made: dict[str, NewImage], state: Callable[[], None] | None) -> None:
    """Give what was made its names, then write the definition; if that fails, the names are taken back."""
    with undone_on_error() as undone_by:
        for path, image in made.items():
            image.publish()
            undone_by(partial(image_files.remove_image, path))
        if state is not None:
            state()
            undone_by(partial(definition_files.remove_tree, where.guest_state(copy.name)))
        definition_files.create(definitions.definition_path(where, copy.name), text.encode())
    if state is not None:
        ownership.claim(where.state, "guest", copy.name, where.lab)
    ownership.claim_images(where, copy)
    known_hosts.forget(where, copy.name)


def _copy(one: DriveCopy, new: NewImage, report: Report, deadline: Deadline) -> None:
    drive, kind = one.drive, one.drive.image_format()
    total = os.path.getsize(drive.image) if one.way == "copied" else one.size
    with transferring(report, drive.image, total) as moved:
        if one.way == "copied":
            with open_image.opened(drive.image, readonly=True) as source:
                copy_image.copy_content(source, new.fd, moved, deadline)
                image_files.copy_base_note(source, new.fd)
            return
        image_files.format_image(new.fd, MakeImage(path=drive.image, format=kind, size=one.size), deadline)
        with ExitStack() as files:
            fds, below = [new.fd], None
            for path, driver in ((drive.base, drive.chain_format()), (drive.image, kind)):
                if path and image_files.image_facts(path, driver) is not None:
                    fds.append(files.enter_context(open_image.opened(path, readonly=True)))
                    below = image_process.node(f"d{len(fds)}", driver, fds[-1], readonly=True, backing=below)
            assert below is not None
            target = image_process.node("new", kind, new.fd, readonly=False)
            with image_tool(f"{drive.image} cannot be copied", [below, target], fds, deadline) as qmp:
                _copy_blocks(qmp, f"{below['node-name']}", drive.image, moved, deadline)


def _copy_blocks(qmp: QmpConnection, node: str, image: str, moved: copy_image.Moved, deadline: Deadline) -> None:
    """Have QEMU copy all that is seen in a node to the node `new`. Raises KvmrunError, Unresponsive."""
    job = {"job-id": "copy", "device": node, "target": "new", "sync": "full", "auto-dismiss": False}
    began = time.monotonic()
    try:
        qmp.execute("blockdev-backup", job)
        while True:
            [now] = qmp.execute("query-jobs")
            moved(int(now["current-progress"]))
            if now["status"] == "concluded":
                break
            if deadline.is_over():
                raise Unresponsive(f"{image} was not copied in time", "--timeout SECONDS")
            time.sleep(min(2.0, max(0.02, (time.monotonic() - began) / 50)))
        error = str(now.get("error", ""))
        qmp.execute("job-dismiss", {"id": "copy"})
    except QmpError as refused:
        error = refused.message
    if error:
        raise KvmrunError(f"{image} cannot be copied", "free some room", reason=printable(error))
