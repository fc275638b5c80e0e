"""Removing the definition of a guest, its log, what it keeps, and the images of its own."""

import os
from collections.abc import Callable

from kvmrun.api.definition import definitions, guest_images
from kvmrun.api.guest import teardown
from kvmrun.api.guest.stop import stop
from kvmrun.api.lab import LabHandle, no_such_guest
from kvmrun.api.options import StopOptions
from kvmrun.errors import KvmrunError, Refused
from kvmrun.host.files import definition_files, known_hosts, ownership
from kvmrun.host.rundir import rundir
from kvmrun.model.paths import Paths
from kvmrun.model.value import Value


class Removal(Value):
    """What is removed with a guest, the definition first, and what of it stays."""

    guest: str
    paths: tuple[str, ...]
    kept: tuple[str, ...]


def remove_guest(
    lab: LabHandle,
    name: str,
    *,
    images: bool = False,
    force: bool = False,
    confirm: Callable[[Removal], bool] | None = None,
) -> Removal | None:
    """Remove a guest: its definition, its log, and what it keeps besides its images.

    With `images` also those that kvmrun made for it and no other guest uses. With `force` a guest that runs is stopped
    first, without being asked. `confirm` is asked before the removal; where it returns False, nothing is removed, and
    the result is None.

    Raises: NoSuchGuest, NotPermitted; Refused where it is protected or is needed by others, or runs without `force`;
    what `confirm` raises; what was in the way of the stop.
    """
    lab = LabHandle(lab.paths)  # read anew: what was removed just now may have needed it
    where = lab.paths
    _require_removable(lab, name)
    if force:
        _stop(lab, name)
    with rundir.locked(where.guest(name), name):
        definitions.require_stopped(where, name, "removed")
        made, others = guest_images.images_of(lab, name)
        kept = ownership.log(where, name), ownership.guest_state(where, name)
        trees = [path for path in kept if os.path.isdir(path)]
        paths = [definitions.definition_path(where, name), *trees]
        paths += made if images else []
        removal = Removal(guest=name, paths=tuple(paths), kept=tuple(others if images else [*made, *others]))
        if confirm is not None and not confirm(removal):
            return None
        teardown.remove_leftovers(where, name)
        for path in reversed(paths):  # the definition last: if anything stays, the guest can be removed again
            definition_files.remove_tree(path) if path in trees else definition_files.remove(path)
        _forget_owners(where, name, trees, made if images else [])
        known_hosts.forget(where, name)
    return removal


def _forget_owners(where: Paths, name: str, trees: list[str], images: list[str]) -> None:
    """Remove the notes of what is gone. What another lab has put in the place of something remains that lab's."""
    if where.log(name) in trees:
        ownership.forget(where.state, "log", name)
    if where.guest_state(name) in trees:
        ownership.forget(where.state, "guest", name)
    for path in images:
        ownership.forget(where.state, "image", os.path.basename(path))


def _stop(lab: LabHandle, name: str) -> None:
    """Have QEMU quit at once where the guest runs. Raises what was in the way."""
    if rundir.is_running(lab.paths.guest(name)):
        outcome = stop(lab, [name], StopOptions(force=True))[name]
        if isinstance(outcome, KvmrunError):
            raise outcome


def _require_removable(lab: LabHandle, name: str) -> None:
    """Raises NoSuchGuest, NotPermitted, and Refused for a guest that is protected, or that others name."""
    defined = lab.definitions
    if name not in defined.guests and name not in defined.invalid:
        raise no_such_guest(defined, name)
    definitions.require_writable(lab.paths)
    guest = defined.guests.get(name)
    if guest is not None and guest.protect:
        reason = "its definition says protect = true"
        raise Refused(f"{name} is protected", f"set protect = false in {name}.toml", reason=reason)
    _, errors = definitions.errors_added_by(lab, {f"{name}.toml": None})
    if errors:
        files = ", ".join(dict.fromkeys(one.file.removesuffix(".toml") for one in errors))
        raise Refused(f"{name} is needed by others", f"kvmrun edit {files}", lines=tuple(f"{one}" for one in errors))
