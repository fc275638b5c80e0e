"""The addresses of NICs that have none reserved, as the host or the guest's agent knows them."""

from collections.abc import Mapping

from kvmrun.host.links import neighbours
from kvmrun.model.guest.guest_status import NicStatus, Status


def with_neighbours(rows: list[Status], bridges: Mapping[str, str]) -> list[Status]:
    """The rows, with addresses that the host's neighbours have; looked up only where one is missing.

    `bridges` are those that taps are ports of: what a machine with the same MAC says elsewhere is not the guest's word.
    """
    if not any(row.pid and _missing(row) for row in rows):
        return rows
    known = neighbours.known_addresses()
    return [_with_seen(row, known, bridges) if row.pid else row for row in rows]


def _with_seen(row: Status, known: Mapping[tuple[str, str], str], bridges: Mapping[str, str]) -> Status:
    places = {nic.mac: (bridges.get(nic.tap, ""), nic.mac) for nic in row.nics}
    return with_addresses(row, {mac: known[at] for mac, at in places.items() if at in known}, "neighbour")


def with_agents(row: Status) -> Status:
    """The row, with addresses that the guest's agent reports for its NICs."""
    told = {nic.mac: next(iter(nic.routable()), "") for nic in row.agent or ()}
    return with_addresses(row, told, "agent")


def with_addresses(row: Status, known: Mapping[str, str], source: str) -> Status:
    """The row, with `known` addresses by MAC for those NICs that have none."""
    return (
        row.replace(nics=tuple(_filled(nic, known.get(nic.mac), source) for nic in row.nics)) if _missing(row) else row
    )


def _missing(row: Status) -> bool:
    return any(nic.address is None for nic in row.nics)


def _filled(nic: NicStatus, address: str | None, source: str) -> NicStatus:
    return nic.replace(address=address, address_source=source) if address and nic.address is None else nic
