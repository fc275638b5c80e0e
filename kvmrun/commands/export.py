"""kvmrun export: the lab as files for others, Shorewall and systemd."""

import os
import sys

from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.config.where import absolute
from kvmrun.errors import ConfigError, HostLacks
from kvmrun.export import shorewall, systemd
from kvmrun.export.page import MARK
from kvmrun.host import exported, gateway, observe, standing
from kvmrun.light.abc import Callable, Mapping
from kvmrun.model.lab import Lab
from kvmrun.model.network import Uplink
from kvmrun.model.text import printable
from kvmrun.plan import ways
from kvmrun.ui.progress import Progress

HELP = "write the lab for others: shorewall, systemd"
_INSTALLED = "/usr/local/bin/kvmrun"
_ENVIRONMENT = ("KVMRUN_RUN_DIR", "KVMRUN_STATE_DIR", "KVMRUN_QEMU")


def configure(parser: Parser) -> None:
    parser.add_argument("kind", choices=tuple(_KINDS), help="for whom")
    parser.add_argument("directory", nargs="?", metavar="DIR", help="where to; without it, everything is printed")
    parser.add_argument("-f", "--force", action="store_true", help="also into a directory with files of others")


def run(args: Args) -> int:
    lab = open_lab(directories(args))
    _refuse_wrong(lab)
    texts = _KINDS[args.kind](lab, args.force)
    if args.directory is None:
        sys.stdout.write("".join(f"### {name}\n{text}\n" for name, text in texts.items()))
        return 0
    directory = absolute(args.directory)
    exported.write(directory, texts, f"{MARK} {args.kind}:", force=args.force)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        progress.tell(f"{directory}: {', '.join(texts)}")
    return 0


def _refuse_wrong(lab: Lab) -> None:
    """Guests that are invalid are left out and named; networks that are would make the whole wrong."""
    errors = [one for one in lab.problems if not one.warning]
    if wrong := tuple(f"{one}" for one in errors if one.file == "networks.toml"):
        raise ConfigError("the networks are not valid", f"edit {lab.directory}/networks.toml", lines=wrong)
    for name in lab.invalid:
        _note(f"{name} is invalid and left out: kvmrun check tells why")


def _shorewall(lab: Lab, force: bool) -> Mapping[str, str]:
    from kvmrun.host import shorewall as now

    found = now.version()
    if found and found < shorewall.OLDEST and not force:
        text = ".".join(map(str, found))
        hint = "apt install shorewall; or add --force, to write for another host"
        raise HostLacks(f"Shorewall {text} is too old for these files", hint, why="they are in the syntax of 5.2")
    bridges = {str(one.bridge) for one in lab.networks.values()}
    links = [link for link in standing.uplinks() if link not in bridges]
    texts = shorewall.files(lab, links, now.own_addresses(lab.uplinks.values()))
    for one in _silent(lab):
        _note(
            f"uplink {one.name}: {one.gateway} on {one.interface} does not answer; Shorewall will not start without it"
        )
    if lab.firewall == "nftables":
        _note('firewall = "nftables": kvmrun would keep its own rules too; set firewall = "shorewall" in networks.toml')
    return texts


def _silent(lab: Lab) -> list[Uplink]:
    """The uplinks on a wire they share whose gateways do not answer now: Shorewall has to ask for their MACs."""
    wires = [one.interface for one in lab.uplinks.values()]
    shared = [one for one in lab.uplinks.values() if one.table and wires.count(one.interface) > 1]
    silent = gateway.silent(ways.gateways(shared))
    return [one for one in shared if (one.interface, str(one.gateway)) in silent]


def _systemd(lab: Lab, _force: bool) -> Mapping[str, str]:
    observe.qemu()  # refuses a name that a unit could not hold
    environment = {name: value for name in _ENVIRONMENT if (value := os.environ.get(name))}
    return systemd.files(lab, _program(), environment)


def _program() -> str:
    """The command as it was called, where it is an installed one."""
    path = os.path.abspath(sys.argv[0])
    return path if os.path.basename(path) == "kvmrun" and os.access(path, os.X_OK) else _INSTALLED


def _note(text: str) -> None:
    sys.stderr.write(f"kvmrun: {printable(text)}\n")


_KINDS: Mapping[str, Callable[[Lab, bool], Mapping[str, str]]] = {"shorewall": _shorewall, "systemd": _systemd}
