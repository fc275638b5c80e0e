"""Rows of the list with what is wrong with the taps and the guards of guests that are well otherwise."""

from collections.abc import Mapping

from kvmrun.host.links import tap_device
from kvmrun.model.guest.guest_state import degraded_state
from kvmrun.model.guest.guest_status import Status
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import Port
from kvmrun.model.paths import GuestRuntime, Paths

WELL = ("running", "paused")
"""The states that are what was wanted: what else is wrong is told of these."""


def with_tap_problems(
    rows: list[Status], where: Paths, plugged: Mapping[str, tuple[Port, ...]], runtimes: Mapping[str, GuestRuntime]
) -> list[Status]:
    """The rows, with what is wrong with taps: of guests that are well, and of those that have ended and left one."""
    left = [row.name for row in rows if row.state == "stopped" and any(tap_device.ifindex(nic.tap) for nic in row.nics)]
    if not (plugged or (left and where.root)):
        return rows
    from kvmrun.api.status import port_checks  # brings what reads links

    ended = {name: runtimes[name].ports for name in left if where.root and name in runtimes}
    found = port_checks.tap_problems(where, plugged) | port_checks.outlived_taps(where, ended)
    return [_told(row, found) for row in rows]


def _told(row: Status, problems: Mapping[str, str]) -> Status:
    found = problems.get(row.name)
    return row.replace(state=degraded_state(row.state), problem=row.problem or found) if found else row


def with_tpm_problems(rows: list[Status], where: Paths, records: Mapping[str, Record]) -> list[Status]:
    """The rows, with what is wrong with guests that are well and whose TPM has ended."""
    names = {name for name, record in records.items() if record.tpm}
    if not names:
        return rows
    from kvmrun.host.firmware import running_tpm  # only for guests with a TPM

    text = "its TPM has ended; kvmrun restart {} starts another"
    return [
        row.replace(state=degraded_state(row.state), problem=row.problem or text.format(row.name))
        if row.name in names and row.state in WELL and not running_tpm.is_running(where, row.name)
        else row
        for row in rows
    ]


def with_guard_problems(rows: list[Status], guarded: dict[str, str]) -> list[Status]:
    """The rows, with what is wrong with guests that are well but no longer guarded."""
    if not guarded:
        return rows
    from kvmrun.host.firewall import port_guard  # brings the packet filter's modules

    bare = port_guard.missing_guards(guarded)
    text = "unguarded: its packet filter was changed; kvmrun {} restores it"
    return [
        row.replace(state=degraded_state(row.state), problem=text.format(row.name))
        if row.name in bare and row.state in WELL
        else row
        for row in rows
    ]
