"""What dnsmasq is told about one network: its configuration, who has which address, who has which name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address

from kvmrun.model.guest.nic import Port
from kvmrun.model.network.network import Network
from kvmrun.model.scalars import is_host_label
from kvmrun.model.value import Value

Ports = Mapping[str, Sequence[Port]]


class DnsmasqPaths(Value):
    """Where dnsmasq finds what, all of it ours."""

    config: str
    hosts: str
    reservations: str
    leases: str


def dnsmasq_paths(state: str, network: str) -> DnsmasqPaths:
    here = f"{state}/net/{network}"
    return DnsmasqPaths(
        config=f"{here}/config",
        hosts=f"{here}/hosts",
        reservations=f"{here}/reservations",
        leases=f"{here}/leases",
    )


def files_at(config: str) -> DnsmasqPaths:
    """The same, from where the configuration is."""
    here = config.rpartition("/")[0]
    return DnsmasqPaths(
        config=config, hosts=f"{here}/hosts", reservations=f"{here}/reservations", leases=f"{here}/leases"
    )


def config_text(network: Network, at: DnsmasqPaths, resolv: str) -> str:
    """The whole configuration. `resolv` is the file that names the host's current name servers, "" for none."""
    return "".join(f"{line}\n" for line in _config(network, at, resolv))


def _config(network: Network, at: DnsmasqPaths, resolv: str) -> Iterator[str]:
    yield f"# network {network.name}, written by kvmrun: edit networks.toml instead"
    yield from ("keep-in-foreground", "pid-file", "log-facility=-", "no-hosts", "bind-dynamic")
    yield from (f"interface={network.bridge}", "except-interface=lo")
    yield from _dns(network, at, resolv)
    if network.dhcp or network.ipv6:  # with IPv6 alone it keeps a list of leases, too
        yield f"dhcp-leasefile={at.leases}"
    if network.dhcp:
        yield from _dhcp(network, at)
    if network.ipv6:
        yield from ("enable-ra", "quiet-ra", "quiet-dhcp6")
        if not network.has_ipv6_egress():
            yield f"ra-param={network.bridge},0,0"  # a lifetime of 0: the host is no router to the rest of the world
        yield f"dhcp-range={network.ipv6.network_address},ra-stateless,ra-names,64,{_lease(network)}"


def _dns(network: Network, at: DnsmasqPaths, resolv: str) -> Iterator[str]:
    if not network.dns:
        yield "port=0"
        return
    yield from (f"domain={network.domain}", f"local=/{network.domain}/", "expand-hosts")
    # a name below .local is another machine's by multicast DNS (RFC 6762); no server outside knows it
    yield from ("local=/local/", "domain-needed", f"addn-hosts={at.hosts}")
    yield "dns-loop-detect"  # two networks may have been told to ask each other
    if network.dns.upstream:
        yield "no-resolv"
        yield from (f"server={server}" for server in network.dns.upstream)
    else:
        yield f"resolv-file={resolv}" if resolv else "no-resolv"


def _dhcp(network: Network, at: DnsmasqPaths) -> Iterator[str]:
    assert network.dhcp is not None
    pool, own = network.pool(), network.host_address()
    # the only server on this bridge: clients from elsewhere are told at once, and nobody waits for a ping
    yield from ("dhcp-authoritative", "no-ping", "quiet-dhcp")
    # cloned guests share their client id and their name: neither tells them apart
    yield from ("dhcp-ignore-clid", "dhcp-ignore-names=tag:!known")
    yield f"dhcp-range={pool.first},{pool.last},{own.netmask},{network.dhcp.lease}"
    yield f"dhcp-hostsfile={at.reservations}"
    yield f"dhcp-option=option:router,{own.ip}"
    if network.dns:
        yield f"dhcp-option=option:dns-server,{own.ip}"
        yield f"dhcp-option=option:domain-search,{network.dns.search or network.domain}"
    if network.mtu != 1500:
        yield f"dhcp-option=option:mtu,{network.mtu}"
    yield from (f"dhcp-option={number},{value}".rstrip(",") for number, value in sorted(network.dhcp.options.items()))


def _lease(network: Network) -> str:
    return network.dhcp.lease if network.dhcp else "24h"


def hosts_text(network: Network, ports: Ports, hostname: str, hosts_file: str = "") -> str:
    """Names for dnsmasq, in the form of /etc/hosts: the host by its bridge address, each guest by each of its own.

    Then the names that the network gives to others, and what `hosts_file`, the host's own, says of other machines.
    """
    lines = [f"{network.host_address().ip} {hostname}"]
    if network.ipv6:
        lines.append(f"{network.ipv6[1]} {hostname}")
    lines += [f"{address} {name}" for name, address, _ in reserved_names(network, ports)]
    lines += [f"{address} {name}" for name, address in sorted(network.names.items())]
    known = {line.split()[1] for line in lines}
    lines += _of_others(hosts_file, known)
    return "".join(f"{line}\n" for line in lines)


def _of_others(hosts_file: str, known: set[str]) -> Iterator[str]:
    """The lines of a hosts file about other machines: neither loopback addresses nor names that we answer ourselves."""
    for line in hosts_file.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        with suppress(ValueError):
            if f"{IPv4Address(address)}".startswith("127."):
                continue
            if fit := [name for name in names if name.lower() not in known and _is_name(name.lower())]:
                yield f"{address} {' '.join(fit)}"


def _is_name(word: str) -> bool:
    return len(word) <= 200 and all(is_host_label(label, 63) for label in word.split("."))


def dhcp_hosts_text(network: Network, ports: Ports) -> str:
    """One line a NIC: its address and name by its MAC, whatever client id it sends."""
    lease = network.dhcp.lease if network.dhcp else "24h"
    return "".join(f"{mac},id:*,{address},{name},{lease}\n" for name, address, mac in reserved_names(network, ports))


def reserved_names(network: Network, ports: Ports) -> Iterator[tuple[str, str, str]]:
    """(name, address, MAC) of every NIC on the network; a guest's second one there is called GUEST-NIC."""
    for guest in sorted(ports):
        here = [port for port in ports[guest] if port.network == network.name and port.address]
        for number, port in enumerate(here):
            yield guest if number == 0 else f"{guest}-{port.name}", port.address or "", port.mac
