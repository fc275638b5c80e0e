"""kvmrun net: the networks by themselves."""

import json
import sys

from kvmrun.commands import _network
from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import ConfigError, Refused
from kvmrun.host import observe, rundir
from kvmrun.host.apply import applied
from kvmrun.host.hand import network_hand
from kvmrun.model.lab import Lab
from kvmrun.model.network import Network
from kvmrun.model.place import Directories
from kvmrun.model.text import printable
from kvmrun.plan import network as plan
from kvmrun.ui.progress import Progress

HELP = "bring networks up or down, or show them"


def configure(parser: Parser) -> None:
    parser.add_argument("verb", choices=("up", "down", "restart", "status"), help="what to do")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="which ones; all when none is named")
    parser.add_argument("-f", "--force", action="store_true", help="down: also under guests that are attached")
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="status: the form of the output"
    )


def run(args: Args) -> int:
    where = directories(args)
    lab = open_lab(where)
    chosen = [_network_of(lab, name) for name in args.networks or sorted(lab.networks)]
    if args.verb == "status":
        return _status(lab, chosen, args)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        for network in chosen:
            if args.verb in {"down", "restart"}:
                _down(where, network, progress, force=args.force)
            if args.verb in {"up", "restart"}:
                _up(lab, where, network, progress)
    return 0


def _network_of(lab: Lab, name: str) -> Network:
    if name in lab.networks:
        return lab.networks[name]
    lines = tuple(f"{one}" for one in lab.problems if one.file == "networks.toml")
    raise ConfigError(f"there is no network {printable(name)}", f"networks: {', '.join(lab.networks)}", lines=lines)


def _up(lab: Lab, where: Directories, network: Network, progress: Progress) -> None:
    before = _network.steps(lab, network)
    with _network.ready(lab, where, [network.name], progress.detail):
        state = "is up" if before else "is up already"
    progress.tell(f"network {network.name} {state}: {network.bridge} {network.host_address()}")


def _down(where: Directories, network: Network, progress: Progress, *, force: bool) -> None:
    with rundir.held(where.network(network.name), f"network {network.name}"):
        steps = plan.down(network, observe.bridge(network.bridge), force=force)
        with applied(steps, network_hand, progress.detail):
            pass
    progress.tell(f"network {network.name} is down" + ("" if steps else " already"))


def _status(lab: Lab, networks: list[Network], args: Args) -> int:
    rows = []
    for network in networks:
        found = observe.bridge(network.bridge)
        rows.append(
            {
                "name": network.name,
                "state": _state(lab, network),
                "bridge": network.bridge,
                "address": str(network.host_address()),
                "ports": list(found.ports) if found else [],
            }
        )
    if args.output == "json":
        sys.stdout.write(json.dumps({"schema": 1, "networks": rows}, sort_keys=True) + "\n")
        return 0
    for row in rows:
        ports = ", ".join(row["ports"]) or "none"
        sys.stdout.write(f"{row['name']}: {row['state']}: {row['bridge']} {row['address']}, ports: {ports}\n")
    return 0


def _state(lab: Lab, network: Network) -> str:
    found = observe.bridge(network.bridge)
    if found is None:
        return "down"
    try:
        missing = plan.up(network, lab.seed, found, ())
    except Refused as why:
        return f"refused: {why.message}"
    return f"degraded: {missing[0]} is to be done" if missing else "up"
