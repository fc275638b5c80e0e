"""Source rules and the routing tables of uplinks, by netlink; and which way the kernel would send now.

What is ours carries our number as its protocol, which the kernel keeps and shows for routes and rules alike.
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterable

from kvmrun.errors import KvmrunError
from kvmrun.host.links import raw_netlink, tap_device
from kvmrun.model.network.network import Network
from kvmrun.plan.doctor import packet_routes
from kvmrun.plan.doctor.packet_routes import Trip
from kvmrun.plan.host_facts import Bridge, PolicyRoute, PolicyRule, RoutingFacts
from kvmrun.plan.network.uplink_routing import MARKS, AddDefaultRoute, RemoveDefaultRoute

OURS = 107
_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE, _NEW_RULE, _DELETE_RULE, _GET_RULE = 24, 25, 26, 32, 33, 34
_CREATE_NEW = 0x400 | 0x200
_HEAD = struct.Struct("=BBBBBBBBI")  # of a route and of a rule: family, lengths, tos, table, protocol, scope, type
_TABLE_IN_ATTRIBUTE = 252
_UNICAST, _TO_TABLE = 1, 1
_ONLINK = 4
_SUPPRESSED = 1  # prefixes as short as this count as a default route
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.EXDEV, errno.ENODEV}


def policy_state(tables: Iterable[int], links: Iterable[str]) -> RoutingFacts:
    """Our rules, the routes of `tables` and of those our rules lead to, and which of `links` are up."""
    rules = _rules()
    wanted = {*tables, *(rule.table for rule in rules if not rule.specific)}
    return RoutingFacts(
        rules=rules,
        routes={table: _routes(table) for table in sorted(wanted)},
        links=frozenset(name for name in links if tap_device.is_up(name)),
    )


def add_rule(rule: PolicyRule) -> None:
    """Add a rule of ours; one that is there already is no error."""
    try:
        raw_netlink.send(raw_netlink.ROUTE, [(_NEW_RULE, raw_netlink.ACK | _CREATE_NEW, _rule(rule))])
    except FileExistsError:
        return
    _expect(rule in _rules(), f"{rule}")


def remove_rule(rule: PolicyRule) -> None:
    """Remove a rule of ours; one that is gone already is no error."""
    try:
        raw_netlink.send(raw_netlink.ROUTE, [(_DELETE_RULE, raw_netlink.ACK, _rule(rule))])
    except FileNotFoundError:
        return


def add_default(step: AddDefaultRoute) -> None:
    """Add our default route to a table."""
    raw_netlink.send(raw_netlink.ROUTE, [(_NEW_ROUTE, raw_netlink.ACK | _CREATE_NEW, _default(step))])
    wanted = PolicyRoute(destination=step.destination, link=step.link, gateway=step.gateway, ours=True)
    _expect(wanted in _routes(step.table), f"{step}")


def remove_default(step: RemoveDefaultRoute | AddDefaultRoute) -> None:
    """Remove our default route from a table; one that is gone already is no error."""
    try:
        raw_netlink.send(raw_netlink.ROUTE, [(_DELETE_ROUTE, raw_netlink.ACK, _default(step))])
    except (ProcessLookupError, FileNotFoundError, LookupError):
        return
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def egress_of(target: str, source: str, bridge: str) -> tuple[str, str]:
    """The (link, gateway) by which a packet from `source` that comes in by `bridge` would leave; ("", "") for none."""
    body = _HEAD.pack(socket.AF_INET, 32, 32, 0, 0, 0, 0, 0, 0)
    body += raw_netlink.attribute(1, socket.inet_aton(target)) + raw_netlink.attribute(2, socket.inet_aton(source))
    body += raw_netlink.attribute(3, struct.pack("=I", tap_device.ifindex(bridge)))
    try:
        found = raw_netlink.attributes(raw_netlink.get(raw_netlink.ROUTE, _GET_ROUTE, body), _HEAD.size)
    except OSError as error:
        if error.errno in _NO_WAY:
            return "", ""
        raise
    return _link(found), _gateway(found)


def trace_route(network: Network, found: Bridge | None, target: str) -> Trip | None:
    """The way of a guest's packet to `target` and of the answer; None for a network that is not up or leads nowhere.

    The kernel is asked for a packet that comes in by the bridge, and for one that comes in by the uplink: so it counts
    whether it forwards there, and what its reverse path filter says.
    """
    if found is None or not found.up or network.nat is False or network.external:
        return None
    source = packet_routes.source(network)
    link, gateway = egress_of(target, source, network.bridge)
    back = egress_of(source, target, link)[0] if link else ""
    return packet_routes.Trip(source=source, link=link, gateway=gateway, answered=back == network.bridge)


def _rules() -> tuple[PolicyRule, ...]:
    found = []
    for payload in raw_netlink.dump(raw_netlink.ROUTE, _GET_RULE, _HEAD.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
        values = raw_netlink.attributes(payload, _HEAD.size)
        if values.get(21) == bytes([OURS]) and 2 in values:
            found.append(
                PolicyRule(
                    priority=_number(values[6]),
                    source=f"{socket.inet_ntoa(values[2])}/{payload[2]}",
                    table=_number(values[15]),
                    specific=_number(values.get(14, b"\xff" * 4)) == _SUPPRESSED,
                    mark=_number(values.get(10, b"")),
                )
            )
    return tuple(found)


def _routes(table: int) -> tuple[PolicyRoute, ...]:
    head = _HEAD.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    try:
        payloads = raw_netlink.dump(
            raw_netlink.ROUTE, _GET_ROUTE, head + raw_netlink.attribute(15, struct.pack("=I", table)), strict=True
        )
    except FileNotFoundError:  # no route was ever in it
        return ()
    found = []
    for payload in payloads:
        values = raw_netlink.attributes(payload, _HEAD.size)
        if _number(values.get(15, b"")) == table:
            destination = f"{socket.inet_ntoa(values[1])}/{payload[1]}" if 1 in values else ""
            ours = payload[5] == OURS
            found.append(PolicyRoute(destination=destination, link=_link(values), gateway=_gateway(values), ours=ours))
    return tuple(found)


def _rule(rule: PolicyRule) -> bytes:
    address, _, length = rule.source.partition("/")
    body = _HEAD.pack(socket.AF_INET, 0, int(length), 0, _TABLE_IN_ATTRIBUTE, 0, 0, _TO_TABLE, 0)
    body += raw_netlink.attribute(2, socket.inet_aton(address)) + raw_netlink.attribute(21, bytes([OURS]))
    found = [(6, rule.priority), (15, rule.table)]
    found += [(14, _SUPPRESSED)] if rule.specific else []
    found += [(10, rule.mark), (16, MARKS)] if rule.mark else []
    for number, value in found:
        body += raw_netlink.attribute(number, struct.pack("=I", value))
    return body


def _default(step: AddDefaultRoute | RemoveDefaultRoute) -> bytes:
    """The route, through a gateway on the link: that it is there is the lab's word, whatever the link's address."""
    address, _, length = (step.destination or "0.0.0.0/0").partition("/")
    body = _HEAD.pack(socket.AF_INET, int(length), 0, 0, _TABLE_IN_ATTRIBUTE, OURS, 0, _UNICAST, _ONLINK)
    body += raw_netlink.attribute(1, socket.inet_aton(address)) if step.destination else b""
    body += raw_netlink.attribute(15, struct.pack("=I", step.table)) + raw_netlink.attribute(
        5, socket.inet_aton(step.gateway)
    )
    return body + raw_netlink.attribute(4, struct.pack("=I", tap_device.ifindex(step.link)))


def _link(values: dict[int, bytes]) -> str:
    """The name of the link of a route, "" for several or none."""
    if 4 not in values:
        return ""
    try:
        return socket.if_indextoname(_number(values[4]))
    except OSError:
        return ""


def _gateway(values: dict[int, bytes]) -> str:
    return socket.inet_ntoa(values[5]) if len(values.get(5, b"")) == 4 else ""


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _expect(right: bool, what: str) -> None:
    if not right:
        raise KvmrunError(f"could not {what}", "try again", reason="written, read back, not there")
