"""Networks that are neither defined nor recorded, and of which a bridge or a table with the lab's mark is left."""

from kvmrun.host.facts import network_facts
from kvmrun.host.firewall import nfnetlink
from kvmrun.host.links import pyroute2_links, raw_netlink
from kvmrun.model.lab import Lab
from kvmrun.model.network import link_alias
from kvmrun.model.network.network import Network
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import LinkName, NicName
from kvmrun.plan.host_facts import NetworkFacts
from kvmrun.plan.network import nft_guard, nft_network

_PREFIX = nft_network.table_name("")


def find(lab: Lab) -> dict[str, Network]:
    """Those networks by name, each with its bridge; `lab` is as it holds now. Raises KvmrunError."""
    bridges = {
        link_alias.name(one.alias): one.name
        for one in pyroute2_links.marked()
        if one.bridge and one.alias == link_alias.of_bridge(link_alias.name(one.alias), lab.identity)
    }
    try:
        tables = nfnetlink.existing_parts("inet")
    except (OSError, raw_netlink.DumpInterrupted):
        tables = set()
    named = {one.removeprefix(_PREFIX) for one in tables if one.startswith(_PREFIX)}
    left = {*bridges, *(name for name in named if _is_marked(lab, name, nft_network.table_name(name)))}
    known = {*lab.networks, *lab.now.up, *lab.now.networks_elsewhere}
    return {
        name: Network(name=NicName(name), bridge=LinkName(bridges.get(name, "br0")), nat=False, dhcp=None, dns=None)
        for name in sorted(left - known)
        if lab.identity and _is_name(name)
    }


def facts(lab: Lab, network: Network, where: Paths) -> NetworkFacts:
    """What is left of such a network: a table with the lab's mark is its own, although no record tells of it."""
    found = network_facts.network_facts(lab, network, where)
    rules, guard = nft_network.table_name(network.name), nft_guard.kept_table(network.name)
    return found.replace(
        rules=found.rules or ("changed" if _is_marked(lab, network.name, rules) else ""),
        guard=found.guard or ("changed" if _is_marked(lab, network.name, guard) else ""),
    )


def _is_name(text: str) -> bool:
    try:
        return bool(NicName.parse(text))
    except ValueError:
        return False


def _is_marked(lab: Lab, name: str, table: str) -> bool:
    return nfnetlink.comment(table) == link_alias.of_table(name, lab.identity)
