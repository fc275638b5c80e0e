"""kvmrun show: one guest with every default filled in, what follows from its name, how it runs, its QEMU command."""

import json
import shlex
import sys
from typing import Any

from kvmrun.commands import _agents, _posture
from kvmrun.commands._lab import defined, directories, open_lab
from kvmrun.commands._status import gather, seen
from kvmrun.commands._words import Args, Parser
from kvmrun.commands.up import spell
from kvmrun.host.facts import guest_facts
from kvmrun.host.rundir import records, rundir, socket_lookup
from kvmrun.light.abc import Iterator
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.guest_status import Status
from kvmrun.model.guest.nic import Port
from kvmrun.model.guest.paths import Directories, Place
from kvmrun.model.guest.qemu_option import argv
from kvmrun.model.lab import Lab
from kvmrun.model.printable import printable
from kvmrun.ui.text import guest_columns

HELP = "print a guest's definition, derived names and QEMU command"


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="the guest")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the format of the output")


def run(args: Args) -> int:
    where = directories(args)
    definitions = open_lab(where)
    lab = records.in_force(definitions, where)
    if args.guest in lab.now.running and args.guest not in definitions.guests:
        return _recorded(lab, where, args)
    guest = defined(definitions, args.guest)
    place = lab.places(where)[guest.name]
    if guest.user and where.root:
        place = place.but(uid=guest_facts.accounts([guest.user]).get(guest.user))
    options = tuple(guest.options(place, vhost=guest_facts.has_vhost(), devices=guest_facts.devices(guest)))
    qemu = [guest_facts.qemu(), *(word for option in argv(options, None) for word in option), *guest.args]
    here = seen(where)
    [now] = _agents.added(_posture.added(gather(where, definitions, [guest.name]), where, here), here)
    if args.output == "json":
        document = {"schema": 1, "definition": guest.as_dict(), "place": place.as_dict(), "command": qemu}
        document["display"] = guest.shown_at(place) or None
        document |= {key: value for key, value in now.as_dict().items() if key in {"state", "posture", "agent"}}
        sys.stdout.write(json.dumps(document, sort_keys=True, default=str) + "\n")
    else:
        sys.stdout.write(
            f"# {guest.name}.toml with its defaults\n{''.join(_toml(guest.as_dict()))}\n{_derived(guest, place)}\n"
        )
        sys.stdout.write(f"# how it is now, from the kernel\n{''.join(_lines(now))}\n")
        sys.stdout.write(
            "# the QEMU command for reading: paths and names where kvmrun passes descriptors\n"
            + spell(guest_facts.qemu(), options, guest.args)
        )
    return 0


def _recorded(lab: Lab, where: Directories, args: Args) -> int:
    """A guest that runs and is no longer defined, or not validly: as its record and its QEMU tell it."""
    record, here = lab.now.running[args.guest], seen(where)
    place = Place(
        guest=record.name,
        uuid=record.uuid,
        directory=where.guest(record.name),
        log=where.log(record.name),
        ports=lab.ports()[record.name],
        lab=record.lab,
    )
    qemu = socket_lookup.command(rundir.holder(place.directory, record.pid))
    [now] = _agents.added(_posture.added(gather(where, lab, [record.name]), where, here), here)
    if args.output == "json":
        document = {
            "schema": 1,
            "definition": None,
            "place": place.as_dict(),
            "command": qemu,
            "display": record.display or None,
        }
        document |= {key: value for key, value in now.as_dict().items() if key in {"state", "posture", "agent"}}
        sys.stdout.write(json.dumps(document, sort_keys=True, default=str) + "\n")
        return 0
    ports = "".join(_port(port) for port in place.ports)
    sys.stdout.write(
        f"# {record.name} runs as it was started; {lab.directory}/{record.name}.toml is gone or has errors\n"
    )
    sys.stdout.write(f"uuid       {record.uuid}\ndirectory  {place.directory}\nlog        {place.log}\n{ports}\n")
    sys.stdout.write(f"# how it is now, from the kernel\n{''.join(_lines(now))}\n")
    sys.stdout.write(f"# the QEMU command as it runs\n{printable(shlex.join(qemu))}\n")
    return 0


def _toml(table: dict[str, Any], head: str = "") -> Iterator[str]:
    """The table as TOML, values before tables; None is a key that was not given."""
    nested = {key: value for key, value in table.items() if _is_table(value)}
    for key, value in table.items():
        if key not in nested and value is not None and value != "" and not (key == "name" and not head):
            yield f"{key} = {_value(value)}\n"
    for key, value in nested.items():
        for one in [value] if isinstance(value, dict) else value:
            yield f"\n[{key}]\n" if isinstance(value, dict) else f"\n[[{key}]]\n"
            yield from _toml(one, key)


def _is_table(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, tuple) and bool(value) and isinstance(value[0], dict))


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if type(value) in {bool, int}:
        return json.dumps(value)
    return json.dumps(printable(value), ensure_ascii=False)


def _derived(guest: Guest, place: Place) -> str:
    account = f"{place.uid}"
    if place.uid is None:
        account = f"that of {guest.user}, which does not exist" if guest.user and place.log_uid else "the caller's"
    lines = [
        "# what follows from its name",
        f"uuid       {place.uuid}",
        f"uid        {account}",
        f"directory  {place.directory}",
        f"log        {place.log}",
        *([f"display    VNC at {shown}"] if (shown := guest.shown_at(place)) else []),
    ]
    for port in place.ports:
        lines.append(_port(port).rstrip())
    return "\n".join(lines) + "\n"


def _port(port: Port) -> str:
    where = f"{port.address or 'no address'} on {port.network}"
    return f"{port.name:<10} {port.mac} {where}: tap {port.tap}, bridge {port.bridge}\n"


def _lines(now: Status) -> Iterator[str]:
    """The row of `list -v`, a line a column; of a guest that does not run there is little to say."""
    told = list(zip(guest_columns.POSTURE.heads, guest_columns.POSTURE.cells(now), strict=True))[1:]
    for head, cell in told if now.posture else told[:1]:
        if cell:
            yield f"{head.lower():<10} {cell}\n".replace("\n", ", ", cell.count("\n"))
