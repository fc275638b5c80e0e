"""Ethernet frames of a guest on a bridge: honest ones, and those by which it would pass for somebody else."""

import struct
from ipaddress import IPv6Address

OWN, OWN_IP = "52:54:00:00:00:01", "192.168.0.1"
VICTIM, VICTIM_IP = "52:54:00:00:00:02", "192.168.0.2"
BRIDGE, GATEWAY_IP = "52:54:00:00:00:fe", "192.168.0.254"
OWN_TAP, VICTIM_TAP = "fe:54:00:00:00:01", "fe:54:00:00:00:02"
BROADCAST, NULL_IP = "ff:ff:ff:ff:ff:ff", "0.0.0.0"
PREFIX, HOST6 = "fd00:77::/64", "fd00:77::1"
OWN6, VICTIM6, OWN_LINK6, BRIDGE_LINK6 = "fd00:77::a", "fd00:77::b", "fe80::5054:ff:fe00:1", "fe80::5054:ff:fe00:fe"
ALL6, ALL_MAC6 = "ff02::1", "33:33:00:00:00:01"
_IP, _ARP, _RARP, _VLAN, _IP6 = 0x0800, 0x0806, 0x8035, 0x8100, 0x86DD


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ip(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def ether(kind: int, payload: bytes, source: str = OWN, target: str = BROADCAST) -> bytes:
    return mac(target) + mac(source) + struct.pack("!H", kind) + payload


def arp(operation: int, hardware: str, sender: str, target: str, *, short: int = 0) -> bytes:
    body = struct.pack("!HHBBH", 1, _IP, 6, 4, operation) + mac(hardware) + ip(sender) + bytes(6) + ip(target)
    return body[: len(body) - short]


def ip4(source: str, target: str, payload: bytes, protocol: int = 1, *, fragment: int = 0, length: int = 0) -> bytes:
    size = length or 20 + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 7, fragment, 64, protocol, 0) + ip(source) + ip(target)
    return head[:10] + struct.pack("!H", sum16(head)) + head[12:] + payload


def udp(source: int, target: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload


def dhcp(
    client: str, operation: int = 1, *, number: int = 9, wanted: str = "", kind: int = 0, card: tuple[int, int] = (1, 6)
) -> bytes:
    """A BOOTP message of `client`, long enough for any server: the question for an address, or for the one `wanted`.

    `kind` is the DHCP message type, where it is another; `card` the type of the client's address and its length.
    """
    head = struct.pack("!BBBBIHH4s4s4s4s", operation, *card, 0, number, 0, 0, *[bytes(4)] * 4)
    options = bytes([0x35, 1, kind or (3 if wanted else 1)]) + (b"\x32\x04" + ip(wanted) if wanted else b"")
    return head + mac(client) + bytes(10 + 64 + 128) + b"\x63\x82\x53\x63" + options + b"\xff"


def ask(
    source: str, client: str, target: str = "255.255.255.255", *, fragment: int = 0, number: int = 9, wanted: str = ""
) -> bytes:
    """A DHCP client's message from `source` for the card `client`."""
    message = dhcp(client, number=number, wanted=wanted)
    return ether(_IP, ip4(source, target, udp(68, 67, message), 17, fragment=fragment))


def ip6(source: str, target: str, payload: bytes, kind: int = 58) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(payload), kind, 255)
    return head + IPv6Address(source).packed + IPv6Address(target).packed + payload


