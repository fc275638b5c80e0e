"""Another name for a guest that does not run, wherever the lab mentions it."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from kvmrun.api.definition import definitions
from kvmrun.api.guest import teardown
from kvmrun.api.lab import LabHandle, guest_or_error, read_definitions
from kvmrun.config import toml_edit
from kvmrun.config.toml_file import Unreadable, parse_toml
from kvmrun.errors import ConfigError
from kvmrun.host.execute.undo import UndoneBy, undone_on_error
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.files import definition_files, known_hosts, ownership
from kvmrun.host.firmware.state_copy import change_owner
from kvmrun.host.process.signals import defer_signals
from kvmrun.host.rundir import rundir
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Lab
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.value import Value

_Kind = Literal["log", "guest"]
_KINDS: tuple[_Kind, ...] = ("log", "guest")


class IdentityChange(Value):
    """Something that followed from a guest's name, as it was and as it is; None is an address that there is not."""

    what: str
    before: str | None
    after: str | None


class Renamed(Value):
    """What became of a guest's new name: the other files that mention it by that now, what followed from the name and
    is another now, and the images that keep their names.
    """

    files: tuple[str, ...]
    changes: tuple[IdentityChange, ...]
    images: tuple[str, ...]


def current_identity(lab: LabHandle, old: str, new: str) -> GuestRuntime:
    """The UUID, MACs and addresses of a guest that is about to be renamed, once it is sure that it can be.

    Raises: ConfigError, NoSuchGuest for `old`; UsageError, Refused for `new`; NotPermitted; Refused where either guest
    runs; ConfigError where the lab would not be valid, or is written in a way that cannot be changed.
    """
    lab = LabHandle(lab.paths)  # whose definitions are read anew
    where, before = lab.paths, lab.definitions
    old, new = guest_or_error(before, old).name, definitions.parse_new_name(new, before)
    definitions.require_writable(where)
    definitions.require_stopped(where, old, "renamed")
    definitions.require_stopped(where, new, "replaced")
    _lab_with(lab, old, new, _changed_files(lab, old, new, keep=False))
    return guest_runtimes(before, where)[old]


def rename_guest(lab: LabHandle, old: str, new: str, *, keep_identity: bool = False) -> Renamed:
    """Give a guest that does not run another name, wherever the lab mentions it.

    With `keep_identity` its UUID, MACs and addresses, which follow from the name, are written down and stay. What the
    lab says of the guest is changed first, its own file last: begun again after a crash, it comes to the end.

    Raises: what `current_identity` raises.
    """
    lab = LabHandle(lab.paths)  # whose definitions are read anew
    where, before = lab.paths, lab.definitions
    guest = guest_or_error(before, old)
    old, new = guest.name, definitions.parse_new_name(new, before)
    definitions.require_writable(where)
    first, second = sorted((old, new))
    with rundir.locked(where.guest(first), first), rundir.locked(where.guest(second), second):
        definitions.require_stopped(where, old, "renamed")
        definitions.require_stopped(where, new, "replaced")
        texts = _changed_files(lab, old, new, keep=keep_identity)
        after = _lab_with(lab, old, new, texts)
        then, now = guest_runtimes(before, where)[old], guest_runtimes(after, where)[new]
        teardown.remove_leftovers(where, old)
        with defer_signals(), undone_on_error() as undone_by:
            for file, data in texts.items():
                definition_files.replace_for_now(f"{where.vms}/{file}", data, undone_by)
            _rename(definitions.definition_path(where, old), definitions.definition_path(where, new), undone_by)
            _give(ownership.guest_state(where, old), then, now, undone_by)
            moved = [kind for kind in _KINDS if _move(where, kind, old, new, undone_by)]
        for kind in moved:
            _note(where, kind, old, new)
        known_hosts.forget(where, old, new)
    return Renamed(
        files=tuple(sorted(texts.keys() - {f"{old}.toml"})),
        changes=tuple(_identity_changes(then, now)),
        images=tuple(drive.image for drive in guest.drive if not drive.is_readonly()),
    )


def _rename(old: str, new: str, undone_by: UndoneBy) -> None:
    definition_files.rename(old, new)
    undone_by(partial(definition_files.rename, new, old))


def _move(where: Paths, kind: _Kind, old: str, new: str, undone_by: UndoneBy) -> bool:
    """Move the log of the guest, or what it keeps, unless something has that name; whether it was moved."""
    path = where.log if kind == "log" else where.guest_state
    found = ownership.log(where, old) if kind == "log" else ownership.guest_state(where, old)
    if not os.path.isdir(found) or os.path.lexists(path(new)):
        return False
    _rename(found, path(new), undone_by)
    return True


def _note(where: Paths, kind: _Kind, old: str, new: str) -> None:
    """Note whose it is by its new name; what another lab has in its former place remains that lab's."""
    path = where.log if kind == "log" else where.guest_state
    ownership.claim(where.state, kind, new, where.lab)
    if not os.path.lexists(path(old)):
        ownership.forget(where.state, kind, old)


