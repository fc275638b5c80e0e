"""A network: one bridge with its subnet and its host address."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from kvmrun.model.frozen import Frozen
from kvmrun.model.values import LinkName, NicName


class Network(Frozen):
    """One table of `networks.toml`, every default filled in."""

    name: NicName
    bridge: LinkName = LinkName("br0")
    subnet: IPv4Network = IPv4Network("192.168.0.0/24")
    host: IPv4Address | None = None
    external: bool = False
    mtu: int = 1500

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What is wrong across the keys of this network, as (key, found, wanted)."""
        if self.subnet.prefixlen > 29:
            yield "subnet", str(self.subnet), "a subnet of /29 or larger"
        elif self.host and not _usable(self.subnet, self.host):
            yield "host", str(self.host), f"an address inside {self.subnet}"
        if not 576 <= self.mtu <= 65535:
            yield "mtu", str(self.mtu), "576 to 65535"

    def host_address(self) -> IPv4Interface:
        """The bridge's own address with its prefix length; the last usable one unless given."""
        return IPv4Interface((self.host or self.subnet.broadcast_address - 1, self.subnet.prefixlen))

    def can_hold(self, address: IPv4Address) -> bool:
        """Whether a guest may have `address`: in the subnet, and neither its ends nor the host's."""
        return _usable(self.subnet, address) and address != self.host_address().ip

    def candidates(self, start: int) -> Iterator[IPv4Address]:
        """Every address a guest may be given unasked, from the one numbered `start`, once around."""
        first, last = int(self.subnet.network_address) + 1, int(self.subnet.broadcast_address) - 1
        count = last - first + 1
        for step in range(count):
            address = IPv4Address(first + (start + step) % count)
            if self.can_hold(address):
                yield address


def _usable(subnet: IPv4Network, address: IPv4Address) -> bool:
    return address in subnet and address not in {subnet.network_address, subnet.broadcast_address}
