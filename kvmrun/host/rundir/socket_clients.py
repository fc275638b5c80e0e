"""Who is connected to a Unix socket of a guest: the kernel tells the other end of each connection (unix_diag)."""

import struct
from contextlib import suppress

from kvmrun.host.links import raw_netlink
from kvmrun.host.process import process, socket_owners

_SOCK_DIAG, _BY_FAMILY, _UNIX = 4, 20, 1
_REQUEST = struct.Struct("=BBHIIIII")
_ANY_STATE, _SHOW_NAME, _SHOW_PEER, _NO_COOKIE = 0xFFFFFFFF, 0x1, 0x4, 0xFFFFFFFF
_NAME, _PEER = 0, 2
_HEAD = 16
"""struct unix_diag_msg, which the attributes follow."""


def connected_clients(path: str) -> str:
    """The process that is connected to the socket bound to `path`, such as "socat (pid 7)"; "" where none is seen."""
    body = _REQUEST.pack(_UNIX, 0, 0, _ANY_STATE, 0, _SHOW_NAME | _SHOW_PEER, _NO_COOKIE, _NO_COOKIE)
    peers = set()
    with suppress(OSError, raw_netlink.DumpInterrupted):
        for row in raw_netlink.dump(_SOCK_DIAG, _BY_FAMILY, body):
            told = raw_netlink.attributes(row, _HEAD)
            if told.get(_NAME, b"").rstrip(b"\0") == path.encode() and len(told.get(_PEER, b"")) == 4:
                peers.add(struct.unpack("=I", told[_PEER])[0])
    pids = sorted(set(socket_owners.with_sockets(peers).values())) if peers else []
    return process.describe(pids[0]) if pids else ""
