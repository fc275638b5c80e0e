"""kvmrun check: everything wrong with the lab, without touching the host."""

import os
import sys

from kvmrun.api.definition.check_lab import LabCheck, check_lab
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.json_output import print_document
from kvmrun.errors import ConfigError, NoSuchGuest
from kvmrun.model.lab import Problem

HELP = "validate the lab without touching the host"


def configure(parser: Parser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the format of the output")


def run(args: Args) -> int:
    found = check_lab(opened(args))
    if args.output == "json":
        print_document(guests=sorted(found.guests), problems=[_document(one) for one in found.problems])
    else:
        _print(found)
    return ConfigError.code if found.errors() else 0


def _print(found: LabCheck) -> None:
    for one in found.problems:
        sys.stdout.write(f"{'warning' if one.warning else 'error'}: {one}\n")
    if not (found.guests or found.invalid):
        what = "has no guests" if os.path.isdir(found.directory) else "does not exist"
        raise NoSuchGuest(f"{found.directory} {what}", "kvmrun init DIR writes an example")
    if not found.errors():
        networks = _counted(len(found.networks), "network")
        sys.stdout.write(f"{_counted(len(found.guests), 'guest')} on {networks}: no errors\n")


def _document(problem: Problem) -> dict[str, object]:
    return {**problem.as_dict(), "message": f"{problem}"}


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
