"""Ranges of addresses that have a meaning of their own, and are therefore no network's."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network

_MEANINGS = (
    ("0.0.0.0/8", '"this network" (RFC 1122)'),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local addresses"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved, and broadcast"),
)
"""Blocks whose addresses no interface of a network can have, and what they are for (RFC 6890)."""
_MEANINGS6 = (
    ("::/8", "loopback, and addresses that stand for IPv4 ones"),
    ("fe80::/10", "link-local addresses"),
    ("ff00::/8", "multicast"),
)


def unusable_reason(subnet: IPv4Network) -> str:
    """What is wanted instead of a subnet that no network can have, "" where it can."""
    if not 8 <= subnet.prefixlen <= 28:
        return 'a subnet between /8 and /28, such as "192.168.0.0/24"'
    for block, meaning in _MEANINGS:
        if subnet.overlaps(IPv4Network(block)):
            return f'a private subnet, such as "192.168.0.0/24": {block} is for {meaning}'
    return ""


def special_meaning6(prefix: IPv6Network) -> str:
    return next((meaning for block, meaning in _MEANINGS6 if prefix.overlaps(IPv6Network(block))), "")


def is_unroutable(address: IPv4Address) -> bool:
    """Whether no single machine has the address. That of a resolver on this host begins with 127."""
    return any(address in IPv4Network(block) for block, _ in _MEANINGS if not block.startswith("127."))
