"""The records in the run directory, read together, and the lab as it holds now by them."""

import os
from collections.abc import Collection, Mapping

from kvmrun.config.recorded_network import network_from_json
from kvmrun.host.links import tap_device
from kvmrun.host.rundir import record_file, rundir, socket_lookup
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.lab import Lab
from kvmrun.model.network import link_alias
from kvmrun.model.network.network_record import SCHEMA, NetworkRecord
from kvmrun.model.paths import Paths
from kvmrun.model.value import EMPTY
from kvmrun.plan import merge_records
from kvmrun.plan.merge_records import Recorded

_LIMIT = 256 << 10


def running(where: Paths) -> dict[str, Record]:
    """The records of all guests that run, or are being started, whatever lab they are of."""
    found = {}
    for name in rundir.guest_names(where.run):
        record = rundir.read_record(where.guest(name))
        if record is not None and record.name == name and rundir.is_running(where.guest(name)):
            found[name] = record
    return found


def networks(where: Paths) -> dict[str, NetworkRecord]:
    """The records of all networks that are up, whatever lab they are of."""
    try:
        names = sorted(os.listdir(f"{where.run}/net"))
    except OSError:
        return {}
    records = {name: read_network(where.network_record(name)) for name in names}
    return {name: one for name, one in records.items() if one is not None and one.network.name == name}


def read_network(path: str) -> NetworkRecord | None:
    """The record of a network, or None when there is none that makes sense."""
    return record_file.read(path, network_from_json, SCHEMA, _LIMIT)


def write_network(path: str, record: NetworkRecord) -> None:
    """Replace the record at `path` in one move."""
    record_file.write(path, record)


def in_force(
    lab: Lab,
    where: Paths,
    guests: Mapping[str, Record] | None = None,
    *,
    starting: Mapping[str, Record] = EMPTY,
) -> Lab:
    """The lab as it holds now. `guests` are the records of running guests, where the caller has them already, and
    `starting` those of guests that are about to be started, which count as long as they have none.
    """
    recorded = gathered(where, guests)
    attached = {name: _attached(name, recorded) for name in merge_records.changed(lab, recorded)}
    return merge_records.merge(lab, recorded.replace(guests={**starting, **recorded.guests}), attached)


def in_force_as_read(lab: Lab, where: Paths, known: Mapping[str, Record], locked: Collection[str]) -> Lab:
    """The same by records that were read already, of guests whose locks are held or that have lost theirs."""
    resting = [name for name in known if name not in locked]
    unlocked = socket_lookup.find_running_guests(where.run, resting) if resting else {}
    return in_force(lab, where, {name: one for name, one in known.items() if name in locked or name in unlocked})


def gathered(where: Paths, guests: Mapping[str, Record] | None = None) -> Recorded:
    """The records, and which of their labs are gone."""
    guests, up = running(where) if guests is None else guests, networks(where)
    labs = {*(one.lab for one in guests.values()), *(one.lab for one in up.values())} - {"", where.lab}
    return Recorded(guests=guests, networks=up, gone=frozenset(lab for lab in labs if is_gone(lab)))


def is_gone(lab: str) -> bool:
    """Whether a lab's directory is no longer there: it was moved, or removed."""
    try:
        os.stat(lab)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # one that we may not see is somebody's
    return False


def _attached(name: str, recorded: Recorded) -> tuple[str, ...]:
    """Who would notice a change of the network: guests that run on it, and whatever else its bridge has as ports.

    A guest that is being started has no pid yet; it holds the network's lock while it joins.
    """
    running = {guest: one for guest, one in recorded.guests.items() if one.pid}
    guests = {guest for guest, one in running.items() if any(port.network == name for port in one.ports)}
    for port in tap_device.ports(recorded.networks[name].network.bridge):
        kept = tap_device.persistent_tap(port)
        if kept is None or kept.held:
            guests.add(link_alias.subject(tap_device.alias(port)) or port)
    return tuple(sorted(guests))
