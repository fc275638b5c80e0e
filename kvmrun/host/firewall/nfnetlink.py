"""The tables of the packet filter as the kernel holds them: how often they changed, what is in them, parts removed.

A part is a table, "FAMILY TABLE", or the chains of one that are alike up to the last "_": "FAMILY TABLE PREFIX_".
"""

import errno
import socket
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kvmrun.host.links import raw_netlink
from kvmrun.model import derive

_FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
_NFT = 10 << 8
_NEW_TABLE, _GET_TABLE, _DELETE_TABLE, _GET_CHAIN, _DELETE_CHAIN = _NFT, _NFT | 1, _NFT | 2, _NFT | 4, _NFT | 5
_GET_RULE, _GET_GENERATION = _NFT | 7, _NFT | 16
_BATCH_BEGIN, _BATCH_END = 16, 17
_IF_EMPTY = 0x100
_DORMANT = 1
_USERDATA, _COMMENT = 6, 0
_AGAIN = 5
_COUNTER, _COUNTS = b"\x0c\0\x01\0counter\0", 28
"""The expression `counter` with its two numbers, the only part of a rule that changes by itself."""
kept: list[tuple[int, socket.socket]] = []
"""Our sockets, each with its network namespace, to be used again there: whoever closes one while removed rules are
being freed waits 13 ms for that.
"""


def generation_id() -> int:
    """How often the packet filter of this namespace was changed, 0 when the kernel does not say."""
    try:
        with _socket() as at:
            answer = raw_netlink.request_on(at, _GET_GENERATION, _head(0))
    except OSError:
        return 0
    return int.from_bytes(raw_netlink.attributes(answer, 4).get(1, b""))


def fingerprints(parts: Collection[str]) -> dict[str, str]:
    """A digest of what is in each of `parts` that is there, by part. Raises OSError, or dump.Moved.

    Rules, chains with their hooks and policies, and the flags of the table; not what counts up.
    """
    digests: dict[str, Any] = {}
    for family in _families(parts):
        known: dict[bytes, list[Any]] = {}
        for names, content in _contents(family, parts):
            if names not in known:
                wanted = [part for part in _parts(family, names) if part in parts]
                known[names] = [digests.setdefault(part, derive.digester()) for part in wanted]
            for digest in known[names]:
                digest.update(content)
        for table, flags in _flags(family).items():
            for part in parts if flags else ():
                if part in digests and part.startswith(f"{family} {table} "):
                    digests[part].update(struct.pack(">I", flags))
    return {part: digest.hexdigest() for part, digest in digests.items()}


def dormant() -> set[tuple[str, str]]:
    """(family, name) of all tables whose chains are not called at present, whoever's they are. Raises OSError."""
    names = {number: name for name, number in _FAMILIES.items()}
    listed = _listed(_GET_TABLE, _head(0))
    found = ((names.get(one[0], ""), raw_netlink.attributes(one, 4)) for one in listed)
    return {(family, _text(told[1])) for family, told in found if _is_dormant(told)}


def chains() -> list[tuple[str, str, str]]:
    """(family, table, chain) of all chains there are, whoever's they are. Raises OSError, or dump.Moved."""
    found = (
        (family, names.decode(errors="replace").split("\0")) for family in _FAMILIES for names, _ in _chains(family)
    )
    return [(family, table, chain) for family, (table, chain, *_) in found]


def wake(table: str) -> None:
    """Have the kernel call the chains of the table "FAMILY TABLE" again, where it is dormant. Raises OSError.

    That takes a transaction of its own: the kernel refuses one that wakes a table and adds chains to it.
    """
    family, name = table.split()
    if _flags(family).get(name, 0) & _DORMANT:
        batch = struct.pack(">BBH", 0, 0, 10)
        body = _head(_FAMILIES[family]) + _named(1, name.encode()) + raw_netlink.attribute(2, bytes(4))
        messages = [(_BATCH_BEGIN, 0, batch), (_NEW_TABLE, raw_netlink.ACK, body), (_BATCH_END, 0, batch)]
        with _socket() as at:
            raw_netlink.send_on(at, messages)


def _flags(family: str) -> dict[str, int]:
    """The flags of the tables of a family, by name."""
    told = (raw_netlink.attributes(payload, 4) for payload in _listed(_GET_TABLE, _head(_FAMILIES[family])))
    return {_text(one[1]): int.from_bytes(one.get(2, b"")) for one in told}


def comment(table: str) -> str:
    """The comment of the table "FAMILY TABLE", "" where it has none, is not there, or cannot be read."""
    family, name = table.split()
    try:
        listed = _listed(_GET_TABLE, _head(_FAMILIES[family]))
    except (OSError, raw_netlink.DumpInterrupted):
        return ""
    told = next((one for payload in listed if _text((one := raw_netlink.attributes(payload, 4))[1]) == name), {})
    data = told.get(_USERDATA, b"")  # entries of kind, length and value; a comment is the only kind that tables have
    return _text(data[2 : 2 + data[1]]) if len(data) > 1 and data[0] == _COMMENT else ""


def _is_dormant(told: dict[int, bytes]) -> bool:
    return bool(int.from_bytes(told.get(2, b"")) & _DORMANT)


def _text(name: bytes) -> str:
    return name.rstrip(b"\0").decode(errors="replace")


def existing_parts(family: str) -> set[str]:
    """All parts there are. Raises OSError, or dump.Moved."""
    return {part for names, _ in (*_tables(family), *_chains(family)) for part in _parts(family, names)}


