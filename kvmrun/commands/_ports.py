"""What is wrong with the ports of guests and the bridges of networks, as cheaply as a list of a hundred can afford."""

from kvmrun.errors import KvmrunError
from kvmrun.host import bridges, dump, persistent, ports
from kvmrun.light.abc import Mapping
from kvmrun.light.contextlib import suppress
from kvmrun.model import mark
from kvmrun.model.lab import Lab
from kvmrun.model.network import Network
from kvmrun.model.nic import Port
from kvmrun.model.place import Directories
from kvmrun.plan import bridge, port
from kvmrun.plan.facts import Link

_STP = 5


def problems(where: Directories, guests: Mapping[str, tuple[Port, ...]]) -> dict[str, str]:
    """What is wrong with the taps of guests that run, by guest; all of them by one look at the links."""
    try:
        links = ports.look() if any(guests.values()) else ports.Links([])
    except (OSError, dump.Moved):
        return {}
    forwards = {one.bridge: _forwards(links, one.bridge) for mine in guests.values() for one in mine}
    found: dict[str, str] = {}
    for name, mine in guests.items():
        for one in mine:
            tap = links.tap(one.tap, one.alias(name), one.tap_mac())
            want = port.wanted(name, one, _owner(where, one, tap))
            text = port.sentence(one.tap, port.differences(want, tap, held=True, forwards=forwards[one.bridge]))
            if text:
                fix = "kvmrun repair puts it right" if tap else f"kvmrun restart {name} makes another"
                found.setdefault(name, f"{text}; {fix}")
    return found


def outlived(where: Directories, guests: Mapping[str, tuple[Port, ...]]) -> dict[str, str]:
    """The taps that are still there of guests that do not run, and that nobody has made persistent, by guest."""
    found = {}
    for name, mine in guests.items():
        with suppress(OSError, dump.Moved):
            links = ports.look()
            for one in mine:
                tap = links.tap(one.tap, one.alias(name), one.tap_mac())
                made = persistent.made(where, one.network)
                if tap and tap.persistent and mark.is_same(tap.alias, one.alias(name)) and one.tap not in made:
                    found[name] = f"its tap {tap.name} outlived it; kvmrun repair removes it"
    return found


def of_bridge(lab: Lab, network: Network) -> str:
    """What is wrong with the bridge of a network that guests use, "" for nothing."""
    try:
        found, _ = bridges.find(lab, network, ports.look)
    except (OSError, KvmrunError, dump.Moved):
        return ""
    return bridge.sentence(lab, network, found)


def _owner(where: Directories, one: Port, tap: Link | None) -> int | None:
    """Whom the tap was made persistent for, None for nobody; without root that is not ours to know."""
    if tap is None or not tap.persistent:
        return None
    return persistent.made(where, one.network).get(one.tap) if where.root else tap.owner


def _forwards(links: ports.Links, name: str) -> bool:
    found = links.named(name)
    return bool(found and found.up) and not links.bridge(name).get(_STP)
