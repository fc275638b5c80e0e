"""Every guest of the lab at one moment: its state as the list has it, and what QEMU and the kernel have counted."""

import time

from kvmrun.commands._status import look
from kvmrun.host import counters, process
from kvmrun.light.abc import Mapping
from kvmrun.model.lab import Lab
from kvmrun.model.place import Directories
from kvmrun.model.sample import Sample, Snapshot
from kvmrun.model.status import Status
from kvmrun.monitor import counts
from kvmrun.monitor.probe import Answer


def snapshot(where: Directories, lab: Lab) -> Snapshot:
    """The host and all guests."""
    return Snapshot(load=counters.load(), guests=tuple(take(where, lab)))


def take(where: Directories, lab: Lab) -> list[Sample]:
    """One question to all guests at once; whoever does not answer has what the kernel knows of it."""
    rows, answers = look(where, lab, more=counts.QUESTIONS)
    links = counters.links()
    now = time.monotonic()
    return [_sample(row, answers.get(row.name, Answer()), links, now) for row in rows]


def _sample(row: Status, answer: Answer, links: Mapping[str, counters.LinkCount], now: float) -> Sample:
    used = process.usage(row.pid) if row.pid else None
    return Sample(
        at=now,
        status=row,
        cpu_s=used.cpu / process.TICKS if used else None,
        balloon_bytes=counts.balloon(answer),
        drives=counts.drives(answer),
        nics=tuple(links[nic.tap].of_guest(nic.name) for nic in row.nics if row.pid and nic.tap in links),
    )
