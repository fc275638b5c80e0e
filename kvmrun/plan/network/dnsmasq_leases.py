"""The leases of dnsmasq: the lines of its file, and those that are in the way of a reservation."""

from collections.abc import Iterable, Iterator

from kvmrun.model.network.network import Network
from kvmrun.model.value import Value
from kvmrun.plan.network.dnsmasq_config import Ports, reserved_names


class Lease(Value):
    """A line of dnsmasq's lease file: when it ends (Unix time, 0 for never), and who has what. `name` may be "*"."""

    expires: int
    mac: str
    address: str
    name: str


def parse_leases(text: str) -> Iterator[Lease]:
    """The leases in dnsmasq's file, of IPv4 and IPv6; lines that are something else are left out."""
    for fields in map(str.split, text.splitlines()):
        if len(fields) == 5 and fields[0].isdecimal():
            yield Lease(expires=int(fields[0]), mac=fields[1], address=fields[2], name=fields[3])


def taken_leases(network: Network, ports: Ports, leases: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Those of the leases, as (address, MAC), whose address is reserved for another NIC.

    dnsmasq gives a reserved address away only once no other MAC holds a lease of it.
    """
    reserved = {address: mac for _, address, mac in reserved_names(network, ports)}
    return tuple((address, mac) for address, mac in leases if reserved.get(address, mac) != mac)
