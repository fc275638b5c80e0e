"""The resolver of the host and the name servers of the networks: who asks whom, and whether that leads anywhere.

systemd-resolved asks the server of a network for its domain, and for nothing else. The servers of the networks ask
those of the host about the rest of the world.
"""

from collections.abc import Collection, Iterable, Iterator

from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.paths import Paths
from kvmrun.plan.network.record_paths import resolution_record
from kvmrun.plan.resolver_facts import LinkSettings, ResolverFacts
from kvmrun.plan.steps.network_steps import RevertHostResolution, SetHostResolution


def wanted_settings(network: Network) -> LinkSettings | None:
    """What systemd-resolved is to be told of the bridge, None where that is not kvmrun's."""
    if network.external or network.dns is None or not network.dns.host_resolution:
        return None
    return LinkSettings(servers=(str(network.host_address().ip),), domains=(f"~{network.domain}",))


def up_steps(network: Network, where: Paths, now: ResolverFacts) -> Iterator[SetHostResolution | RevertHostResolution]:
    """The steps that make names of the network resolve on the host, or take that back where it is switched off."""
    record, wanted = resolution_record(where, network), wanted_settings(network)
    if now.state != "running":
        return
    if wanted is None:
        yield from [RevertHostResolution(link=network.bridge, record=record)] if now.note is not None else []
    elif now.link != wanted:
        yield SetHostResolution(
            link=network.bridge, server=wanted.servers[0], domain=str(network.domain), record=record
        )


def down_steps(network: Network, where: Paths, now: ResolverFacts, link: str) -> Iterator[RevertHostResolution]:
    """The steps before the bridge `link` goes, "" where it has gone."""
    if now.note is not None:
        yield RevertHostResolution(
            link=link if now.state == "running" else "", record=resolution_record(where, network)
        )


def sentence(network: Network, now: ResolverFacts) -> str:
    """What is wrong with the names of a network on this host, and can be put back; "" for nothing."""
    wanted = wanted_settings(network)
    if now.state != "running" or wanted is None or now.link == wanted:
        return ""
    why = f": {now.note}" if now.note else ""
    return f"systemd-resolved does not ask {wanted.servers[0]} for names below {network.domain}{why}"


def problems(lab: Lab, network: Network, now: ResolverFacts) -> Iterator[tuple[str, str]]:
    """What only a person can decide, each with its fix."""
    if wanted_settings(network) is None:
        return
    if now.state == "silent":
        text = f"systemd-resolved does not answer: names below {network.domain} may not resolve on this host"
        yield text, "systemctl status systemd-resolved"
    own = {one.bridge for one in lab.networks.values()}
    if others := [link for link in now.rivals if link not in own]:
        text = f"{' and '.join(others)} {'has' if len(others) == 1 else 'have'} the domain {network.domain}, too"
        yield f"{text}: a name that is known on both may lead to either", f"another domain in network.{network.name}"
    if now.state == "running" and not now.used:
        text = f"programs do not ask systemd-resolved, so names below {network.domain} do not resolve on this host"
        yield text, "apt install libnss-resolve"


def resolver(network: Network, now: ResolverFacts, servers: Collection[str]) -> str | None:
    """By what names of the network resolve on this host, None where they do not. `servers` are those the host asks."""
    if now.state == "running" and now.used and now.link == wanted_settings(network):
        return "systemd-resolved"
    return "/etc/resolv.conf" if str(network.host_address().ip) in servers else None


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
    own = _own_servers(lab)
    upstream = network.dns.upstream if network.dns else ()
    for server in [str(one) for one in upstream] or servers or ("of nobody yet",):
        if server not in own:
            return True
        if (one := own[server]).name not in asked and one.dns and _ends(lab, one, servers, asked):
            return True
    return False


def without_own(lab: Lab, servers: Iterable[str]) -> tuple[str, ...]:
    """The servers that are none of the lab's networks'."""
    own = _own_servers(lab)
    return tuple(one for one in servers if one not in own)


def _own_servers(lab: Lab) -> dict[str, Network]:
    return {address: one for one in lab.networks.values() if one.needs_dnsmasq() for address in _addresses(one)}


def _addresses(network: Network) -> list[str]:
    return [str(network.host_address().ip), *([str(network.ipv6[1])] if network.ipv6 else [])]
