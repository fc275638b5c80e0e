"""kvmrun export: the lab as files for others, Shorewall and systemd."""

import os
import sys

from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.config.standard_paths import absolute
from kvmrun.errors import ConfigError, HostLacks, UsageError
from kvmrun.export import shorewall_export, systemd_units
from kvmrun.export.shorewall_file import MARK
from kvmrun.host.facts import guest_facts, network_facts
from kvmrun.host.files import export_files
from kvmrun.host.links import gateway_probe
from kvmrun.host.rundir import records
from kvmrun.light.abc import Callable, Mapping
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Uplink
from kvmrun.model.printable import printable
from kvmrun.plan.network import uplink_routing
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.progress import Progress

HELP = "write files for Shorewall or systemd"
_INSTALLED = "/usr/local/bin/kvmrun"
_ENVIRONMENT = ("KVMRUN_RUN_DIR", "KVMRUN_STATE_DIR", "KVMRUN_QEMU")


def configure(parser: Parser) -> None:
    parser.add_argument("kind", choices=tuple(_KINDS), help="the program that reads the files")
    parser.add_argument(
        "directory", nargs="?", metavar="DIR", help="the directory to write to; without it, print everything"
    )
    parser.add_argument(
        "-f", "--force", action="store_true", help="replace files that others wrote or changed, and keep copies"
    )
    text = "shorewall: print what the configuration in DIR, or in /etc/shorewall, lacks"
    parser.add_argument("--lines", action="store_true", help=text)


def run(args: Args) -> int:
    where = directories(args)
    lab = open_lab(where)
    _refuse_wrong(lab)
    lab = records.in_force(lab, where)  # addresses as they are now, also of guests that run as they were started
    if args.lines:
        return _lines(lab, args)
    texts = _KINDS[args.kind](lab, args.force)
    if args.directory is None:
        sys.stdout.write("".join(f"### {name}\n{text}\n" for name, text in texts.items()))
        return 0
    directory = absolute(args.directory)
    notes = export_files.write(directory, texts, f"{MARK} {args.kind}:", force=args.force)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        for note in notes:
            progress.tell(f"{directory}: {note}")
        progress.tell(f"{directory}: {', '.join(texts)}")
    return 0


def _refuse_wrong(lab: Lab) -> None:
    """Guests that are invalid are left out and named; networks that are would make the whole wrong."""
    errors = [one for one in lab.problems if not one.warning]
    if wrong := tuple(f"{one}" for one in errors if one.file == "networks.toml"):
        raise ConfigError("the networks are not valid", f"edit {lab.directory}/networks.toml", lines=wrong)
    for name in lab.invalid:
        _note(f"{name} is invalid and left out; kvmrun check says why")


def _shorewall(lab: Lab, force: bool) -> Mapping[str, str]:
    from kvmrun.host.facts import shorewall_facts

    found = shorewall_facts.version()
    if found and found < shorewall_export.OLDEST and not force:
        text = ".".join(map(str, found))
        hint = "apt install shorewall; or add --force, to write for another host"
        raise HostLacks(f"Shorewall {text} is too old for these files", hint, why="they are in the syntax of 5.2")
    texts = shorewall_export.files(lab, *_seen(lab))
    for one in _silent(lab):
        _note(
            f"uplink {one.name}: {one.gateway} on {one.interface} does not answer; Shorewall will not start without it"
        )
    if lab.firewall == "nftables":
        _note('firewall = "nftables": kvmrun would keep its own rules too; set firewall = "shorewall" in networks.toml')
    return texts


def _seen(lab: Lab) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """What an export needs to know of the host: the links that lead out, our addresses there, the gateways' MACs."""
    from kvmrun.host.facts import shorewall_facts

    bridges = {str(one.bridge) for one in lab.networks.values()}
    links = [link for link in network_facts.uplinks() if link not in bridges]
    return links, shorewall_facts.own_addresses(lab.uplinks.values()), _macs(lab)


def _lines(lab: Lab, args: Args) -> int:
    if args.kind != "shorewall":
        raise UsageError("--lines is for shorewall", "kvmrun export shorewall --lines")
    from kvmrun.export import shorewall_lines

    directory = absolute(args.directory or "/etc/shorewall")
    present = {name: text for name in shorewall_lines.FILES if (text := guest_facts.read(f"{directory}/{name}"))}
    missing = shorewall_lines.missing(lab, shorewall_export.view(lab, *_seen(lab)), present)
    sys.stdout.write("".join(f"### {directory}/{name}\n{text}\n" for name, text in missing.items()))
    if not missing:
        _note(f"{directory} has all that the lab needs")
    return 0


def _macs(lab: Lab) -> dict[str, str]:
    """The MACs of the gateways on interfaces that uplinks share: Shorewall need not ask for what it is given."""
    found = gateway_probe.macs(uplink_routing.gateways(_shared(lab)))
    places = {str(one.name): (str(one.interface), str(one.gateway)) for one in _shared(lab)}
    return {name: found[place] for name, place in places.items() if place in found}


def _silent(lab: Lab) -> list[Uplink]:
    """The uplinks on a shared interface whose gateways' MACs Shorewall has to ask for, and that do not answer now."""
    asked = [one for one in _shared(lab) if not one.gateway_mac]
    silent = gateway_probe.silent(uplink_routing.gateways(asked))
    return [one for one in asked if (one.interface, str(one.gateway)) in silent]


def _shared(lab: Lab) -> list[Uplink]:
    wires = [one.interface for one in lab.uplinks.values()]
    return [one for one in lab.uplinks.values() if one.table and wires.count(one.interface) > 1]


def _systemd(lab: Lab, _force: bool) -> Mapping[str, str]:
    guest_facts.qemu()  # refuses a name that a unit could not hold
    environment = {name: value for name in _ENVIRONMENT if (value := os.environ.get(name))}
    return systemd_units.files(lab, _program(), environment)


def _program() -> str:
    """The command as it was called, where it is an installed one."""
    path = os.path.abspath(sys.argv[0])
    return path if os.path.basename(path) == "kvmrun" and os.access(path, os.X_OK) else _INSTALLED


def _note(text: str) -> None:
    sys.stderr.write(f"kvmrun: {printable(fix(text))}\n")


_KINDS: Mapping[str, Callable[[Lab, bool], Mapping[str, str]]] = {"shorewall": _shorewall, "systemd": _systemd}
