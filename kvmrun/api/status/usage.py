"""Every guest of the lab at one moment: its state as the list has it, and what QEMU and the kernel have counted."""

import time

from kvmrun.api.lab import LabHandle
from kvmrun.api.status.status import look
from kvmrun.host.facts import host_usage
from kvmrun.host.process import process
from kvmrun.light.abc import Mapping
from kvmrun.model.guest.guest_status import Status
from kvmrun.model.guest.guest_usage import Sample, Snapshot
from kvmrun.monitor.qmp import block_stats
from kvmrun.monitor.qmp.query_many import Answer


def usage(lab: LabHandle) -> Snapshot:
    """What the host and all guests have used until now; the rates are `Snapshot.rates(earlier)`.

    Raises: ConfigError and Refused for a lab that cannot be read.
    """
    return Snapshot(load=host_usage.load(), guests=tuple(guest_usage(lab)))


def guest_usage(lab: LabHandle) -> list[Sample]:
    """One question to all guests at once; whoever does not answer has what the kernel knows of it."""
    rows, answers = look(lab.paths, lab.definitions, more=block_stats.QUESTIONS)
    links = host_usage.links()
    now = time.monotonic()
    return [_sample(row, answers.get(row.name, Answer()), links, now) for row in rows]


def _sample(row: Status, answer: Answer, links: Mapping[str, host_usage.LinkCount], now: float) -> Sample:
    used = process.usage(row.pid) if row.pid else None
    return Sample(
        at=now,
        status=row,
        cpu_s=used.cpu / process.TICKS if used else None,
        balloon_bytes=block_stats.balloon(answer),
        drives=block_stats.drives(answer),
        nics=tuple(links[nic.tap].of_guest(nic.name) for nic in row.nics if row.pid and nic.tap in links),
    )
