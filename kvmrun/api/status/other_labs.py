"""Guests of other labs on this host, found by the records in the run directory."""

from kvmrun.api.lab import definitions_or_empty
from kvmrun.api.status.live_status import guest_statuses
from kvmrun.host.rundir import records
from kvmrun.model.guest.guest_status import Status
from kvmrun.model.paths import Paths


def with_other_labs(rows: list[Status], where: Paths) -> list[Status]:
    """The rows, and those of every lab that has a running guest or a network that is up, each guest once."""
    recorded = records.gathered(where)
    found = {(row.name, row.lab): row for row in rows}
    labs = {one.lab for one in recorded.guests.values()} | {one.lab for one in recorded.networks.values()}
    for lab in sorted(labs - {"", where.lab}):
        there = where.replace(vms=lab, lab=lab)
        found |= {
            (row.name, row.lab): row for row in guest_statuses(there, definitions_or_empty(there)) if row.lab == lab
        }
    return sorted(found.values(), key=lambda row: (row.name, row.lab or ""))
