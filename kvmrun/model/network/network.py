"""A network: one bridge with its subnet, its addresses and names, and its way out."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Network
from typing import Literal, Self

from kvmrun.model import derive
from kvmrun.model.network.routed_subnet import Behind
from kvmrun.model.network.special_purpose_ranges import is_unroutable, special_meaning6, unusable_reason
from kvmrun.model.scalars import (
    DIGITS,
    LETTERS,
    HostName,
    LinkName,
    Mac,
    NicName,
    PathBase,
    UplinkName,
    consists_of,
    is_host_label,
)
from kvmrun.model.value import EMPTY, Value

_KERNELS_TABLES = {253, 254, 255}
_WILDCARD = "any"
"""The name that a network cannot have, because it means all of them in Shorewall's files."""


class Pool(Value):
    """A range of addresses for machines nobody has reserved one for."""

    first: IPv4Address
    last: IPv4Address

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        first, _, last = raw.partition("-") if isinstance(raw, str) else ("", "", "")
        try:
            pool = cls(first=IPv4Address(first.strip()), last=IPv4Address(last.strip()))
        except ValueError:
            raise ValueError('two addresses, such as "192.168.0.200-192.168.0.219"') from None
        if pool.first > pool.last:
            raise ValueError("the lower address first")
        return pool

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class Lease(str):
    """How long an address is given for, as dnsmasq writes it."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and (raw == "infinite" or (_is_number(raw[:-1], 6) and raw[-1] in "mhd")):
            return cls(raw)
        raise ValueError('a time such as "30m", "24h", "7d", or "infinite"')


class Upstream(tuple[IPv4Address, ...]):
    """The name servers asked about everything else; none given means whatever the host itself asks."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if raw == "host":
            return cls()
        try:
            if isinstance(raw, list) and raw:
                return cls(IPv4Address(one if isinstance(one, str) else "") for one in raw)
        except ValueError:
            pass
        raise ValueError('"host", or a list of addresses such as ["9.9.9.9"]')


class Domain(str):
    """A domain name of lower-case labels."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and len(raw) <= 200 and all(is_host_label(label, 63) for label in raw.split(".")):
            return cls(raw)
        raise ValueError('a domain such as "lan" or "lab.example"')


class Forward(Value):
    """A port of the host that leads to a port of a guest."""

    protocol: str
    port: int
    guest: str
    to: int

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        pattern = r"(tcp|udp) +([0-9]{1,5}) *-> *([a-z0-9-]{1,32}):([0-9]{1,5})"
        found = re.fullmatch(pattern, raw) if isinstance(raw, str) else None
        if found and all(0 < int(found[group]) < 65536 for group in (2, 4)):
            return cls(protocol=found[1], port=int(found[2]), guest=found[3], to=int(found[4]))
        raise ValueError('a line such as "tcp 8080 -> ursa-vm1:80"')

    def __str__(self) -> str:
        return f"{self.protocol} {self.port} -> {self.guest}:{self.to}"


class OptionValue(str):
    """What a DHCP option says, as dnsmasq writes it: nothing, one value or several with commas between."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        if isinstance(raw, str) and (not raw or consists_of(raw, LETTERS | frozenset("_.:/+=,-"), 200)):
            return cls(raw)
        raise ValueError('text such as "0", "10.0.0.1,10.0.0.2" or ""')


class Dhcp(Value):
    """The addresses dnsmasq gives out. `options` are DHCP option numbers to their values."""

    pool: Pool | None = None
    lease: Lease = Lease("24h")
    options: Mapping[str, OptionValue] = EMPTY

    def problems(self) -> Iterator[tuple[str, str, str]]:
        for number in self.options:
            if not (_is_number(number, 3) and int(number) < 255):
                yield "options", number, "the number of a DHCP option, 1 to 254"


class Dns(Value):
    """The names dnsmasq answers. With `hosts` those of the host's own /etc/hosts, too.

    With `host_resolution` the resolver of the host asks it for the names of the network.
    """

    upstream: Upstream = Upstream()
    search: Domain | None = None
    hosts: bool = False
    host_resolution: bool = True


class Uplink(Value):
    """A way out of the host."""

    name: UplinkName
    interface: LinkName
    gateway: IPv4Address | None = None
    table: int | None = None
    gateway_mac: Mac | None = None
    probe: IPv4Address | None = None

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What is wrong across the keys of this uplink, as (key, found, wanted)."""
        if self.table is not None and (self.table in _KERNELS_TABLES or not 0 < self.table < 1 << 31):
            yield "table", str(self.table), "the number of a routing table other than the kernel's (253 to 255)"
        if self.gateway and (is_unroutable(self.gateway) or str(self.gateway).startswith("127.")):
            yield "gateway", str(self.gateway), "the address of a router on that link"
        if self.gateway_mac and not self.gateway:
            yield "gateway_mac", self.gateway_mac, "gateway = … as well"

    def leads(self, link: str, gateway: str) -> bool:
        """Whether a route by that link and gateway is this way out."""
        return link == self.interface and (self.gateway is None or str(self.gateway) == gateway)

    def number(self) -> int:
        """The uplink's routing table: as given, else one by its name that nobody is likely to use."""
        return self.table or derive.routing_table_id(self.name)


