"""What was found wrong and what became of it, for people: the subject, the fault, each step."""

import sys
from collections.abc import Iterable, Iterator

from kvmrun.model.printable import printable
from kvmrun.plan.repair.repair_plan import RepairResult
from kvmrun.ui.text.caller import fix
from kvmrun.ui.text.line_folding import proposed


def pasteable(one: RepairResult) -> RepairResult:
    """The outcome with commands that mean this lab, for people and for programs."""
    return one.replace(text=fix(one.text), fix=fix(one.fix), error=fix(one.error))


def repair_lines(found: Iterable[RepairResult]) -> Iterator[str]:
    for one in found:
        yield f"{printable(one.subject, 60)}: {printable(one.text, 400)}"
        mark = "would " if one.state == "to be repaired" else ""
        done = ": done" if one.state == "repaired" else ""
        yield from (f"  {mark}{printable(step, 400)}{done}" for step in one.steps)
        if one.error:
            yield f"  not repaired: {printable(one.error, 400)}"
        if one.fix and one.state != "repaired":
            yield proposed(f"  fix: {printable(one.fix, 400)}", sys.stdout, indent=7)


def repair_verdict(found: Iterable[RepairResult]) -> str:
    states = [one.state for one in found]
    counts = {word: states.count(word) for word in ("repaired", "to be repaired", "not repaired")}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing to repair"
