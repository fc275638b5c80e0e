"""kvmrun metrics [FILE]: what all guests have used, for Prometheus."""

import sys

from kvmrun import __version__
from kvmrun.commands import _sample
from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.config.standard_paths import absolute
from kvmrun.export import prometheus_text
from kvmrun.host.files import export_files

HELP = "print what guests use, for Prometheus"


def configure(parser: Parser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="replace this file, such as NAME.prom for the textfile collector of node_exporter",
    )


def run(args: Args) -> int:
    where = directories(args)
    text = prometheus_text.text(_sample.take(where, open_lab(where)), __version__)
    if args.file is None:
        sys.stdout.write(text)
        return 0
    export_files.put(absolute(args.file), text)
    return 0
