"""kvmrun net: the networks by themselves."""

import json
import sys

from kvmrun.commands import _guards, _network
from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import ConfigError, UsageError
from kvmrun.host import capability, listeners, observe, rundir, standing
from kvmrun.host.apply import applied
from kvmrun.model.finding import problem
from kvmrun.model.lab import Lab
from kvmrun.model.network import Network
from kvmrun.model.place import Directories
from kvmrun.model.text import printable
from kvmrun.plan import forwards, ways
from kvmrun.plan import network as plan
from kvmrun.ui import wires
from kvmrun.ui.progress import Progress

HELP = "bring networks up or down, or show them"


def configure(parser: Parser) -> None:
    parser.add_argument("verb", choices=("up", "down", "restart", "status"), help="what to do")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="which ones; all when none is named")
    parser.add_argument("-f", "--force", action="store_true", help="down: also under guests that are attached")
    parser.add_argument("--owner", metavar="USER", help="up: taps to stay, so that USER starts guests without root")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="status: its form")


def run(args: Args) -> int:
    where = directories(args)
    lab = open_lab(where)
    chosen = [_named(lab, name) for name in args.networks or sorted(lab.networks)]
    capability.require()
    if args.verb == "status":
        return _status(lab, where, chosen, args)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        for network in chosen:
            if args.verb in {"down", "restart"}:
                _down(lab, where, network, progress, force=args.force or args.verb == "restart")
            if args.verb in {"up", "restart"}:
                _up(lab, where, network, progress, owner=_uid(args.owner) if args.owner else None)
    if not args.networks and (wrong := _problems(lab)):
        raise ConfigError("networks.toml has errors", f"edit {lab.directory}/networks.toml", lines=wrong)
    return 0


def _named(lab: Lab, name: str) -> Network:
    if name in lab.networks:
        return lab.networks[name]
    hint = f"networks: {', '.join(lab.networks) or 'none'}"
    raise ConfigError(f"there is no network {printable(name)}", hint, lines=_problems(lab))


def _problems(lab: Lab) -> tuple[str, ...]:
    return tuple(f"{one}" for one in lab.problems if one.file == "networks.toml")


def _up(lab: Lab, where: Directories, network: Network, progress: Progress, *, owner: int | None) -> None:
    _guards.mend(where, network.name, progress)  # before their taps are plugged in again, where they are loose
    before = _network.steps(lab, where, network, owner)
    with _network.ready(lab, where, [network.name], progress.detail, owner=owner):
        state = "is up" if before else "is up already"
        warnings = [*ways.absent(lab, network, standing.ways_asked(lab, network))]
        if network.forward:
            owners = listeners.owners({one.port for one in network.forward})
            warnings += [f"{text}; fix: {mend}" for text, mend in forwards.hidden(network, owners)]
    progress.tell(f"network {network.name} {state}: {network.bridge} {network.host_address()}")
    for warning in warnings:
        progress.tell(f"warning: {warning}")


def _uid(user: str) -> int:
    found = observe.accounts([user])
    if user not in found:
        raise UsageError(f"there is no user {printable(user)}", "--owner takes the name of an account")
    return found[user]


def _down(lab: Lab, where: Directories, network: Network, progress: Progress, *, force: bool) -> None:
    from kvmrun.host.network import hand  # brings pyroute2

    with rundir.held(where.network(network.name), f"network {network.name}"):
        steps = plan.down(lab, network, where, standing.wire(lab, network, where), force=force)
        with applied(steps, hand(where), progress.detail):
            pass
    progress.tell(f"network {network.name} is down" + ("" if steps else " already"))


def _status(lab: Lab, where: Directories, networks: list[Network], args: Args) -> int:
    from kvmrun.commands import _wires  # brings pyroute2

    found = [_wires.look(lab, where, network) for network in networks]
    mistakes = [problem("networks", text, "") for text in _problems(lab)]
    problems = [*mistakes, *_wires.in_the_way(lab, where, found)]
    if args.output == "json":
        texts = [f"{one.text}; fix: {one.fix}" if one.fix else one.text for one in problems]
        document = {"schema": 1, "networks": [one.as_dict() for one in found], "problems": texts}
        sys.stdout.write(json.dumps(document, sort_keys=True) + "\n")
    else:
        sys.stdout.write("\n".join(wires.lines(found, problems)) + "\n")
    return 0
