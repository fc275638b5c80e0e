"""kvmrun check: everything wrong with the lab, without touching the host."""

import json
import sys

from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import ConfigError, NoSuchGuest
from kvmrun.host import observe
from kvmrun.plan import images

HELP = "validate the lab without touching the host"


def configure(parser: Parser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the form of the output")


def run(args: Args) -> int:
    lab = open_lab(directories(args))
    found = [one for guest in lab.guests.values() for one in images.problems(guest, observe.images(guest))]
    lab = lab.but(problems=(*lab.problems, *found))
    errors = [one for one in lab.problems if not one.warning]
    if args.output == "json":
        document = {"schema": 1, "guests": sorted(lab.guests), "problems": [one.as_dict() for one in lab.problems]}
        sys.stdout.write(json.dumps(document, sort_keys=True) + "\n")
    else:
        for one in lab.problems:
            sys.stdout.write(f"{'warning' if one.warning else 'error'}: {one}\n")
        if not (lab.guests or lab.invalid):
            raise NoSuchGuest(f"{lab.directory} has no guests", "kvmrun init DIR writes an example")
        if not errors:
            sys.stdout.write(f"{len(lab.guests)} guests on {len(lab.networks)} networks: no errors\n")
    return ConfigError.code if errors else 0
