"""The guard of ports as nftables text: what each may send; everything else is dropped where it enters the host.

One chain a port, of accepts that name everything they let through, so that what nobody thought of (tags, other
protocols, spanning tree, malformed headers) needs no rule to be dropped. `meta l4proto != 255` says no more than
that the kernel found a whole and sane IP header: what it cannot read has no protocol.
"""

from collections.abc import Iterator, Mapping

from kvmrun.model import derive
from kvmrun.model.guest.nic import Port
from kvmrun.model.value import Value

_SANE_ARP = "ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 meta length > 27"
_SANE_IP = "meta l4proto != 255"
_PRIORITY = -500
_SERVER = "ip frag-off & 0x3fff == 0 udp sport 67 udp dport 67-68"
"""What a DHCP server sends to clients, and a relay to servers."""
TABLE = "netdev kvmrun"
"""One for all guests: nft spends 0.4 ms on every table there is, whatever it is asked to do."""


class LoadGuard(Value):
    """Guard the ports of one guest. The rules load while QEMU does: the guest stays paused until they are there."""

    part: str
    text: str
    digest: str
    record: str

    def __str__(self) -> str:
        return f"guard its ports: load the packet filter's {self.part}*"


def nft_part(guest: str) -> str:
    """What is the guest's own in the packet filter: those chains of the table; no name of ours has a '_'."""
    return f"{TABLE} from_{guest}_"


def guest_of_part(part: str) -> str:
    """The guest whose chains these are, "" when they are nobody's."""
    words = part.removeprefix(f"{TABLE} ").split("_")
    return words[1] if len(words) == 3 and words[0] == "from" else ""


def kept_table(network: str) -> str:
    """The table of the taps that are kept on a network for users without root."""
    return f"netdev kvmrun_net_{network}"


def chain_name(guest: str, port: Port) -> str:
    """The name of the port's chain, in either table."""
    return f"from_{guest}_{port.name}"


def load_step(guest: str, ports: tuple[Port, ...], record: str) -> LoadGuard | None:
    """The step that guards the ports of one guest, None when none of them has a guard."""
    chains = {chain_name(guest, port): port for port in ports if port.guard != "none"}
    if not chains:
        return None
    rules = guard_text(TABLE, chains)
    return LoadGuard(part=nft_part(guest), text=rules, digest=derive.digest(rules), record=record)


def guard_text(table: str, ports: Mapping[str, Port], comment: str = "") -> str:
    """A chain of the table for each of `ports`, which are named by chain."""
    lines = [f"table {table} {{", *([f'  comment "{comment}"'] if comment else [])]
    for name, port in ports.items():
        lines += [f"  chain {name} {{", f'    type filter hook ingress device "{port.tap}" priority {_PRIORITY};']
        lines += ["    policy drop;", *(f"    {rule}" for rule in guard_rules(port)), "  }"]
    return "".join(f"{line}\n" for line in [*lines, "}"])


def guard_rules(port: Port) -> Iterator[str]:
    """The rules of one port, in order; what passes none of them is dropped."""
    yield f"ether saddr != {port.mac} drop"
    # A bridge hands these groups to the port's own stack, where no rule about the bridge is asked.
    yield "ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 drop"
    yield "ether daddr & ff:00:00:00:00:00 == fe:00:00:00:00:00 drop"  # the host's ends of taps: nobody's to address
    if port.guard == "address":
        yield from _address4(port)
        if port.prefix6:
            yield from _address6(port)
    else:
        yield f"{_SANE_ARP} arp saddr ether {port.mac} accept"
        yield from _mac4(port)
        yield from _mac6(port)


def _mac4(port: Port) -> Iterator[str]:
    """IPv4 of any source, but to the host's MAC only what may be routed; DHCP of its own NIC."""
    if port.subnet and not port.forwarding:
        yield f"ether type ip ether daddr {port.bridge_mac} ip saddr != {port.subnet} drop"
    yield f"ether type ip {_client(port)} accept"
    if "dhcp" in port.serves:
        yield f"ether type ip {_SERVER} accept"
    yield "ether type ip udp dport 67-68 drop"
    yield f"ether type ip {_SANE_IP} accept"


def _mac6(port: Port) -> Iterator[str]:
    if port.prefix6 and not port.forwarding:
        yield f"ether type ip6 ether daddr {port.bridge_mac} ip6 saddr != {{ fe80::/10, {port.prefix6} }} drop"
    yield from _no_router(port)
    yield f"ether type ip6 {_SANE_IP} accept"


def _address4(port: Port) -> Iterator[str]:
    """IPv4 and ARP of the port's own address; DHCP of its own NIC, whole in one packet."""
    arp = f"{_SANE_ARP} arp saddr ether {port.mac} arp saddr ip"
    yield f"{arp} {port.address} arp operation 1-2 accept"
    yield f"{arp} 0.0.0.0 arp operation 1 accept"  # the question whether somebody has the address already
    yield f"ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 {_client(port)} accept"
    yield f"ether type ip ip saddr {port.address} udp sport 68 {_client(port)} accept"
    if "dhcp" in port.serves:
        yield f"ether type ip ip saddr {port.address} {_SERVER} accept"
    yield "ether type ip udp dport 67-68 drop"
    source = "" if port.forwarding else f"ip saddr {port.address} "
    yield f"ether type ip {source}{_SANE_IP} accept"


def _client(port: Port) -> str:
    """A DHCP client's message about its own NIC, whole in one packet: a BOOTP request, Ethernet, its MAC."""
    return f"ip frag-off & 0x3fff == 0 udp dport 67 @th,64,24 0x010106 @th,288,48 0x{port.mac.replace(':', '')}"


def _no_router(port: Port) -> Iterator[str]:
    """No router, and no DHCPv6 server, but the host and those that serve. Fragments could hide one."""
    yield "ether type ip6 ip6 saddr fe80::/10 exthdr frag exists drop"
    link = "ip6 saddr != fe80::/10 " if "ra" in port.serves else ""
    yield f"ether type ip6 {link}icmpv6 type nd-router-advert drop"
    yield "ether type ip6 icmpv6 type nd-redirect drop"
    if "ra" not in port.serves:
        yield "ether type ip6 icmpv6 type nd-neighbor-advert @th,32,8 & 0x80 == 0x80 drop"  # "I am a router"
    if "dhcp" in port.serves:
        yield "ether type ip6 udp sport != 547 udp dport 546 drop"
    else:
        yield "ether type ip6 udp dport 546 drop"


def _address6(port: Port) -> Iterator[str]:
    """IPv6 of the network's prefix and the link: guests make their own addresses, so any there but the host's."""
    for host in port.hosts6:
        yield f"ether type ip6 ip6 saddr {host} drop"
        yield f"ether type ip6 icmpv6 type nd-neighbor-advert @th,64,128 0x{_digits(host)} drop"
    yield from _no_router(port)
    if port.forwarding:
        yield f"ether type ip6 {_SANE_IP} accept"
        return
    yield f"ether type ip6 ip6 saddr fe80::/10 {_SANE_IP} accept"
    yield f"ether type ip6 ip6 saddr {port.prefix6} {_SANE_IP} accept"
    yield "ether type ip6 ip6 saddr :: icmpv6 type nd-neighbor-solicit accept"
    yield "ether type ip6 ip6 saddr :: icmpv6 type mld2-listener-report accept"


def _digits(address: str) -> str:
    from ipaddress import IPv6Address

    return IPv6Address(address).packed.hex()
