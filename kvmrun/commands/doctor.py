"""kvmrun doctor: whether guests can run here and reach out, who is in the way, and what mends it."""

import json
import sys

from kvmrun.commands._lab import directories, open_lab
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import KvmrunError
from kvmrun.host.facts import guest_facts
from kvmrun.host.rundir import records
from kvmrun.model import derive
from kvmrun.model.finding import Finding, problem, warning
from kvmrun.model.guest.paths import Directories
from kvmrun.model.lab import Lab
from kvmrun.model.printable import printable
from kvmrun.plan.doctor import doctor_host, doctor_networks
from kvmrun.plan.doctor.doctor_facts_model import Trial
from kvmrun.ui.text import doctor_text
from kvmrun.ui.text.output import colored
from kvmrun.ui.text.progress import Progress

HELP = "find what prevents guests from running on this host, and how to fix it"
TIMEOUT = "10 s for a guest that is started as a trial"
_LIMIT = 10.0
_MODELS = ("host", "qemu64")


def configure(parser: Parser) -> None:
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="the format of the output")


def run(args: Args) -> int:
    from kvmrun.host.facts import doctor_facts  # brings pyroute2

    where = directories(args)
    lab, told = _lab(where)
    with Progress(quiet=args.quiet, verbose=args.verbose) as progress:
        with progress.waiting("a guest of one sector boots"):
            trials = _trials(lab, where, _LIMIT if args.timeout is None else args.timeout)
        machine = doctor_facts.machine(where, lab.guests, trials)
    now = records.in_force(lab, where)
    wires = doctor_facts.wires(now, where)
    found = [*told, *doctor_host.machine(lab, machine), *doctor_networks.wires(now, where, wires)]
    found = [doctor_text.pasteable(one if where.root else _for_user(one)) for one in found]
    _show(found, args)
    return 1 if any(one.level == "problem" for one in found) else 0


def _for_user(one: Finding) -> Finding:
    """Mends that need root say so."""
    roots = one.fix.partition(" ")[0] in {"apt", "ip", "modprobe", "sysctl"}
    return one.but(fix=f"sudo {one.fix}") if roots else one


def _lab(where: Directories) -> tuple[Lab, list[Finding]]:
    """The lab, as far as it is one; a doctor that gave up on a bad lab would not see the host."""
    try:
        lab = open_lab(where)
    except KvmrunError as error:
        return Lab(directory=where.vms, identity=where.lab), [
            problem("lab", f"{error.message}: {error.why}", error.hint)
        ]
    errors = [one for one in lab.problems if not one.warning]
    check = "kvmrun check"
    return lab, [warning("lab", f"{len(errors)} errors in {lab.directory}", check)] if errors else []


def _trials(lab: Lab, where: Directories, limit: float) -> tuple[Trial, ...]:
    """The processor's own model, and only if that fails a plain one; none where no guest asks for KVM."""
    state, group = guest_facts.kvm(root=where.root)
    if state != "ready" or not guest_facts.qemu() or (lab.guests and not doctor_host.asking(lab)):
        return ()
    from kvmrun.host.facts import kvm_trial

    account = (derive.uid(lab.seed, "doctor", "kvm"), group) if where.root else (None, None)
    made: list[Trial] = []
    for model in _MODELS:
        made.append(kvm_trial.kvm(guest_facts.qemu(), model, account, limit))
        if made[-1].worked:
            break
    return tuple(made)


def _show(found: list[Finding], args: Args) -> None:
    if args.output == "json":
        well = not any(one.level == "problem" for one in found)
        body = [{key: printable(value, 1000) for key, value in one.as_dict().items()} for one in found]
        sys.stdout.write(json.dumps({"schema": 1, "well": well, "findings": body}, sort_keys=True) + "\n")
        return
    for line in doctor_text.lines(
        [one for one in found if one.level != "ok" or not args.quiet], color=colored(args.color)
    ):
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{doctor_text.verdict(found)}\n")
