"""Rows of the list of guests, printed as the words want them."""

import os
import sys

from kvmrun.api.lab import LabHandle
from kvmrun.cli.arguments import Args
from kvmrun.cli.json_output import print_document
from kvmrun.errors import ConfigError
from kvmrun.model.guest.guest_status import Status
from kvmrun.model.printable import printable
from kvmrun.ui.text import guest_columns
from kvmrun.ui.text.caller import fix


def view(args: Args) -> guest_columns.View:
    """The columns that the words ask for."""
    columns = guest_columns.CONFINEMENT if args.verbose else guest_columns.LIVE
    return guest_columns.with_lab(columns) if args.all_labs else columns


def pasteable(found: list[Status], lab: LabHandle, *, all_labs: bool = False) -> list[Status]:
    """The rows with commands that mean the lab that each is of, for people and for programs."""
    known = {None, "", lab.paths.lab}
    return [
        row.replace(problem=fix(row.problem, row.lab if all_labs and row.lab not in known else None))
        if row.problem
        else row
        for row in found
    ]


def refuse_missing_lab(directory: str, args: Args, found: list[Status]) -> None:
    """Raises ConfigError for a directory that was named and is not there, unless guests of it run."""
    if (args.vms or os.environ.get("KVMRUN_VMS")) and not found and not os.path.isdir(directory):
        raise ConfigError(f"{directory} does not exist", "name the directory of a lab; kvmrun init DIR writes one")


def show(found: list[Status], args: Args, directory: str) -> None:
    """Print the rows as the words on the command line want them; to a person whose lab is empty, what fills it."""
    if args.output == "json":
        print_document(guests=[one.to_json() for one in found])
    elif not found and not args.guests and sys.stdout.isatty():
        filled = fix("kvmrun new NAME defines one, kvmrun init DIR writes an example lab")
        sys.stdout.write(f"there are no guests in {printable(directory)}: {filled}\n")
    elif sys.stdout.isatty() or args.color == "always":
        from kvmrun.ui.text.guest_table import draw_table

        draw_table(found, view(args), color=args.color)
    else:
        sys.stdout.write(guest_columns.plain(found, view(args)))
