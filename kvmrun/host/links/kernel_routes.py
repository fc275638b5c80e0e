"""How the kernel routes between host and guests, and restoring the kernel's own routes of a bridge."""

import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Interface, IPv4Network

from kvmrun.host.files import small_files
from kvmrun.host.links import raw_netlink, tap_device
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.printable import printable
from kvmrun.plan.network import reach
from kvmrun.plan.network.reach import Diversion, KernelRoute, Neighbour, Reach

_GET_QUEUE, _QUEUE = 38, struct.Struct("=BxxxiIII")
_QUEUES = {"noqueue", "noop", "mq", "pfifo_fast", "pfifo", "bfifo", "fq_codel", "fq"}
"""What the kernel gives links by itself."""
_NEW_ROUTE, _GET_ROUTE, _DELETE_NEIGHBOUR, _GET_NEIGHBOUR, _GET_RULE = 24, 26, 29, 30, 34
_CREATE = 0x400
_HEAD, _NEIGHBOUR = struct.Struct("=BBBBBBBBI"), struct.Struct("=BxxxiHBB")
_UNICAST, _LOCAL = 1, 2
_MAIN, _LOCAL_TABLE = 254, 255
_TYPES = {2: "local", 6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
_ACTIONS = {6: "blackhole", 7: "unreachable", 8: "prohibit"}
_KERNEL, _OURS = 2, 107
_SCOPE_LINK, _SCOPE_HOST = 253, 254
_PERMANENT, _PROXY = 0x80, 8
_TABLES = {254: "main", 255: "local", 253: "default"}
Values = dict[int, bytes]


def look(lab: Lab, network: Network, *, thorough: bool = False) -> Reach:
    """How host and guests of a network whose bridge is up reach each other by IPv4, as the kernel tells it.

    Asked for the ends of the subnet, and when `thorough` for the address of every guest.
    """
    own = network.host_address()
    asked = [str(network.subnet[1]), str(network.subnet[-2])]
    ports = (one for ports in lab.ports().values() for one in ports if one.network == network.name)
    asked += [str(one.address) for one in ports] if thorough else []
    asked = [one for one in dict.fromkeys(asked) if one not in {"", "None", str(own.ip)}]
    astray = [(one, to) for one in asked if (to := _sent(one)) != network.bridge]
    missing = tuple(_missing(network, f"{own}")) if astray or not _delivered(network, asked) else ()
    return Reach(
        missing=missing,
        astray=tuple(astray),
        neighbours=reach.wrong_neighbours(lab, network, tuple(_neighbours(network.bridge))),
        queues=tuple(_queues(network.bridge)) if thorough else (),
        diversions=(*_rules(network), *(_routes(network) if astray else ())),
    )


def restore(step: KernelRoute) -> None:
    """Add a route as the kernel adds it with the address; one that is there already is no error."""
    address, _, length = step.address.partition("/")
    to, size = str(IPv4Interface(step.address).network.network_address), int(length)
    table, scope, kind = _MAIN, _SCOPE_LINK, _UNICAST
    if step.kind == "local":
        to, size, table, scope, kind = address, 32, _LOCAL_TABLE, _SCOPE_HOST, _LOCAL
    body = _HEAD.pack(socket.AF_INET, size, 0, 0, table, _KERNEL, scope, kind, 0)
    body += raw_netlink.attribute(1, socket.inet_aton(to)) + raw_netlink.attribute(7, socket.inet_aton(address))
    body += raw_netlink.attribute(4, struct.pack("=I", tap_device.ifindex(step.link)))
    with suppress(FileExistsError):
        raw_netlink.send(raw_netlink.ROUTE, [(_NEW_ROUTE, raw_netlink.ACK | _CREATE, body)])


def forget(step: Neighbour) -> None:
    """Remove an entry; one that is gone already is no error."""
    body = _NEIGHBOUR.pack(socket.AF_INET, tap_device.ifindex(step.link), 0, 0 if step.mac else _PROXY, 0)
    body += raw_netlink.attribute(1, socket.inet_aton(step.address))
    with suppress(FileNotFoundError):
        raw_netlink.send(raw_netlink.ROUTE, [(_DELETE_NEIGHBOUR, raw_netlink.ACK, body)])


def _sent(address: str) -> str:
    """The link by which the host would send to the address, "" for none."""
    with suppress(OSError):
        body = _HEAD.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + raw_netlink.attribute(1, socket.inet_aton(address))
        return _link(raw_netlink.attributes(raw_netlink.get(raw_netlink.ROUTE, _GET_ROUTE, body), _HEAD.size))
    return ""


def _delivered(network: Network, guests: Iterable[str]) -> bool:
    """Whether the host would take what a guest sends to its address on the bridge."""
    own, guest = str(network.host_address().ip), next(iter(guests))
    body = _HEAD.pack(socket.AF_INET, 32, 32, 0, 0, 0, 0, 0, 0)
    body += raw_netlink.attribute(1, socket.inet_aton(own)) + raw_netlink.attribute(2, socket.inet_aton(guest))
    body += raw_netlink.attribute(3, struct.pack("=I", tap_device.ifindex(network.bridge)))
    with suppress(OSError):
        return raw_netlink.get(raw_netlink.ROUTE, _GET_ROUTE, body)[7] == _LOCAL
    return False


def _missing(network: Network, address: str) -> Iterator[KernelRoute]:
    """The routes of the address that are not there; the local one first, which makes it a valid source."""
    own, subnet = network.host_address().ip, network.subnet
    here = {(table, kind, to) for table, kind, to, via, _ in _all() if via == network.bridge}
    if (_LOCAL_TABLE, _LOCAL, f"{own}/32") not in here:
        yield KernelRoute(link=network.bridge, address=address, kind="local")
    if (_MAIN, _UNICAST, str(subnet)) not in here:
        yield KernelRoute(link=network.bridge, address=address, kind="subnet")


def _routes(network: Network) -> Iterator[Diversion]:
    """Routes of others that take a part of the subnet. One that is wider than the subnet comes after ours."""
    for table, kind, to, via, ours in _all():
        part = IPv4Network(to).overlaps(network.subnet) and IPv4Network(to).prefixlen >= network.subnet.prefixlen
        if part and via != network.bridge and not ours and table in {_MAIN, _LOCAL_TABLE} and kind != 3:
            name = f" table {_TABLES[table]}" if table != _MAIN else ""
            text = f"{_TYPES.get(kind, '')} {to}{f' dev {via}' if via else ''}{name}".strip()
            yield Diversion(kind="route", text=text, lost=not via)


def _all() -> Iterator[tuple[int, int, str, str, bool]]:
    """(table, type, destination, link, ours) of every IPv4 route but the default ones."""
    for payload in raw_netlink.dump(raw_netlink.ROUTE, _GET_ROUTE, _HEAD.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
        values = raw_netlink.attributes(payload, _HEAD.size)
        if 1 in values:
            to = f"{socket.inet_ntoa(values[1])}/{payload[1]}"
            yield _number(values.get(15, b"")), payload[7], to, _link(values), payload[5] == _OURS


def _rules(network: Network) -> Iterator[Diversion]:
    """Rules of others about the network's addresses or its bridge."""
    for payload in raw_netlink.dump(raw_netlink.ROUTE, _GET_RULE, _HEAD.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
        values = raw_netlink.attributes(payload, _HEAD.size)
        ends = {
            name: _end(values[number], payload[at])
            for name, number, at in (("from", 2, 2), ("to", 1, 1))
            if number in values
        }
        links = {name: _text(values[number]) for name, number in (("iif", 3), ("oif", 17)) if number in values}
        about = (
            any(IPv4Network(one).overlaps(network.subnet) for one in ends.values()) or network.bridge in links.values()
        )
        if about and values.get(21) != bytes([_OURS]):
            action, table = payload[7], _number(values.get(15, b""))
            mark = {"fwmark": f"{_number(values[10]):#x}"} if 10 in values else {}
            words = [
                f"pref {_number(values.get(6, b''))}",
                *(f"{key} {value}" for key, value in (ends | links | mark).items()),
            ]
            words.append(_ACTIONS.get(action) or f"lookup {_TABLES.get(table, table)}")
            yield Diversion(kind="rule", text=" ".join(words), lost=action in _ACTIONS)


def _neighbours(bridge: str) -> Iterator[Neighbour]:
    """Permanent IPv4 neighbour entries on the bridge, and proxy entries that the host answers for."""
    index = tap_device.ifindex(bridge)
    for flags in (0, _PROXY):
        for payload in raw_netlink.dump(
            raw_netlink.ROUTE, _GET_NEIGHBOUR, _NEIGHBOUR.pack(socket.AF_INET, 0, 0, flags, 0)
        ):
            _, at, state, _, _ = _NEIGHBOUR.unpack_from(payload)
            values = raw_netlink.attributes(payload, _NEIGHBOUR.size)
            if at == index and 1 in values and (flags or state & _PERMANENT):
                mac = "" if flags else values.get(2, b"").hex(":")
                yield Neighbour(link=bridge, address=socket.inet_ntoa(values[1]), mac=mac)


def _queues(bridge: str) -> Iterator[tuple[str, str]]:
    """(link, kind) of what is not a default on the bridge and its ports."""
    with suppress(OSError):
        links = {socket.if_nametoindex(one): one for one in (bridge, *os.listdir(f"{tap_device.NET}/{bridge}/brif"))}
        usual = {*_QUEUES, (small_files.read_text("/proc/sys/net/core/default_qdisc") or "").strip()}
        for payload in raw_netlink.dump(raw_netlink.ROUTE, _GET_QUEUE, bytes(_QUEUE.size)):
            kind, number = (
                _text(raw_netlink.attributes(payload, _QUEUE.size).get(1, b"")),
                _QUEUE.unpack_from(payload)[1],
            )
            if number in links and kind not in usual:
                yield links[number], printable(kind, 20)


def _link(values: Values) -> str:
    with suppress(OSError):
        return socket.if_indextoname(_number(values[4])) if 4 in values else ""
    return ""


def _end(address: bytes, length: int) -> str:
    return f"{socket.inet_ntoa(address)}/{length}"


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)
