"""Every guest of the lab at one moment: its state as the list has it, and what QEMU and the kernel have counted."""

import time
from collections.abc import Mapping

from kvmrun.api.lab import LabHandle
from kvmrun.api.status.live_status import statuses_and_answers
from kvmrun.host.facts import host_usage
from kvmrun.host.process import process
from kvmrun.model.guest.guest_status import Status
from kvmrun.model.guest.guest_usage import GuestUsage, UsageSnapshot
from kvmrun.monitor.qmp import block_stats
from kvmrun.monitor.qmp.query_many import Reply


def usage(lab: LabHandle) -> UsageSnapshot:
    """What the host and all guests have used until now; the rates are `Snapshot.rates(earlier)`.

    Raises: ConfigError and Refused for a lab that cannot be read.
    """
    return UsageSnapshot(load=host_usage.host_load(), guests=tuple(guest_usage(lab)))


def guest_usage(lab: LabHandle) -> list[GuestUsage]:
    """One question to all guests at once; whoever does not answer has what the kernel knows of it."""
    rows, answers = statuses_and_answers(lab.paths, lab.definitions, more=block_stats.QUESTIONS)
    links = host_usage.link_counters()
    now = time.monotonic()
    return [_sample(row, answers.get(row.name, Reply()), links, now) for row in rows]


def _sample(row: Status, answer: Reply, links: Mapping[str, host_usage.LinkCounters], now: float) -> GuestUsage:
    used = process.process_usage(row.pid) if row.pid else None
    return GuestUsage(
        at=now,
        status=row,
        cpu_s=used.cpu / process.TICKS if used else None,
        balloon_bytes=block_stats.balloon(answer),
        drives=block_stats.drives(answer),
        nics=tuple(links[nic.tap].of_guest(nic.name) for nic in row.nics if row.pid and nic.tap in links),
    )