def objects_of(part: str) -> list[str]:
    """What there is of the part, as nft names it: "table FAMILY NAME", or "chain FAMILY TABLE NAME" for each chain.

    Raises OSError, or dump.Moved.
    """
    family, _, *prefix = part.split()
    kind, found = ("chain", _chains(family)) if prefix else ("table", _tables(family))
    here = (names.decode(errors="replace").split("\0") for names, _ in found if part in _parts(family, names))
    return [" ".join((kind, family, *names)).strip() for names in here]


def delete_parts(parts: Collection[str]) -> None:
    """Remove parts with everything in them, and with a table's last chain the table. Raises OSError.

    One that is gone is no error. It is looked again until nothing is left: others may change them meanwhile, which the
    kernel refuses, and of two who remove a chain each at once, neither knows that it was the last.
    """
    reason = OSError(errno.EBUSY, "it changes again and again")
    batch = struct.pack(">BBH", 0, 0, 10)
    for _ in range(_AGAIN):
        try:
            messages = [one for family in _families(parts) for one in _deletions(family, parts)]
            if not messages:
                return
            with _socket() as at:
                raw_netlink.send_on(at, [(_BATCH_BEGIN, 0, batch), *messages, (_BATCH_END, 0, batch)])
        except raw_netlink.DumpInterrupted:
            continue
        except OSError as refused:
            if refused.errno not in {errno.ENOENT, errno.EBUSY}:
                raise
            reason = refused
    raise reason


def _deletions(family: str, parts: Collection[str]) -> Iterator[tuple[int, int, bytes]]:
    head, chains = _head(_FAMILIES[family]), [names for names, _ in _chains(family)]
    for table, _ in _tables(family):
        (whole,) = _parts(family, table)
        if whole in parts:
            yield _DELETE_TABLE, raw_netlink.ACK, head + raw_netlink.attribute(1, table)
        elif any(part.startswith(f"{whole} ") for part in parts):
            here = [names for names in chains if names.startswith(table)]
            going = [names for names in here if any(part in parts for part in _parts(family, names))]
            for names in going:
                named = raw_netlink.attribute(1, table) + raw_netlink.attribute(3, names[len(table) :])
                yield _DELETE_CHAIN, raw_netlink.ACK, head + named
            if len(going) == len(here):
                yield _DELETE_TABLE, raw_netlink.ACK | _IF_EMPTY, head + raw_netlink.attribute(1, table)


def _contents(family: str, parts: Collection[str]) -> Iterator[tuple[bytes, bytes]]:
    """What the kernel tells of every table, chain and rule that may be in `parts`, each with its names."""
    if any(len(part.split()) == 2 for part in parts):
        yield from _tables(family)
    chains = list(_chains(family))
    yield from chains
    head = _head(_FAMILIES[family])
    for scope in _scopes(family, parts, [names for names, _ in chains]):
        for payload in _listed(_GET_RULE, head + scope):
            yield _names(payload, 2), _without_counts(payload[4:])


def _scopes(family: str, parts: Collection[str], chains: Collection[bytes]) -> list[bytes]:
    """Where the rules are to be asked for: everywhere, or for a single part only there."""
    if len(parts) > 1:
        return [b""]
    (part,) = parts
    _, table, *prefix = part.split()
    whole = _named(1, table.encode())
    ours = (names.split(b"\0")[1] for names in chains if part in _parts(family, names))
    return [whole + _named(2, chain) for chain in ours] if prefix else [whole]


def _tables(family: str) -> Iterator[tuple[bytes, bytes]]:
    for payload in _listed(_GET_TABLE, _head(_FAMILIES[family])):
        yield raw_netlink.attributes(payload, 4)[1], payload[4:]  # the head before it holds part of the generation


def _chains(family: str) -> Iterator[tuple[bytes, bytes]]:
    for payload in _listed(_GET_CHAIN, _head(_FAMILIES[family])):
        yield _names(payload, 3), payload[4:]


def _listed(kind: int, body: bytes) -> list[bytes]:
    with _socket() as at:
        return raw_netlink.dump_on(at, kind, body)


@contextmanager
def _socket() -> Iterator[socket.socket]:
    here = raw_netlink.namespace()
    at = _taken(here) or raw_netlink.open_socket(raw_netlink.NETFILTER)
    try:
        yield at
    except BaseException:
        at.close()
        raise
    kept.append((here, at))


def _taken(namespace: int) -> socket.socket | None:
    """A kept socket of that namespace, which nobody else has from now on."""
    for one in [one for one in kept if one[0] == namespace]:
        with suppress(ValueError):  # another thread was quicker
            kept.remove(one)
            return one[1]
    return None


def _names(payload: bytes, number: int) -> bytes:
    """The table, which is told first, and the chain, attribute `number`, which mostly comes next."""
    (size,) = struct.unpack_from("=H", payload, 4)
    offset = 4 + (size + 3 & ~3)
    then, found = struct.unpack_from("=HH", payload, offset)
    chain = payload[offset + 4 : offset + then] if found == number else raw_netlink.attributes(payload, 4)[number]
    return payload[8 : 4 + size] + chain


def _parts(family: str, names: bytes) -> tuple[str, ...]:
    """The parts that a table, or a chain of one, belongs to; its names end with a zero each."""
    table, chain, *_ = names.decode(errors="replace").split("\0")
    whole = f"{family} {table}"
    return (whole, f"{whole} {chain[: chain.rindex('_') + 1]}") if "_" in chain else (whole,)


def _families(parts: Collection[str]) -> set[str]:
    return {part.split()[0] for part in parts}


def _head(family: int) -> bytes:
    return struct.pack(">BBH", family, 0, 0)


def _named(number: int, name: bytes) -> bytes:
    return raw_netlink.attribute(number, name + b"\0")


def _without_counts(rule: bytes) -> bytes:
    first, *others = rule.split(_COUNTER)
    return first + b"".join(one[_COUNTS:] for one in others)
