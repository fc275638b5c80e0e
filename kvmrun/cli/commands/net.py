"""kvmrun net: the networks by themselves."""

import sys

from kvmrun.api.lab import LabHandle
from kvmrun.api.network.networks import network_down, network_restart, network_up
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.json_output import print_document
from kvmrun.cli.report import reporting
from kvmrun.ui.text import doctor_text, network_text

HELP = "bring networks up or down, or show their state"


def _verb(word: str) -> str:
    """The verb, or that of the same meaning: `kvmrun net list` shows the state, as `kvmrun list` does."""
    return "status" if word in {"list", "ls"} else word


def configure(parser: Parser) -> None:
    verbs = ("up", "down", "restart", "status")
    parser.add_argument("verb", nargs="?", type=_verb, choices=verbs, help="what to do (status); list is status")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="the networks; all if none is named")
    parser.add_argument("-f", "--force", action="store_true", help="down: also while guests are attached")
    parser.add_argument(
        "--owner", metavar="USER", help="up: create persistent taps, so that USER starts guests without root"
    )
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="status: the format of the output"
    )


def run(args: Args) -> int:
    lab, names = opened(args), args.networks or None
    if args.verb in {None, "status"}:
        return _status(lab, names, args)
    with reporting(args) as report:
        if args.verb == "up":
            network_up(lab, names, owner=args.owner, report=report)
        elif args.verb == "down":
            network_down(lab, names, force=args.force, report=report)
        else:
            network_restart(lab, names, owner=args.owner, report=report)
    return 0


def _status(lab: LabHandle, names: list[str] | None, args: Args) -> int:
    from kvmrun.api.network.network_status import network_status  # brings pyroute2

    found = network_status(lab, names)
    networks = [network_text.pasteable(one) for one in found.networks]
    problems = [doctor_text.pasteable(one) for one in found.problems]
    if args.output == "json":
        texts = [f"{one.text}; fix: {one.fix}" if one.fix else one.text for one in problems]
        print_document(networks=[one.as_dict() for one in networks], problems=texts)
    else:
        sys.stdout.write("\n".join(network_text.network_lines(networks, problems)) + "\n")
    return 0
