"""kvmrun rename: another name for a guest that does not run, wherever the lab mentions it."""

import os
from typing import Any

from kvmrun.commands import _definition
from kvmrun.commands._lab import defined, directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.config import toml_edit
from kvmrun.config.toml_file import Unreadable, parse
from kvmrun.errors import ConfigError
from kvmrun.host.files import definition_files, known_hosts, ownership
from kvmrun.host.rundir import rundir
from kvmrun.light.abc import Mapping
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.paths import Directories, Place
from kvmrun.model.lab import Lab
from kvmrun.model.value import EMPTY
from kvmrun.ui.text.progress import Progress
from kvmrun.ui.text.prompt import confirmed

HELP = "give a guest another name"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a guest that does not run")
    parser.add_argument("new", metavar="NEW", help="the new name")
    parser.add_argument(
        "--keep", action="store_true", help="keep MAC, address and UUID by writing them into the definition"
    )


def run(args: Args) -> int:
    """What the lab says of it is changed first, its own file last: begun again after a crash, it comes to the end."""
    where = directories(args)
    before = open_lab(where)
    guest = defined(before, args.guest)
    old, new = guest.name, _definition.new_name(args.new, before)
    _definition.writable(where)
    first, second = sorted((old, new))
    for name, verb in ((old, "renamed"), (new, "replaced")):
        _definition.at_rest(where, name, verb)
    _refuse(before, where, old, new)  # before anything is asked
    keep = args.keep or _asked(before, where, old, new)
    with rundir.held(where.guest(first), first), rundir.held(where.guest(second), second):
        _definition.at_rest(where, old, "renamed")
        _definition.at_rest(where, new, "replaced")
        texts = _texts(before, where, old, new, keep=keep)
        after = _refuse(before, where, old, new, texts)
        for file, data in texts.items():
            definition_files.replace(f"{where.vms}/{file}", data)
        definition_files.rename(_definition.path(where, old), _definition.path(where, new))
        log = ownership.log(where, old)
        if os.path.isdir(log) and not os.path.lexists(where.log(new)):
            definition_files.rename(log, where.log(new))
            ownership.claim(where.state, "log", new, where.lab)
            if log == where.log(old):
                ownership.forget(where.state, "log", old)
        known_hosts.forget(where, old, new)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        progress.tell(f"{old} is {new} now")
        for file in sorted(texts.keys() - {f"{old}.toml"}):
            progress.tell(f"  {file} mentions it by its new name")
        for line in _changes(before.places(where)[old], after.places(where)[new]):
            progress.tell(f"  {line}")
        if names := ", ".join(drive.image for drive in guest.drive if not drive.is_readonly()):
            progress.tell(f"  images keep their names: {names}")
    return 0


def _refuse(before: Lab, where: Directories, old: str, new: str, texts: Mapping[str, bytes] = EMPTY) -> Lab:
    """The lab as it will be with those texts. Raises ConfigError for a name, or a text, that cannot be."""
    texts = texts or _texts(before, where, old, new, keep=False)
    after, errors = _definition.new_errors(where, before, _drafts(texts, old, new))
    _definition.refuse(f"{old} cannot be called {new}", "nothing was changed; correct that first", errors)
    return after


def _asked(before: Lab, where: Directories, old: str, new: str) -> bool:
    """Whether the person, where there is one, wants to keep what followed from the name."""
    now = before.places(where)[old]
    ports = ", ".join(f"{port.mac} {port.address or ''}".strip() for port in now.ports)
    return bool(confirmed(f"{new} would have another UUID, MAC and address; keep {ports or now.uuid}?", usual=False))


def _drafts(texts: Mapping[str, bytes], old: str, new: str) -> dict[str, bytes | None]:
    """The files as they are to be, the guest's own under its new name."""
    return {**texts, f"{old}.toml": None, f"{new}.toml": texts[f"{old}.toml"]}


def _texts(before: Lab, where: Directories, old: str, new: str, *, keep: bool) -> dict[str, bytes]:
    """The guest's own file, and every other that mentions it, with what has to change."""
    own = definition_files.read(_definition.path(where, old))
    texts = {f"{old}.toml": _pinned(before, where, old, own.decode()).encode() if keep else own}
    for file in sorted(name for name in os.listdir(where.vms) if name.endswith(".toml") and name[0] != "."):
        data = definition_files.read(f"{where.vms}/{file}")
        if file != f"{old}.toml" and old.encode() in data and (changed := _mentioning(file, data, old, new)) != data:
            texts[file] = changed
    return texts


def _mentioning(file: str, data: bytes, old: str, new: str) -> bytes:
    """The file with the guest's new name in `after` and `forward`. Raises ConfigError where that is beyond us."""
    try:
        table = parse(data)
        if (wanted := _mended(table, old, new)) == table:
            return data
        changed = toml_edit.renamed(data.decode(), old, new).encode()
        if parse(changed) == wanted:
            return changed
    except Unreadable:
        return data  # a file that says nothing now mentions nobody
    hint = f"kvmrun edit {file.removesuffix('.toml')}: take {old} out of it, and put {new} in afterwards"
    raise ConfigError(f"{old} is mentioned in {file} in a way that kvmrun cannot change", hint)


def _mended(value: Any, old: str, new: str, key: str = "") -> Any:
    """The table with the guest's new name where guests are named."""
    if isinstance(value, dict):
        return {inner: _mended(one, old, new, inner) for inner, one in value.items()}
    if isinstance(value, list):
        return [_mended(one, old, new, key) for one in value]
    if key == "after" and value == old:
        return new
    return toml_edit.forwarded(value, old, new) if key == "forward" and isinstance(value, str) else value


def _pinned(before: Lab, where: Directories, old: str, text: str) -> str:
    """The text with what follows from the name written down."""
    guest, place = before.guests[old], before.places(where)[old]
    if guest.uuid is None:
        text = toml_edit.with_keys(text, toml_edit.TOP, {"uuid": place.uuid})
    for number, (nic, port) in enumerate(zip(guest.nic, place.ports, strict=True)):
        known = {"mac": None if nic.mac else port.mac, "address": None if nic.address else port.address}
        text = toml_edit.with_keys(text, ("nic", number), {key: value for key, value in known.items() if value})
    lab = open_lab(where, {f"{old}.toml": text.encode()})
    if old not in lab.guests or lab.guests[old] != _with_all(guest, place):
        lines = (f'uuid = "{place.uuid}"', *(f'mac = "{one.mac}", address = "{one.address}"' for one in place.ports))
        raise ConfigError(f"{old}.toml is written in a way that kvmrun cannot add to", "add this by hand", lines=lines)
    return text


def _with_all(guest: Guest, place: Place) -> Guest:
    from kvmrun.light import ipaddress

    nics = tuple(
        nic.but(mac=port.mac, address=ipaddress.IPv4Address(port.address) if port.address else None)
        for nic, port in zip(guest.nic, place.ports, strict=True)
    )
    return guest.but(uuid=place.uuid, nic=nics)


def _changes(old: Place, new: Place) -> list[str]:
    """What follows from the name and is another now."""
    found: list[tuple[str, str | None, str | None]] = [("UUID", old.uuid, new.uuid)]
    for was, now in zip(old.ports, new.ports, strict=True):
        found += [(f"MAC of {was.name}", was.mac, now.mac), (f"address of {was.name}", was.address, now.address)]
    return [f"{what}: {before} -> {after}" for what, before, after in found if before != after]