class Network(Value):
    """One table of `networks.toml`, every default filled in."""

    name: NicName
    bridge: LinkName = LinkName("br0")
    subnet: IPv4Network = IPv4Network("192.168.0.0/24")
    host: IPv4Address | None = None
    domain: Domain = Domain("lan")
    dhcp: Dhcp | None = Dhcp()
    dns: Dns | None = Dns()
    nat: tuple[UplinkName, ...] | bool = True
    uplink: UplinkName | None = None
    policy: Literal["private", "open"] = "private"
    guard: Literal["none", "mac", "address"] = "mac"
    isolate: bool = False
    external: bool = False
    mtu: int = 1500
    ipv6: IPv6Network | None = None
    ipv6_egress: Literal["none", "nat", "routed"] = "none"
    forward: tuple[Forward, ...] = ()
    routes: tuple[Behind, ...] = ()
    names: Mapping[str, IPv4Address] = EMPTY

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What is wrong across the keys of this network, as (key, found, wanted)."""
        if wanted := unusable_reason(self.subnet):
            yield "subnet", str(self.subnet), wanted
            return
        if self.host and not _usable(self.subnet, self.host):
            yield "host", str(self.host), f"an address inside {self.subnet}"
        if not 1280 <= self.mtu <= 65521:
            yield "mtu", str(self.mtu), "1280 to 65521"
        if self.ipv6 and self.ipv6.prefixlen != 64:
            yield "ipv6", str(self.ipv6), "a /64: guests make their own addresses in it"
        elif self.ipv6 and (meaning := special_meaning6(self.ipv6)):
            yield "ipv6", str(self.ipv6), f'a prefix such as "fd00:77::/64": that one is for {meaning}'
        if self.ipv6_egress != "none" and not self.ipv6:
            yield "ipv6_egress", self.ipv6_egress, "a prefix in ipv6 as well"
        yield from self._unanswered()
        for one in self.routes:
            if one.subnet.overlaps(self.subnet):
                yield "routes", str(one), f"a subnet other than {self.subnet}"
        if self.nat == ():
            yield "nat", "an empty list", "names of uplinks, true or false"
        if self.dhcp:
            pool = self.pool()
            if not (_usable(self.subnet, pool.first) and _usable(self.subnet, pool.last)):
                yield "dhcp.pool", str(pool), f"addresses inside {self.subnet}"
            elif self.host_address().ip in pool:
                yield "dhcp.pool", str(pool), f"a pool without the host's own address {self.host_address().ip}"
            for key, found, wanted in self.dhcp.problems():
                yield f"dhcp.{key}", found, wanted

    def _unanswered(self) -> Iterator[tuple[str, str, str]]:
        """Names and name servers that cannot be answered or asked."""
        if self.name == _WILDCARD:
            yield "name", self.name, "another name: in Shorewall's files this one means every network"
        if self.dns and self.host_address().ip in self.dns.upstream:
            yield "dns.upstream", str(self.host_address().ip), "another server: this one is the network's own"
        for server in self.dns.upstream if self.dns else ():
            if is_unroutable(server):
                yield "dns.upstream", str(server), "the address of a server"
        for name in self.names:
            try:
                HostName.parse(name)
            except ValueError as wanted:
                yield f"names.{name}", name, str(wanted)
        if self.names and not self.dns:
            yield "names", ", ".join(self.names), "none: dns = false, so nobody answers"

    def sources(self) -> tuple[str, ...]:
        """The subnets whose packets come from this network: its own and those behind its routers."""
        return (str(self.subnet), *dict.fromkeys(str(one.subnet) for one in self.routes))

    def host_address(self) -> IPv4Interface:
        """The bridge's own address with its prefix length; the last usable one unless given."""
        return IPv4Interface((self.host or self.subnet.broadcast_address - 1, self.subnet.prefixlen))

    def host_address6(self) -> str | None:
        """The bridge's own IPv6 address with its prefix length, the first of the prefix; None without IPv6."""
        return f"{self.ipv6[1]}/64" if self.ipv6 else None

    def has_ipv6_egress(self) -> bool:
        """Whether the host forwards IPv6 for the network; without that, no default route is advertised."""
        return not self.external and self.ipv6 is not None and self.ipv6_egress != "none"

    def pool(self) -> Pool:
        """The dynamic pool: as given, else from 200/256 to 219/256 of the subnet, .200 to .219 of a /24."""
        if self.dhcp and self.dhcp.pool:
            return self.dhcp.pool
        first, size = self.subnet.network_address, self.subnet.num_addresses
        return Pool(first=first + size * 200 // 256, last=first + size * 219 // 256)

    def needs_dnsmasq(self) -> bool:
        return not self.external and bool(self.dhcp or self.dns or self.ipv6)

    def can_hold(self, address: IPv4Address) -> bool:
        """Whether a guest may have `address`: in the subnet, and neither its ends, the host's nor the pool's."""
        taken = address == self.host_address().ip or (self.dhcp is not None and address in self.pool())
        return _usable(self.subnet, address) and not taken

    def candidates(self, start: int) -> Iterator[IPv4Address]:
        """Every address a guest may be given unasked, from the one numbered `start`, once around."""
        first, last = int(self.subnet.network_address) + 1, int(self.subnet.broadcast_address) - 1
        count, pool, host = last - first + 1, self.pool(), int(self.host_address().ip)
        pooled = range(int(pool.first), int(pool.last) + 1) if self.dhcp else range(0)
        for step in range(count):
            number = first + (start + step) % count
            if number != host and number not in pooled:  # what can_hold says, quicker: a list of 100 asks 700 times
                yield IPv4Address(number)


def _usable(subnet: IPv4Network, address: IPv4Address) -> bool:
    return address in subnet and address not in {subnet.network_address, subnet.broadcast_address}


def _is_number(text: str, most: int) -> bool:
    """Whether `text` is a number of at most so many digits, above 0 and not begun with one."""
    return consists_of(text, DIGITS, most) and text[0] != "0"
