"""Whether the value a packet has is what a rule names, in the words of nft's JSON: yes, no, or `None`: not known."""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from kvmrun.plan.packets.packet import ABSENT

Known = bool | None
_SPELLED: Mapping[object, object] = {
    6: "tcp",
    17: "udp",
    1: "icmp",
    58: "ipv6-icmp",
    "icmpv6": "ipv6-icmp",
    "unicast": "host",
}
"""What nft writes in more than one way; of addresses' kinds, unicast is read as it is."""


def compare(operator: str, mine: object, right: Any) -> Known:
    """Whether `mine OPERATOR right`; a field that the packet does not have fits nothing."""
    if mine is ABSENT:
        return False
    if operator in {"==", "in"} and isinstance(mine, frozenset):
        return _flags(operator, mine, right)
    if operator == "!":
        return negated(compare("in", mine, right))
    if operator in {"==", "in"}:
        return equal(mine, right)
    if operator == "!=":
        return negated(_flags("==", mine, right) if isinstance(mine, frozenset) else equal(mine, right))
    return _ordered(operator, mine, right)


def equal(mine: object, right: Any) -> Known:
    """Whether `mine` is a word, a number, a prefix, a range, or one of several."""
    if mine is ABSENT:
        return False
    if isinstance(right, list):
        return any_of(equal(mine, one) for one in right)
    if isinstance(right, dict):
        return _within(mine, right)
    if right == "*":
        return True
    if mine is None or isinstance(mine, tuple):
        return None
    if isinstance(mine, bool) or isinstance(right, bool) or (right in {0, "0"} and mine is False):
        return bool(mine) is (bool(right) and right != "0")
    if isinstance(mine, IPv4Address | IPv6Address):
        return str(mine) == _plain(mine, right)
    if isinstance(mine, str) and isinstance(right, str) and right.endswith("*"):
        return mine.startswith(right[:-1])
    return _same(mine, right)


def _same(mine: object, right: object) -> bool:
    return mine == right or _SPELLED.get(mine, mine) == _SPELLED.get(right, right)


def _plain(mine: IPv4Address | IPv6Address, right: object) -> str:
    """An address as we write it; nft writes one of IPv6 as it likes."""
    try:
        return str(type(mine)(str(right)))
    except ValueError:
        return str(right)


def _within(mine: object, right: Mapping[str, Any]) -> Known:
    if "set" in right:
        elements = right["set"]
        return any_of(equal(mine, one) for one in (elements if isinstance(elements, list) else [elements]))
    if "elem" in right:
        return equal(mine, right["elem"]["val"])
    if "concat" in right:
        parts = mine if isinstance(mine, tuple) else ()
        if len(parts) != len(right["concat"]):
            return None
        return both(equal(one, other) for one, other in zip(parts, right["concat"], strict=True))
    if mine is None:
        return None
    try:
        return _between(mine, right)
    except (ValueError, TypeError, KeyError):  # another family, a name, or a form that nft has learned since
        return False if isinstance(mine, IPv4Address | IPv6Address) else None


def _between(mine: object, right: Mapping[str, Any]) -> Known:
    if "range" in right:
        first, last = right["range"]
        if isinstance(mine, int):
            return bool(first <= mine <= last)
        if isinstance(mine, IPv4Address | IPv6Address):
            return int(type(mine)(first)) <= int(mine) <= int(type(mine)(last))
        return None
    if "prefix" in right:
        prefix = f"{right['prefix']['addr']}/{right['prefix']['len']}"
        if isinstance(mine, IPv4Address):
            return mine in IPv4Network(prefix)
        return mine in IPv6Network(prefix) if isinstance(mine, IPv6Address) else None
    return None


def _flags(operator: str, mine: frozenset[Any], right: Any) -> Known:
    """Of bits, "in" asks for one of several, and "==" for exactly these."""
    if right in (0, "0x0"):
        return not mine
    several = isinstance(right, dict) and "set" in right
    words = right["set"] if several else right
    named = _bits(words)
    if named is None:
        return None
    if operator == "in" or several:
        return bool(mine & named) if operator == "in" else any(mine == _bits(one) for one in words)
    return mine == named


def _bits(right: Any) -> frozenset[str] | None:
    if isinstance(right, str):
        return frozenset({right})
    if isinstance(right, dict) and "|" in right:
        right = right["|"]
    if not isinstance(right, list):
        return None
    parts = [_bits(one) for one in right]
    return None if None in parts else frozenset().union(*(one for one in parts if one is not None))


def masked(mine: object, right: Any) -> object:
    """`mine` with the bits of `right` alone."""
    if isinstance(mine, frozenset):
        named = _bits(right)
        return None if named is None else mine & named
    if isinstance(mine, int) and isinstance(right, int):
        return mine & right
    if isinstance(mine, IPv4Address) and isinstance(right, str):
        try:
            return IPv4Address(int(mine) & int(IPv4Address(right)))
        except ValueError:
            return None
    return mine if mine is ABSENT else None


def _ordered(operator: str, mine: object, right: Any) -> Known:
    if isinstance(mine, IPv4Address) and isinstance(right, str):
        try:
            mine, right = int(mine), int(IPv4Address(right))
        except ValueError:
            return None
    if not isinstance(mine, int) or not isinstance(right, int):
        return None
    found: Mapping[str, Callable[[], bool]] = {
        "<": lambda: mine < right,
        ">": lambda: mine > right,
        "<=": lambda: mine <= right,
        ">=": lambda: mine >= right,
    }
    return found[operator]() if operator in found else None


def negated(found: Known) -> Known:
    return None if found is None else not found


def any_of(found: Iterable[Known]) -> Known:
    """Whether one holds; not known when none does and one may."""
    seen = set(found)
    return True if True in seen else None if None in seen else False


def both(found: Iterable[Known]) -> Known:
    """Whether all hold; one that does not decides, whatever is not known."""
    seen = set(found)
    return False if False in seen else None if None in seen else True
