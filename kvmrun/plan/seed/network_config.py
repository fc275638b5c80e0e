"""The network of a guest from the guest's side: what each NIC is to be configured with."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network

from kvmrun.model.guest.nic import Port
from kvmrun.model.network.network import Network
from kvmrun.model.value import Value

_METRIC = 100
_RESERVED = {"lo", "all", "default"}
"""Names that Linux uses for something else than a NIC."""


class NicConfig(Value):
    """One NIC: by DHCP, or where its network has none with this address, router and name servers.

    `metric` is that of its default route: the first NIC of the guest is preferred, then the second. `ra` says that the
    network sends router advertisements. `name` is "" where the system is to choose one.
    """

    name: str
    mac: str
    metric: int
    dhcp: bool
    address: str = ""
    router: str = ""
    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    mtu: int = 0
    ra: bool = False


def nic_configs(ports: tuple[Port, ...], networks: Mapping[str, Network]) -> tuple[NicConfig, ...]:
    """The configuration of every NIC of a guest, in their order."""
    return tuple(_nic(port, networks[port.network], _METRIC * (number + 1)) for number, port in enumerate(ports))


def _nic(port: Port, network: Network, metric: int) -> NicConfig:
    name = "" if port.name in _RESERVED else port.name
    nic = NicConfig(name=name, mac=port.mac, metric=metric, dhcp=True)
    if network.external:
        return nic
    nic = nic.replace(ra=network.ipv6 is not None)
    if network.dhcp or port.address is None:
        return nic.replace(dhcp=bool(network.dhcp))
    host = str(network.host_address().ip)
    return nic.replace(
        dhcp=False,
        address=f"{port.address}/{IPv4Network(port.subnet).prefixlen}",
        router=host,
        servers=(host,) if network.dns else (),
        search=(str(network.dns.search or network.domain),) if network.dns else (),
        mtu=network.mtu if network.mtu != 1500 else 0,
    )


def netplan(nics: tuple[NicConfig, ...]) -> dict[str, object]:
    """The configuration in version 2 of cloud-init's format, which is that of netplan."""
    names = (nic.name or f"nic{number}" for number, nic in enumerate(nics))
    return {"version": 2, "ethernets": {name: _ethernet(nic) for name, nic in zip(names, nics, strict=True)}}


def _ethernet(nic: NicConfig) -> dict[str, object]:
    found: dict[str, object] = {"match": {"macaddress": nic.mac}}
    if nic.name:
        found["set-name"] = nic.name
    if nic.dhcp:
        found |= {"dhcp4": True, "dhcp4-overrides": {"route-metric": nic.metric}}
    if nic.address:
        found["addresses"] = [nic.address]
        if nic.metric == _METRIC:
            # Where cloud-init writes for ifupdown it loses the metric of a route, and needs net-tools to add one.
            found["gateway4"] = nic.router
        else:
            # not "default": versions before 23 read an address there
            found["routes"] = [{"to": "0.0.0.0/0", "via": nic.router, "metric": nic.metric}]
    if nic.servers:
        found["nameservers"] = {"addresses": list(nic.servers), "search": list(nic.search)}
    if nic.mtu:
        found["mtu"] = nic.mtu
    if nic.ra:
        found["accept-ra"] = True
    return found


def networkd_file(nic: NicConfig) -> str:
    """The configuration as a .network file of systemd-networkd."""
    return "".join(f"{line}\n" for line in _networkd(nic))


def _networkd(nic: NicConfig) -> Iterator[str]:
    yield from ("[Match]", f"MACAddress={nic.mac}")
    if nic.mtu:
        yield from ("[Link]", f"MTUBytes={nic.mtu}")
    yield "[Network]"
    if nic.dhcp:
        yield "DHCP=ipv4"
    if nic.ra:
        yield "IPv6AcceptRA=yes"
    if nic.address:
        yield f"Address={nic.address}"
    yield from (f"DNS={server}" for server in nic.servers)
    yield from (f"Domains={domain}" for domain in nic.search)
    if nic.address:
        yield from ("[Route]", f"Gateway={nic.router}", f"Metric={nic.metric}")
    if nic.dhcp:
        yield from ("[DHCPv4]", f"RouteMetric={nic.metric}", "UseDomains=yes")
    if nic.ra:
        yield from ("[IPv6AcceptRA]", f"RouteMetric={nic.metric}")


def keyfile(nic: NicConfig, name: str) -> str:
    """The configuration as a profile of NetworkManager called `name`."""
    return "".join(f"{line}\n" for line in _keyfile(nic, name))


def _keyfile(nic: NicConfig, name: str) -> Iterator[str]:
    yield from ("[connection]", f"id={name}", "type=ethernet")
    yield from ("[ethernet]", f"mac-address={nic.mac.upper()}")
    if nic.mtu:
        yield f"mtu={nic.mtu}"
    yield from ("[ipv4]", f"method={'auto' if nic.dhcp else 'manual' if nic.address else 'disabled'}")
    yield f"route-metric={nic.metric}"
    if nic.address:
        yield f"address1={nic.address},{nic.router}"
    if nic.servers:
        yield from (f"dns={';'.join(nic.servers)};", f"dns-search={';'.join(nic.search)};")
    yield from ("[ipv6]", "method=auto", f"route-metric={nic.metric}")
