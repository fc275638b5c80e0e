"""Whom the name servers of the networks ask about the rest of the world, and whether that leads anywhere."""

from collections.abc import Iterable

from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network


def upstream_names(resolv: str) -> tuple[str, ...]:
    """The name servers of a file like /etc/resolv.conf."""
    rows = [line.split() for line in resolv.splitlines()]
    return tuple(row[1] for row in rows if len(row) > 1 and row[0] == "nameserver")


def circular_upstreams(lab: Lab, network: Network, servers: Iterable[str]) -> tuple[str, str]:
    """A sentence and its fix, where the name server of `network` has nobody to ask but itself and others of the lab
    that ask it; ("", "") where somebody else is asked in the end. `servers` are those the host asks.

    dnsmasq leaves its own addresses out, and by `dns-loop-detect` those who ask it again: the questions are refused.
    """
    if not (network.needs_dnsmasq() and network.dns) or _ends(lab, network, tuple(servers), frozenset()):
        return "", ""
    where = "its upstream" if network.dns.upstream else "/etc/resolv.conf"
    text = f"{where} names no server but those of this lab: names outside {network.domain} are not known to guests"
    host = network.host_address().ip
    below = f", or name the uplink's servers in /etc/resolv.conf below {host}" if not network.dns.upstream else ""
    return text, f'dns = {{ upstream = ["9.9.9.9"] }} in network.{network.name}{below}'


def _ends(lab: Lab, network: Network, servers: tuple[str, ...], asked: frozenset[str]) -> bool:
    """Whether a question for `network`, passed on from one to the next, comes to a server of somebody else's."""
    asked |= {network.name}
    own = {address: one for one in lab.networks.values() if one.needs_dnsmasq() for address in _addresses(one)}
    upstream = network.dns.upstream if network.dns else ()
    for server in [str(one) for one in upstream] or servers or ("of nobody yet",):
        if server not in own:
            return True
        if (one := own[server]).name not in asked and one.dns and _ends(lab, one, servers, asked):
            return True
    return False


def _addresses(network: Network) -> list[str]:
    return [str(network.host_address().ip), *([str(network.ipv6[1])] if network.ipv6 else [])]
