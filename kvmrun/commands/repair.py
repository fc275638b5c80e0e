"""kvmrun repair: find and repair what a crash, a reboot or another tool left."""

import json
import sys
from typing import Literal

from kvmrun.commands import _repair
from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError
from kvmrun.host.facts import root_capabilities
from kvmrun.light.abc import Iterator
from kvmrun.model.printable import printable
from kvmrun.plan.repair_plan import Fault, Outcome
from kvmrun.ui.text import repair_text
from kvmrun.ui.text.progress import Progress

HELP = "find and repair what a crash, a reboot or another tool left"


def configure(parser: Parser) -> None:
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="only report; exit 1 if there is something to repair"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the format of the output")


def run(args: Args) -> int:
    where = directories(args)
    lab = open_lab(where)
    root_capabilities.require()
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        subjects = _repair.subjects(lab, where, progress.detail)
        found = [repair_text.pasteable(one) for subject in subjects for one in _outcomes(subject, dry=args.dry_run)]
    well = all(one.state == "repaired" for one in found)
    if args.output == "json":
        body = [{key: _printable(value) for key, value in one.as_dict().items()} for one in found]
        sys.stdout.write(json.dumps({"schema": 1, "well": well, "faults": body}, sort_keys=True) + "\n")
    elif not args.quiet:
        sys.stdout.write("".join(f"{line}\n" for line in (*repair_text.lines(found), repair_text.verdict(found))))
    return 0 if well else 1


def _outcomes(subject: _repair.Subject, *, dry: bool) -> Iterator[Outcome]:
    """What is wrong with it, and what became of that; a dry run changes nothing."""
    text = "it cannot be examined"
    try:
        faults = subject.look()
        if dry or not any(fault.steps for fault in faults):
            yield from (_outcome(fault, "to be repaired") for fault in faults)
            return
        text = faults[0].text
        for fault in subject.mend():
            yield _outcome(fault, "repaired")
    except (KvmrunError, OSError, ValueError) as why:
        hint = why.hint if isinstance(why, KvmrunError) else ""
        error = f"{why}: {why.why}" if isinstance(why, KvmrunError) and why.why else f"{why}"
        yield Outcome(subject=subject.name, text=text, state="not repaired", fix=hint, error=error)


def _outcome(fault: Fault, state: Literal["to be repaired", "repaired"]) -> Outcome:
    steps = tuple(f"{step}" for step in fault.steps)
    return Outcome(
        subject=fault.subject, text=fault.text, state=state if steps else "not repaired", steps=steps, fix=fault.fix
    )


def _printable(value: object) -> object:
    return [printable(one, 1000) for one in value] if isinstance(value, tuple) else printable(value, 1000)