def icmp6(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBH", kind, 0, 0) + body


def advert(source: str) -> bytes:
    """A router's advertisement."""
    return ip6(source, ALL6, icmp6(134, struct.pack("!BBHII", 64, 0, 1800, 0, 0)))


def neighbour(source: str, target: str, flags: int = 0x20) -> bytes:
    """A neighbour's advertisement that `target` is here."""
    option = b"\x02\x01" + mac(OWN)
    return ip6(source, ALL6, icmp6(136, bytes([flags, 0, 0, 0]) + IPv6Address(target).packed + option))


def tagged(number: int, kind: int, payload: bytes) -> bytes:
    return ether(_VLAN, struct.pack("!HH", number, kind) + payload)


def llc(payload: bytes, target: str) -> bytes:
    return mac(target) + mac(OWN) + struct.pack("!H", len(payload)) + payload


def sum16(head: bytes) -> int:
    """The checksum of IP and what is above it, over an even number of bytes."""
    total = sum(struct.unpack(f"!{len(head) // 2}H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


_PING = b"\x08\0\xf7\xff\0\0\0\0"
_OWN_PING = ip4(OWN_IP, GATEWAY_IP, _PING)
_FORGED = ip4(VICTIM_IP, GATEWAY_IP, _PING)

HONEST = {
    "ARP request": ether(_ARP, arp(1, OWN, OWN_IP, GATEWAY_IP)),
    "ARP probe with null sender": ether(_ARP, arp(1, OWN, NULL_IP, OWN_IP)),
    "IPv4 from its own address": ether(_IP, _OWN_PING),
    "DHCP discover": ask(NULL_IP, OWN),
    "DHCP renew": ask(OWN_IP, OWN, GATEWAY_IP),
}
HOSTILE = {
    "source MAC of the victim": ether(_IP, _OWN_PING, VICTIM),
    "source MAC of the bridge": ether(_IP, _OWN_PING, BRIDGE),
    "source MAC multicast": ether(_IP, _OWN_PING, "01:00:5e:00:00:01"),
    "ARP reply as the gateway": ether(_ARP, arp(2, OWN, GATEWAY_IP, VICTIM_IP)),
    "ARP with the victim's hardware address": ether(_ARP, arp(1, VICTIM, OWN_IP, GATEWAY_IP)),
    "gratuitous ARP for the victim": ether(_ARP, arp(1, OWN, VICTIM_IP, VICTIM_IP)),
    "runt ARP": ether(_ARP, arp(1, OWN, OWN_IP, GATEWAY_IP, short=8)),
    "RARP": ether(_RARP, arp(3, OWN, OWN_IP, GATEWAY_IP)),
    "IPv4 from the victim": ether(_IP, _FORGED),
    "IPv4 from the gateway": ether(_IP, ip4(GATEWAY_IP, VICTIM_IP, _PING)),
    "IPv4 from null": ether(_IP, ip4(NULL_IP, VICTIM_IP, _PING)),
    "IPv4 from loopback": ether(_IP, ip4("127.0.0.1", VICTIM_IP, _PING)),
    "DHCP server": ether(_IP, ip4(OWN_IP, "255.255.255.255", udp(67, 68, dhcp(VICTIM, 2)), 17)),
    "DHCP discover for another card": ask(NULL_IP, VICTIM),
    "DHCP renew for another card": ask(OWN_IP, VICTIM, GATEWAY_IP),
    "first fragment from null": ask(NULL_IP, OWN, fragment=0x2000),
    "IPv6 router advertisement": ether(_IP6, advert(OWN_LINK6), target=ALL_MAC6),
    "IPv6 neighbour advertisement": ether(_IP6, neighbour(OWN_LINK6, BRIDGE_LINK6, 0xA0), target=ALL_MAC6),
    "VLAN-tagged IPv4": tagged(5, _IP, _OWN_PING),
    "VLAN 0 with forged IPv4": tagged(0, _IP, _FORGED),
    "VLAN 0 with forged ARP": tagged(0, _ARP, arp(2, OWN, GATEWAY_IP, VICTIM_IP)),
    "VLAN 0 with router advertisement": tagged(0, _IP6, advert(OWN_LINK6)),
    "double tag": tagged(5, _VLAN, struct.pack("!HH", 6, _IP) + _OWN_PING),
    "BPDU": llc(b"\x42\x42\x03" + bytes(35), "01:80:c2:00:00:00"),
    "LLDP": ether(0x88CC, b"\x02\x07\x04" + mac(OWN) + bytes(20), target="01:80:c2:00:00:0e"),
    "EAPOL": ether(0x888E, b"\x01\x01\0\0" + bytes(30), target="01:80:c2:00:00:03"),
    "LLC/SNAP IPv4": llc(b"\xaa\xaa\x03\0\0\0\x08\0" + _OWN_PING, BROADCAST),
    "MPLS": ether(0x8847, b"\0\1\x01\x40" + _OWN_PING),
    "PPPoE": ether(0x8863, b"\x11\x09\0\0\0\0" + bytes(30)),
}
MORE_HOSTILE = {
    "DHCP renew for another card in two fragments": ask(OWN_IP, VICTIM, GATEWAY_IP, fragment=0x2000),
    "DHCP server with a bad length": ether(
        _IP, ip4(OWN_IP, "255.255.255.255", udp(67, 68, dhcp(VICTIM, 2)), 17, length=2000)
    ),
    "DHCP server behind an odd port": ether(_IP, ip4(OWN_IP, "255.255.255.255", udp(4000, 68, dhcp(VICTIM, 2)), 17)),
    "ARP null sender reply": ether(_ARP, arp(2, OWN, NULL_IP, VICTIM_IP)),
    "ARP probe for another card": ether(_ARP, arp(1, VICTIM, NULL_IP, OWN_IP)),
    "ARP of its own from the victim's MAC": ether(_ARP, arp(1, OWN, OWN_IP, GATEWAY_IP), VICTIM),
    "ARP probe of its own from the victim's MAC": ether(_ARP, arp(1, OWN, NULL_IP, OWN_IP), VICTIM),
    "DHCP discover of its own from the victim's MAC": mac(BROADCAST) + mac(VICTIM) + ask(NULL_IP, OWN)[12:],
    "DHCP renew of its own from the victim's MAC": mac(BROADCAST) + mac(VICTIM) + ask(OWN_IP, OWN, GATEWAY_IP)[12:],
}
HONEST6 = {
    "echo from its own address": ether(_IP6, ip6(OWN6, VICTIM6, icmp6(128, bytes(8)))),
    "echo on the link": ether(_IP6, ip6(OWN_LINK6, BRIDGE_LINK6, icmp6(128, bytes(8)))),
    "whether an address is taken": ether(
        _IP6, ip6("::", ALL6, icmp6(135, bytes(4) + IPv6Address(OWN6).packed)), target=ALL_MAC6
    ),
    "neighbour solicitation": ether(_IP6, ip6(OWN6, ALL6, icmp6(135, bytes(4) + IPv6Address(HOST6).packed))),
    "neighbour advertisement": ether(_IP6, neighbour(OWN6, OWN6, 0x60), target=ALL_MAC6),
    "router solicitation": ether(_IP6, ip6(OWN_LINK6, ALL6, icmp6(133, bytes(4))), target=ALL_MAC6),
    "listener report": ether(_IP6, ip6("::", "ff02::16", icmp6(143, bytes(4))), target=ALL_MAC6),
    "DHCPv6 client": ether(_IP6, ip6(OWN_LINK6, "ff02::1:2", udp(546, 547, bytes(20)), 17)),
    "a large packet's fragment": ether(_IP6, ip6(OWN6, VICTIM6, b"\x11\0\0\x01\0\0\0\7" + udp(99, 99, bytes(64)), 44)),
}
HOSTILE6 = {
    "router advertisement": HOSTILE["IPv6 router advertisement"],
    "router advertisement behind options": ether(
        _IP6, ip6(OWN_LINK6, ALL6, b"\x3a\0\x01\x04\0\0\0\0" + icmp6(134, bytes(12)), 60)
    ),
    "router advertisement in a fragment": ether(
        _IP6, ip6(OWN_LINK6, ALL6, b"\x3c\0\0\x01\0\0\0\7\x3a\0\x01\x04\0\0\0\0", 44)
    ),
    "router advertisement in a fragment that is all": ether(
        _IP6, ip6(OWN_LINK6, ALL6, b"\x3a\0\0\0\0\0\0\7" + icmp6(134, bytes(12)), 44)
    ),
    "router advertisement as the host": ether(_IP6, advert(BRIDGE_LINK6), target=ALL_MAC6),
    "router advertisement from off the link": ether(_IP6, advert(OWN6), target=ALL_MAC6),
    "redirect": ether(_IP6, ip6(OWN_LINK6, ALL6, icmp6(137, bytes(36)))),
    "neighbour that is a router": ether(_IP6, neighbour(OWN6, OWN6, 0xA0)),
    "DHCPv6 server": ether(_IP6, ip6(OWN_LINK6, ALL6, udp(547, 546, bytes(20)), 17)),
    "DHCPv6 server behind an odd port": ether(_IP6, ip6(OWN_LINK6, ALL6, udp(4000, 546, bytes(20)), 17)),
    "DHCPv6 server of the prefix": ether(_IP6, ip6(OWN6, ALL6, udp(4000, 546, bytes(20)), 17)),
    **{f"{name}, from the victim's MAC": frame[:6] + mac(VICTIM) + frame[12:] for name, frame in HONEST6.items()},
}
ADDRESS_HOSTILE6 = {
    "echo from elsewhere": ether(_IP6, ip6("fd00:99::a", VICTIM6, icmp6(128, bytes(8)))),
    "echo as the host": ether(_IP6, ip6(HOST6, VICTIM6, icmp6(128, bytes(8)))),
    "echo as the host on the link": ether(_IP6, ip6(BRIDGE_LINK6, VICTIM6, icmp6(128, bytes(8)))),
    "neighbour as the host": ether(_IP6, neighbour(OWN6, HOST6)),
    "neighbour as the host on the link": ether(_IP6, neighbour(OWN6, BRIDGE_LINK6)),
    "neighbour as the host, from the link": ether(_IP6, neighbour(OWN_LINK6, HOST6)),
    "neighbour as the host on the link, from there": ether(_IP6, neighbour(OWN_LINK6, BRIDGE_LINK6)),
    "echo from nowhere": ether(_IP6, ip6("::", VICTIM6, icmp6(128, bytes(8)))),
}
DESTINATIONS = {
    **{f"link-local group {number:x}": f"01:80:c2:00:00:{number:02x}" for number in range(16)},
    "its own tap": OWN_TAP,
    "the victim's tap": VICTIM_TAP,
}
"""Where no guest has anything to send: a bridge hands that to the port's own stack, or up as its own."""
MISDIRECTED = {
    f"{name} to {where}": mac(target) + frame[6:]
    for name, frame in (HONEST | HONEST6).items()
    for where, target in DESTINATIONS.items()
}
_ROUTED = {
    "the world": "8.8.8.8", "a host of another network": "10.1.1.7", "loopback": "127.0.0.1", "nowhere": NULL_IP,
    "the network after": "192.168.1.1",
}  # fmt: skip
ROUTED = {
    **{
        f"IPv4 from {name} by way of the host": ether(_IP, ip4(source, "203.0.113.9", _PING), target=BRIDGE)
        for name, source in _ROUTED.items()
    },
    "DHCP from the world to the host": mac(BRIDGE) + ask("8.8.8.8", OWN, GATEWAY_IP)[6:],
    "DHCP server from the world to the host": ether(
        _IP, ip4("8.8.8.8", GATEWAY_IP, udp(67, 68, dhcp(VICTIM, 2)), 17), target=BRIDGE
    ),
}
"""What a host would forward for a source that is not of its guests' network."""
ROUTED6 = {
    f"IPv6 from {name} by way of the host": ether(_IP6, ip6(source, "2001:db8::9", icmp6(128, bytes(8))), target=BRIDGE)
    for name, source in {"the world": "2001:db8::8", "another network": "fd00:99::a", "nowhere": "::"}.items()
}
CARDS = {
    "its own": (OWN, (1, 6)), "the victim's": (VICTIM, (1, 6)), "its own, as a token ring's": (OWN, (6, 6)),
    "its own, too short": (OWN, (1, 5)), "its own, too long": (OWN, (1, 16)), "none": ("00:00:00:00:00:00", (1, 6)),
}  # fmt: skip
DHCP = {
    (name, f"DHCP message {kind} from {source} to {target}"): ether(
        _IP, ip4(source, target, udp(68, 67, dhcp(client, kind=kind, card=card)), 17)
    )
    for name, (client, card) in CARDS.items()
    for kind in range(1, 9)
    for source, target in ((NULL_IP, "255.255.255.255"), (OWN_IP, GATEWAY_IP), (OWN_IP, "255.255.255.255"))
}
"""Every DHCP message of a client, by whose card it names and what it is."""
SERVING = {
    "DHCP server": HOSTILE["DHCP server"],
    "DHCP relay": ether(_IP, ip4(OWN_IP, GATEWAY_IP, udp(67, 67, dhcp(VICTIM)), 17)),
    "router advertisement": HOSTILE["IPv6 router advertisement"],
    "neighbour that is a router": HOSTILE6["neighbour that is a router"],
    "DHCPv6 server": HOSTILE6["DHCPv6 server"],
}
"""What a guest that serves its segment sends."""
MAC_PASSES = {
    "ARP reply as the gateway", "gratuitous ARP for the victim", "IPv4 from the victim", "IPv4 from the gateway",
    "IPv4 from null", "IPv4 from loopback",
}  # fmt: skip
"""Those of HOSTILE that a guard of MACs alone lets through: they lie about addresses only."""
BRIDGE_DROPS = {"source MAC multicast"}
"""Those of HOSTILE that no bridge takes, guarded or not."""