def _give(kept: str, old: GuestRuntime, new: GuestRuntime, undone_by: UndoneBy) -> None:
    """Give what the guest keeps to the account that it has by its new name."""
    if os.path.isdir(kept) and old.uid is not None and new.uid is not None:
        undone_by(partial(change_owner, kept, new.uid, old.uid))
        change_owner(kept, old.uid, new.uid)


def _lab_with(lab: LabHandle, old: str, new: str, texts: Mapping[str, bytes]) -> Lab:
    """The lab as it will be with those texts. Raises ConfigError for a name, or a text, that cannot be."""
    after, errors = definitions.errors_added_by(lab, _drafts(texts, old, new))
    definitions.raise_config_error(f"{old} cannot be called {new}", "nothing was changed; correct that first", errors)
    return after


def _drafts(texts: Mapping[str, bytes], old: str, new: str) -> dict[str, bytes | None]:
    """The files as they are to be, the guest's own under its new name."""
    return {**texts, f"{old}.toml": None, f"{new}.toml": texts[f"{old}.toml"]}


def _changed_files(lab: LabHandle, old: str, new: str, *, keep: bool) -> dict[str, bytes]:
    """The guest's own file, and every other that mentions it, with what has to change."""
    where = lab.paths
    own = definition_files.read(definitions.definition_path(where, old))
    texts = {f"{old}.toml": _write_identity_down(lab, old, own.decode()).encode() if keep else own}
    for file in sorted(name for name in os.listdir(where.vms) if name.endswith(".toml") and name[0] != "."):
        data = definition_files.read(f"{where.vms}/{file}")
        if (
            file != f"{old}.toml"
            and old.encode() in data
            and (changed := _mention_by_new_name(file, data, old, new)) != data
        ):
            texts[file] = changed
    return texts


def _mention_by_new_name(file: str, data: bytes, old: str, new: str) -> bytes:
    """The file with the guest's new name in `after` and `forward`. Raises ConfigError where that is beyond us."""
    try:
        table = parse_toml(data)
        if (wanted := _with_new_name(table, old, new)) == table:
            return data
        changed = toml_edit.rename_guest(data.decode(), old, new).encode()
        if parse_toml(changed) == wanted:
            return changed
    except Unreadable:
        return data  # a file that says nothing now mentions nobody
    fix = f"kvmrun edit {file.removesuffix('.toml')}: take {old} out of it, and put {new} in afterwards"
    raise ConfigError(f"{old} is mentioned in {file} in a way that kvmrun cannot change", fix)


def _with_new_name(value: Any, old: str, new: str, key: str = "") -> Any:
    """The table with the guest's new name where guests are named."""
    if isinstance(value, dict):
        return {inner: _with_new_name(one, old, new, inner) for inner, one in value.items()}
    if isinstance(value, list):
        return [_with_new_name(one, old, new, key) for one in value]
    if key == "after" and value == old:
        return new
    return toml_edit.rename_forward_target(value, old, new) if key == "forward" and isinstance(value, str) else value


def _write_identity_down(lab: LabHandle, old: str, text: str) -> str:
    """The text with what follows from the name written down."""
    before, where = lab.definitions, lab.paths
    guest, runtime = before.guests[old], guest_runtimes(before, where)[old]
    if guest.uuid is None:
        text = toml_edit.insert_keys(text, toml_edit.TOP, {"uuid": runtime.uuid})
    for number, (nic, port) in enumerate(zip(guest.nic, runtime.ports, strict=True)):
        known = {"mac": None if nic.mac else port.mac, "address": None if nic.address else port.address}
        text = toml_edit.insert_keys(text, ("nic", number), {key: value for key, value in known.items() if value})
    after = read_definitions(where, {f"{old}.toml": text.encode()})
    if old not in after.guests or after.guests[old] != _fully_specified(guest, runtime):
        lines = (
            f'uuid = "{runtime.uuid}"',
            *(f'mac = "{one.mac}", address = "{one.address}"' for one in runtime.ports),
        )
        raise ConfigError(f"{old}.toml is written in a way that kvmrun cannot add to", "add this by hand", lines=lines)
    return text


def _fully_specified(guest: Guest, runtime: GuestRuntime) -> Guest:
    import ipaddress

    nics = tuple(
        nic.replace(mac=port.mac, address=ipaddress.IPv4Address(port.address) if port.address else None)
        for nic, port in zip(guest.nic, runtime.ports, strict=True)
    )
    return guest.replace(uuid=runtime.uuid, nic=nics)


def _identity_changes(old: GuestRuntime, new: GuestRuntime) -> list[IdentityChange]:
    """What follows from the name and is another now."""
    found: list[tuple[str, str | None, str | None]] = [("UUID", old.uuid, new.uuid)]
    for was, now in zip(old.ports, new.ports, strict=True):
        found += [(f"MAC of {was.name}", was.mac, now.mac), (f"address of {was.name}", was.address, now.address)]
    return [IdentityChange(what=what, before=was, after=now) for what, was, now in found if was != now]
