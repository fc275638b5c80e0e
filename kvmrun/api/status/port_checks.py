"""What is wrong with the ports of guests and the bridges of networks, as cheaply as a list of a hundred can afford."""

from collections.abc import Mapping
from contextlib import suppress

from kvmrun.errors import KvmrunError
from kvmrun.host.links import bridges, link_list, persistent_taps, raw_netlink
from kvmrun.model.guest.nic import Port
from kvmrun.model.lab import Lab
from kvmrun.model.network import link_alias
from kvmrun.model.network.network import Network
from kvmrun.model.paths import Paths
from kvmrun.plan.host_facts import Link
from kvmrun.plan.network import bridge_plan, port_plan

_STP = 5


def tap_problems(where: Paths, guests: Mapping[str, tuple[Port, ...]]) -> dict[str, str]:
    """What is wrong with the taps of guests that run, by guest; all of them by one look at the links."""
    try:
        links = link_list.port_links() if any(guests.values()) else link_list.Links([])
    except (OSError, raw_netlink.DumpInterrupted):
        return {}
    forwards = {one.bridge: _forwards(links, one.bridge) for mine in guests.values() for one in mine}
    found: dict[str, str] = {}
    for name, mine in guests.items():
        for one in mine:
            tap = links.tap(one.tap, one.alias(name), one.tap_mac())
            want = port_plan.wanted_port(name, one, _owner(where, one, tap))
            text = port_plan.difference_text(
                one.tap, port_plan.port_differences(want, tap, held=True, forwards=forwards[one.bridge])
            )
            if text:
                fix = "kvmrun repair restores it" if tap else f"kvmrun restart {name} creates another"
                found.setdefault(name, f"{text}; {fix}")
    return found


def outlived_taps(where: Paths, guests: Mapping[str, tuple[Port, ...]]) -> dict[str, str]:
    """The taps that are still there of guests that do not run, and that nobody has made persistent, by guest."""
    found = {}
    for name, mine in guests.items():
        with suppress(OSError, raw_netlink.DumpInterrupted):
            links = link_list.port_links()
            for one in mine:
                tap = links.tap(one.tap, one.alias(name), one.tap_mac())
                made = persistent_taps.made(where, one.network)
                if tap and tap.persistent and link_alias.is_same(tap.alias, one.alias(name)) and one.tap not in made:
                    found[name] = f"its tap {tap.name} outlived it; kvmrun repair removes it"
    return found


def bridge_problem(lab: Lab, network: Network) -> str:
    """What is wrong with the bridge of a network that guests use, "" for nothing."""
    try:
        found, _ = bridges.find(lab, network, link_list.port_links)
    except (OSError, KvmrunError, raw_netlink.DumpInterrupted):
        return ""
    return bridge_plan.sentence(lab, network, found)


def _owner(where: Paths, one: Port, tap: Link | None) -> int | None:
    """Whom the tap was made persistent for, None for nobody; without root that is not ours to know."""
    if tap is None or not tap.persistent:
        return None
    return persistent_taps.made(where, one.network).get(one.tap) if where.root else tap.owner


def _forwards(links: link_list.Links, name: str) -> bool:
    found = links.named(name)
    return bool(found and found.up) and not links.bridge(name).get(_STP)
