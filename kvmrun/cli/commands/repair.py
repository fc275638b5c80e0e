"""kvmrun repair: find and repair what a crash, a reboot or another tool left."""

import sys

from kvmrun.api.repair.repair import repair
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.json_output import print_document
from kvmrun.cli.report import reporting
from kvmrun.model.printable import printable
from kvmrun.ui.text import repair_text

HELP = "find and repair what a crash, a reboot or another tool left"


def configure(parser: Parser) -> None:
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="only report; exit 1 if there is something to repair"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the format of the output")


def run(args: Args) -> int:
    lab = opened(args)
    with reporting(args) as report:
        found = [repair_text.pasteable(one) for one in repair(lab, dry_run=args.dry_run, report=report)]
    well = all(one.state == "repaired" for one in found)
    if args.output == "json":
        body = [{key: _printable(value) for key, value in one.as_dict().items()} for one in found]
        print_document(well=well, faults=body)
    elif not args.quiet:
        sys.stdout.write(
            "".join(f"{line}\n" for line in (*repair_text.repair_lines(found), repair_text.repair_verdict(found)))
        )
    return 0 if well else 1


def _printable(value: object) -> object:
    return [printable(one, 1000) for one in value] if isinstance(value, tuple) else printable(value, 1000)
