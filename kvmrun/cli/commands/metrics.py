"""kvmrun metrics [FILE]: what all guests have used, for Prometheus."""

import sys

from kvmrun.api.status.metrics import metrics, write_metrics
from kvmrun.cli.arguments import Args, Parser, opened

HELP = "print what guests use, for Prometheus"


def configure(parser: Parser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="replace this file, such as NAME.prom for the textfile collector of node_exporter",
    )


def run(args: Args) -> int:
    lab = opened(args)
    if args.file is None:
        sys.stdout.write(metrics(lab))
    else:
        write_metrics(lab, args.file)
    return 0
