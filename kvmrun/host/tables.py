"""The tables of the packet filter as the kernel holds them: how often they changed, what is in them, one removed."""

import errno
import struct

from kvmrun.host import dump
from kvmrun.light.abc import Collection
from kvmrun.light.typing import Any
from kvmrun.model import derive

_FAMILIES = {"inet": 1, "netdev": 5}
_NFT = 10 << 8
_GET_TABLE, _DELETE_TABLE, _GET_CHAIN, _GET_RULE, _GET_GENERATION = _NFT | 1, _NFT | 2, _NFT | 4, _NFT | 7, _NFT | 16
_BATCH_BEGIN, _BATCH_END = 16, 17
_COUNTER, _COUNTS = b"\x0c\0\x01\0counter\0", 28
"""The expression `counter` with its two numbers, the only part of a rule that changes by itself."""


def generation() -> int:
    """How often the packet filter of this namespace was changed, 0 when the kernel does not say."""
    try:
        answer = dump.get(dump.NETFILTER, _GET_GENERATION, _head(0))
    except OSError:
        return 0
    return int.from_bytes(dump.attributes(answer, 4).get(1, b""))


def prints(family: str, table: str = "") -> dict[str, str]:
    """A digest of what is in every table of `family` by name, or in `table` alone. Raises OSError.

    Rules, chains with their hooks and policies, and the table's own flags; not what counts up.
    """
    head = _head(_FAMILIES[family])
    only = head + _named(table) if table else head
    digests: dict[str, Any] = {}
    for kind, body in ((_GET_TABLE, head), (_GET_CHAIN, head), (_GET_RULE, only)):
        for payload in dump.dump(dump.NETFILTER, kind, body):
            (size,) = struct.unpack_from("=H", payload, 4)
            name = payload[8 : 3 + size].decode(errors="replace")
            if not table or name == table:
                digest = digests.get(name) or digests.setdefault(name, derive.digester())
                digest.update(_without_counts(payload[4:]))  # the head before it holds part of the generation
    return {name: digest.hexdigest() for name, digest in digests.items()}


def delete(tables: Collection[str]) -> None:
    """Remove tables, each "FAMILY NAME", with everything in them; one that is gone is no error. Raises OSError."""
    batch = struct.pack(">BBH", 0, 0, 10)
    families = ((_FAMILIES[family], name) for family, _, name in (table.partition(" ") for table in tables))
    messages = [(_DELETE_TABLE, dump.ACK, _head(family) + _named(name)) for family, name in families]
    try:
        dump.send(dump.NETFILTER, [(_BATCH_BEGIN, 0, batch), *messages, (_BATCH_END, 0, batch)])
    except OSError as why:
        if why.errno != errno.ENOENT:
            raise
        if len(tables) > 1:  # one that is not there keeps the kernel from removing the others
            for table in tables:
                delete([table])


def _head(family: int) -> bytes:
    return struct.pack(">BBH", family, 0, 0)


def _named(table: str) -> bytes:
    return dump.attribute(1, table.encode() + b"\0")


def _without_counts(rule: bytes) -> bytes:
    first, *others = rule.split(_COUNTER)
    return first + b"".join(one[_COUNTS:] for one in others)
