"""Everything a crash, a reboot or another tool left: found, and repaired unless only looking was asked for."""

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Literal

from kvmrun.api.lab import LabHandle
from kvmrun.api.repair.repair_targets import RepairTarget, repair_targets
from kvmrun.api.report import Report, details, discard
from kvmrun.errors import KvmrunError
from kvmrun.host.facts import root_capabilities
from kvmrun.model.deadline import Deadline, current, within
from kvmrun.plan.repair.repair_plan import Fault, RepairResult


def repair(
    lab: LabHandle, *, dry_run: bool = False, timeout: float | None = None, report: Report = discard
) -> list[RepairResult]:
    """What was wrong with the guests, networks and links of the lab, and what became of each; [] where all is well.

    With `dry_run` nothing is changed, and every fault is "to be repaired" or "not repaired". What cannot be repaired
    has the error. `timeout` is the limit of the whole call in seconds; what is not examined by then is "not repaired".

    Raises: ConfigError and Refused for a lab that cannot be read, NotPermitted for a root without its capabilities.
    """
    deadline = Deadline.begin(timeout)
    defined = lab.definitions
    root_capabilities.require_capabilities()
    with within(deadline):
        targets = repair_targets(defined, lab.paths, details(report))
        return [result for target in targets for result in _outcomes(target, dry=dry_run)]


def _outcomes(subject: RepairTarget, *, dry: bool) -> Iterator[RepairResult]:
    """What is wrong with it, and what became of that; a dry run changes nothing. Once the time is over, it is left."""
    if current().is_over():
        late = "the time of the command was over before"
        yield RepairResult(subject=subject.name, text="it was not examined", state="not repaired", error=late)
        return
    text = "it cannot be examined"
    try:
        faults = subject.look()
        if dry or not any(fault.steps for fault in faults):
            yield from (_outcome(fault, "to be repaired") for fault in faults)
            return
        texts = chain((fault.text for fault in faults), repeat("what follows from its repair is not done"))
        text = next(texts)
        for fault in subject.repair():
            yield _outcome(fault, "repaired")
            text = next(texts)
    except (KvmrunError, OSError, ValueError) as refusal:
        fix = refusal.fix if isinstance(refusal, KvmrunError) else ""
        error = f"{refusal}: {refusal.reason}" if isinstance(refusal, KvmrunError) and refusal.reason else f"{refusal}"
        yield RepairResult(subject=subject.name, text=text, state="not repaired", fix=fix, error=error)


def _outcome(fault: Fault, state: Literal["to be repaired", "repaired"]) -> RepairResult:
    steps = tuple(f"{step}" for step in fault.steps)
    return RepairResult(
        subject=fault.subject, text=fault.text, state=state if steps else "not repaired", steps=steps, fix=fault.fix
    )
