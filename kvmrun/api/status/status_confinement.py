"""How each running guest is held, beside what the list tells of it: loaded only where it is asked for."""

from collections.abc import Mapping

from kvmrun.host.firewall import port_guard
from kvmrun.host.process import confinement
from kvmrun.host.rundir import rundir
from kvmrun.model.guest.guest_status import Status
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import Port
from kvmrun.model.paths import Paths

_WEAKEST = ("none", "mac", "address")


def with_confinement(rows: list[Status], where: Paths, here: Mapping[str, str]) -> list[Status]:
    """The rows, those of guests that run with their confinement; `here` are the guests' run directories."""
    records = {row.name: rundir.read_record(here[row.name]) for row in rows if row.pid and row.name in here}
    gone = _gone(where, records, here) if where.root else set[str]()
    return [_with(row, records[row.name], where, gone) if row.name in records else row for row in rows]


def _with(row: Status, record: Record | None, where: Paths, gone: set[str]) -> Status:
    found = confinement.read_confinement(row.pid or 0)
    if record and where.root:
        found = found.replace(guard="gone" if row.name in gone else _weakest(record.ports))
    return row.replace(confinement=found)


def _weakest(ports: tuple[Port, ...]) -> str:
    return min((port.guard for port in ports), key=_WEAKEST.index, default="none")


def _gone(where: Paths, records: Mapping[str, Record | None], here: Mapping[str, str]) -> set[str]:
    """Those whose rules are not what was loaded: their own, or those of the network that keeps their taps."""
    guarded = {name: one for name, one in records.items() if one and _weakest(one.ports) != "none"}
    own = port_guard.missing_guards({name: here[name] for name in guarded if here[name] == where.guest(name)})
    users = {name: one for name, one in guarded.items() if here[name] != where.guest(name)}
    networks = {port.network for one in users.values() for port in one.ports}
    bare = port_guard.missing_on_networks({name: where.network(name) for name in networks})
    return own | {name for name, one in users.items() if any(port.network in bare for port in one.ports)}
