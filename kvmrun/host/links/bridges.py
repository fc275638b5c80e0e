"""The bridge of a network, whatever it is called now: by its mark, or by what was recorded when it was made."""

from collections.abc import Callable

from kvmrun.host.links import bridge_state, link_list
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.plan.host_facts import Bridge
from kvmrun.plan.network.bridge_plan import is_ours


def read(name: str) -> Bridge | None:
    """The link a network wants as its bridge, None when there is none; the quick way where it can be trusted."""
    try:
        return bridge_state.read_bridge(name)
    except (LookupError, OSError):  # sysfs shows another namespace, or the link goes away as it is read
        from kvmrun.host.links import pyroute2_links

        return pyroute2_links.read_bridge(name)


def find(lab: Lab, network: Network, links: Callable[[], link_list.Links]) -> tuple[Bridge | None, Bridge | None]:
    """The network's bridge, or the link that has its name where there is none; and who has the name of a renamed one.

    `links` are asked for only where the link of that name is not the network's bridge.
    """
    here = read(network.bridge)
    if network.external or is_ours(lab, network, here) or lab.as_up(network).bridge != network.bridge:
        return here, None
    for name in links().bridges():
        if name != network.bridge and (found := read(name)):
            found = found.replace(renamed=name)
            if is_ours(lab, network, found):
                return found, here
    return here, None
