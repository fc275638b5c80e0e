"""kvmrun doctor: whether guests can run here and reach out, what prevents it, and how to fix that."""

import sys

from kvmrun.api.doctor import doctor
from kvmrun.cli.arguments import Args, Parser, opened
from kvmrun.cli.json_output import print_document
from kvmrun.cli.report import reporting
from kvmrun.model.finding import Finding
from kvmrun.model.printable import printable
from kvmrun.ui.text import doctor_text
from kvmrun.ui.text.output import use_colour

HELP = "find what prevents guests from running on this host, and how to fix it"
TIMEOUT = "10 s for a guest that is started as a trial"


def configure(parser: Parser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the format of the output")


def run(args: Args) -> int:
    lab = opened(args)
    with reporting(args) as report:
        found = [doctor_text.pasteable(one) for one in doctor(lab, timeout=args.timeout, report=report)]
    _show(found, args)
    return 1 if any(one.level == "problem" for one in found) else 0


def _show(found: list[Finding], args: Args) -> None:
    if args.output == "json":
        well = not any(one.level == "problem" for one in found)
        body = [{key: printable(value, 1000) for key, value in one.as_dict().items()} for one in found]
        print_document(well=well, findings=body)
        return
    for line in doctor_text.finding_lines(
        [one for one in found if one.level != "ok" or not args.quiet], color=use_colour(args.color)
    ):
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{doctor_text.doctor_verdict(found)}\n")
