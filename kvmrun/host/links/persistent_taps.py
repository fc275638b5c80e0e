"""The record of the taps that we made persistent on a network, each with its owner: no other is believed to be ours.

Whoever holds a tap's descriptor can make it persistent, and give it to anybody, without privileges.
"""

import json
import os
from collections.abc import Iterable

from kvmrun.host.files import atomic_write, small_files
from kvmrun.host.links import port_settings, tap_device
from kvmrun.model.guest.nic import PersistentTap, Port
from kvmrun.model.network import link_alias
from kvmrun.model.paths import Paths

_LIMIT = 64 << 10


def read(record: str) -> dict[str, int]:
    """The uids of their owners, by tap. What cannot be understood is nobody's."""
    try:
        found = json.loads(small_files.read_bounded(record, _LIMIT) or b"{}")
        return {tap: uid for tap, uid in found.items() if type(uid) is int}
    except (ValueError, RecursionError, AttributeError):
        return {}


def note(record: str, tap: str, owner: int) -> None:
    """Record that the tap is about to be made persistent."""
    _write(record, read(record) | {tap: owner})


def forget(record: str, tap: str) -> None:
    """Record that it is no more; with the last one the record goes."""
    if record:
        _write(record, {name: uid for name, uid in read(record).items() if name != tap})


def made(where: Paths, network: str) -> dict[str, int]:
    """The owners of the taps that were made persistent on a network, by tap.

    0.1.0 kept no such record: those that its guard of persistent taps names are believed with the owner they have.
    """
    record = f"{where.network(network)}/taps"
    if os.path.lexists(record):
        return read(record)
    words = (small_files.read_text(f"{where.network(network)}/guard") or "").split("device ")[1:]
    taps = filter(None, (tap_device.persistent_tap(word.strip('\\"').partition('"')[0].strip("\\")) for word in words))
    return {tap.name: tap.owner for tap in taps}


def kept(where: Paths, ports: Iterable[tuple[str, Port]]) -> dict[str, PersistentTap]:
    """The taps that were made to stay for those ports, each given with its guest. Without root there is no record."""
    found = {
        one.tap: (tap_device.persistent_tap(one.tap), one)
        for guest, one in ports
        if link_alias.is_same(tap_device.alias(one.tap), one.alias(guest))
    }
    ours = {one.network: made(where, one.network) for tap, one in found.values() if tap and where.root}
    return {name: tap for name, (tap, one) in found.items() if tap and (not where.root or name in ours[one.network])}


def drop_leftovers(where: Paths, guest: str, ports: Iterable[Port]) -> None:
    """Remove the taps of a guest that has ended which are there all the same, and which we did not make persistent."""
    for one in ports if where.root else ():
        if (
            tap_device.ifindex(one.tap)
            and link_alias.is_same(tap_device.alias(one.tap), one.alias(guest))
            and one.tap not in made(where, one.network)
        ):
            port_settings.remove_port(one.tap)


def _write(record: str, found: dict[str, int]) -> None:
    if found:
        small_files.replace_atomically(record, json.dumps(found, sort_keys=True).encode())
    else:
        atomic_write.remove(record)
