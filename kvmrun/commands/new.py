"""kvmrun new: write a definition for a new guest, commented, and valid before anybody sees it."""

import sys

from kvmrun.commands import _definition, _drives, names
from kvmrun.commands._lab import defined, directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.config import definition_template, toml_edit
from kvmrun.errors import ConfigError, UsageError
from kvmrun.host.files import definition_files, known_hosts
from kvmrun.light.abc import Iterator, Mapping
from kvmrun.light.ipaddress import IPv4Address
from kvmrun.model import derive
from kvmrun.model.guest.guest import Boot, Guest
from kvmrun.model.guest.nic import Nic
from kvmrun.model.guest.paths import Directories
from kvmrun.model.lab import Lab, nic_names
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.line_folding import proposed

HELP = "write a definition for a new guest"
_KINDS = ("image", "base", "cdrom", "copy")
_SIZES = ("cpus", "memory")


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NEW", help="the name of the guest")
    parser.add_argument("--image", metavar="FILE", help="use this image as the drive; the guest writes to it")
    parser.add_argument(
        "--base", metavar="FILE", help="create the drive as an overlay of this image, which stays unchanged"
    )
    parser.add_argument("--cdrom", metavar="ISO", help="create an empty drive, and attach this CD-ROM to install from")
    parser.add_argument("--copy", metavar="NAME", help="copy this guest, with drives and addresses of its own")
    parser.add_argument("--size", metavar="SIZE", help="the size of the new image, such as 20G")
    parser.add_argument("--memory", metavar="SIZE", help="the memory, such as 2G")
    parser.add_argument("--cpus", type=int, metavar="N", help="the number of processors")
    parser.add_argument("--format", choices=("qcow2", "raw"), help="the format of FILE if its suffix does not tell")


def run(args: Args) -> int:
    where = directories(args)
    if len([kind for kind in _KINDS if getattr(args, kind)]) > 1:
        raise UsageError(
            "--image, --base, --cdrom and --copy exclude each other", f"kvmrun new {args.guest} --base FILE"
        )
    before = open_lab(where)
    name = _definition.new_name(args.guest, before)
    _definition.writable(where)
    text = _copied(before, where, name, args.copy) if args.copy else _fresh(before, where, name, args)
    text = _sized(text, {key: value for key in _SIZES if (value := getattr(args, key)) is not None})
    text = _settled(before, where, name, text)
    _, errors = _definition.new_errors(where, before, {f"{name}.toml": text.encode(errors="surrogateescape")})
    _definition.refuse(f"{name} would not be valid", "nothing was written; correct that first", errors)
    path = _definition.path(where, name)
    definition_files.create(path, text.encode(errors="surrogateescape"))
    known_hosts.forget(where, name)  # of an earlier guest whose file was removed by hand
    if not args.quiet:
        start = f"kvmrun up {name}" if name in names() else f"kvmrun {name}"
        following = proposed(f"next: {fix(f'kvmrun edit {name}, or {start}')}", sys.stdout, indent=6)
        sys.stdout.write(f"{path} is written\n{following}\n")
    return 0


def _fresh(before: Lab, where: Directories, name: str, args: Args) -> str:
    """The text of a guest with nothing but what was asked for; the rest in comments."""
    now, nics = _effective(before, where, name)
    drives = _drives.asked(before, where, now, args)
    keys = _drives.keys(now, args) if drives else []
    if any(key == "unset" for key, _, _ in keys):
        now = now.but(boot=Boot())
    return definition_template.text(now, where.images, keys=keys, drives=drives, nics=[_told(nic) for nic in nics])


def _sized(text: str, values: Mapping[str, object]) -> str:
    """The text with these keys in the place of those that it has, or shows in comments."""
    lines = [
        line for line in text.splitlines(keepends=True) if line.split(" =")[0] not in {f"# {key}" for key in values}
    ]
    plain = toml_edit.without("".join(lines), *(("", key) for key in values))
    return toml_edit.with_keys(plain, toml_edit.TOP, values) if values else text


def _effective(before: Lab, where: Directories, name: str) -> tuple[Guest, tuple[Nic, ...]]:
    """The guest that an empty file makes of the lab's defaults; on the first network where they name none there is."""
    network = next(iter(before.networks), "")
    for text in ("", f'[[nic]]\nnetwork = "{network}"\n' if network else "nic = []\n"):
        lab, errors = _definition.new_errors(where, before, {f"{name}.toml": text.encode(errors="surrogateescape")})
        if name in lab.guests:
            return lab.guests[name], lab.guests[name].nic
    lines = tuple(f"{one}" for one in (*before.problems, *errors) if not one.warning)
    raise ConfigError("the lab's own files are not valid", "kvmrun edit defaults, or kvmrun edit networks", lines=lines)


def _told(nic: Nic) -> dict[str, object]:
    """What a card says of itself that is not the default, and its network."""
    told = {key: value for key, value in nic.as_dict().items() if value != Nic.DEFAULTS[key]}
    return {"network": nic.network} | told


def _copied(before: Lab, where: Directories, name: str, other: str) -> str:
    """The text of another guest, less what is its alone; refused where it is not the same guest then."""
    guest = defined(before, other)
    text = definition_files.read(_definition.path(where, other)).decode()
    text = toml_edit.without(text, ("", "uuid"), ("nic", "mac"), ("nic", "address"))
    for number, drive in enumerate(guest.drive):
        if not drive.is_readonly():
            image = _drives.own(where, guest, number, name)
            _drives.refuse_existing(before, where, name, image)
            text = toml_edit.with_text(text, ("drive", number), "image", image)
    lab, errors = _definition.new_errors(where, before, {f"{name}.toml": text.encode(errors="surrogateescape")})
    copy = lab.guests.get(name)
    if copy is None or _alike(copy) != _alike(guest).but(name=copy.name):
        lines = tuple(f"{one}" for one in errors)
        raise ConfigError(
            f"{other} is written in a way that kvmrun cannot copy", f"copy {other}.toml by hand", lines=lines
        )
    return text


def _alike(guest: Guest) -> Guest:
    """The guest less what a copy of it does not share."""
    return guest.but(
        uuid=None,
        drive=tuple(drive if drive.is_readonly() else drive.but(image="") for drive in guest.drive),
        nic=tuple(nic.but(mac=None, address=None) for nic in guest.nic),
    )


def _settled(before: Lab, where: Directories, name: str, text: str) -> str:
    """The text with an address for each card whose own is taken, or that would take one from a guest there is."""
    lab, _ = _definition.new_errors(where, before, {f"{name}.toml": text.encode(errors="surrogateescape")})
    if name not in lab.guests:
        return text
    for number, address in _aside(before, lab, name):
        text = toml_edit.with_keys(text, ("nic", number), {"address": address})
    return text


def _aside(before: Lab, after: Lab, name: str) -> Iterator[tuple[int, str]]:
    taken = {(port.network, port.address) for ports in before.ports().values() for port in ports}
    for number, (nic, key) in enumerate(zip(after.guests[name].nic, nic_names(after.guests[name].nic), strict=True)):
        network = after.networks[nic.network]
        if nic.address or network.external:
            continue
        wanted = list[IPv4Address]()
        for one in network.candidates(derive.number(after.seed, name, key)):
            wanted.append(one)
            if (network.name, str(one)) not in taken:
                break
        taken.add((network.name, str(wanted[-1])))
        if len(wanted) > 1:
            yield number, str(wanted[-1])
