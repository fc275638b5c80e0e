"""The links of this namespace by one list of the kernel's: what ports are like, for a hundred guests at once."""

import os
import socket
import struct
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from kvmrun.host.links import raw_netlink
from kvmrun.host.process import process
from kvmrun.plan.host_facts import NOBODY, Link
from kvmrun.plan.network.bridge_plan import CONF
from kvmrun.plan.network.port_plan import ISOLATED, SETTINGS, STATE

_GETLINK, _GETADDR, _GETNEIGH = 18, 22, 30
_IFINFO, _IFADDR, _NDMSG = struct.Struct("=BxHiII"), struct.Struct("=BBBBI"), struct.Struct("=BxxxiHBB")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_TXQLEN, _IFLA_OPERSTATE = 1, 3, 4, 10, 13, 16
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_EXT_MASK, _IFLA_CARRIER = 18, 20, 26, 29, 33
_MASK = raw_netlink.attribute(_IFLA_EXT_MASK, (8).to_bytes(4, sys.byteorder))
"""RTEXT_FILTER_SKIP_STATS: a third less to read."""
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_DATA = 1, 2, 5
_TUN_OWNER, _TUN_GROUP, _TUN_PERSIST, _TUN_MULTI_QUEUE = 1, 2, 6, 7
_CONF = {
    "ipv6/disable_ipv6": (socket.AF_INET6, 2, 26),
    "ipv4/rp_filter": (socket.AF_INET, 1, 7),
    "ipv4/arp_ignore": (socket.AF_INET, 1, 18),
}
"""Where a setting of port.CONF is told: family, array, place there (as linux/ip.h and linux/ipv6.h number them)."""
_NUMBERS = (2, 7, 8, 12, 14, 15, 18, 20, 22, 24, 29, 30, 31)
_BRIDGE_CONF = {name: (socket.AF_INET, 1, place) for name, place in zip(CONF, _NUMBERS, strict=True)}
"""The same for bridge.CONF."""
_BRIDGE = {4, 5, 7, 9, 22, 23, 25}
"""The settings of a bridge that matter: ageing, spanning tree, VLAN filtering, groups and multicast."""
_SCOPE_LINK, _IFF_UP, _IFF_NOARP, _IFF_MULTICAST, _GROUP = 253, 1, 0x80, 0x1000, 1
_BRIDGE_FAMILY, _NTF_SELF, _STATIC = 7, 2, 0xC0
"""NUD_PERMANENT and NUD_NOARP: entries that were told, not learned."""


class Links:
    """Links as they were listed. Of a `part` of them neither addresses nor forwarding entries are looked up."""

    def __init__(self, payloads: Iterable[bytes], *, part: bool = False) -> None:
        self._by_name: dict[str, bytes] = {}
        self._by_alias: dict[str, str] = {}
        self._by_mac: dict[str, str] = {}
        self._names: dict[int, str] = {}
        self._addresses: dict[int, list[str]] | None = {} if part else None
        self._entries: dict[int, list[str]] | None = {} if part else None
        self._tops: dict[str, dict[int, bytes]] = {}
        self._compared_ranges: dict[int, list[tuple[int, int]]] = {}
        self._known: dict[bytes, dict[int, int]] = {}
        for payload in payloads:
            top = raw_netlink.attributes(payload, _IFINFO.size)
            name = _text(top.get(_IFLA_IFNAME, b""))
            self._by_name[name], self._tops[name] = payload, top
            self._names[_IFINFO.unpack_from(payload)[2]] = name
            self._by_mac.setdefault(top.get(_IFLA_ADDRESS, b"").hex(":"), name)
            if _IFLA_IFALIAS in top:
                self._by_alias.setdefault(_text(top[_IFLA_IFALIAS]), name)

    def tap(self, name: str, alias: str, mac: str) -> Link | None:
        """The tap of that mark, else of that MAC, which may be called otherwise by now; else the one of that name."""
        here = self._tops.get(name, {})
        if alias in self._by_alias:
            name = name if _text(here.get(_IFLA_IFALIAS, b"")) == alias else self._by_alias[alias]
        elif here.get(_IFLA_ADDRESS, b"").hex(":") != mac:
            name = self._by_mac.get(mac, name)
        return self.named(name)

    def named(self, name: str) -> Link | None:
        """The link of that name, None when there is none."""
        if name not in self._by_name:
            return None
        _, _, index, flags, _ = _IFINFO.unpack_from(self._by_name[name])
        top = self._tops[name]
        info = raw_netlink.attributes(top.get(_IFLA_LINKINFO, b""))
        kind = _text(info.get(_INFO_KIND, b""))
        tun = self._numbers(info.get(_INFO_DATA, b"")) if kind == "tun" else {}
        mac = top.get(_IFLA_ADDRESS, b"").hex(":")
        return Link(
            name=name,
            index=index,
            alias=_text(top.get(_IFLA_IFALIAS, b"")),
            mac=mac,
            up=bool(flags & _IFF_UP),
            carrier=_number(top.get(_IFLA_CARRIER, b"\1")) == 1,
            operational=_number(top.get(_IFLA_OPERSTATE, b"")),
            mtu=_number(top.get(_IFLA_MTU, b"")),
            queue_length=_number(top.get(_IFLA_TXQLEN, b"")),
            master=self._names.get(_number(top.get(_IFLA_MASTER, b"")), ""),
            kind=kind,
            owner=tun.get(_TUN_OWNER, NOBODY),
            group=tun.get(_TUN_GROUP, NOBODY),
            persistent=bool(tun.get(_TUN_PERSIST)),
            queues=2 if tun.get(_TUN_MULTI_QUEUE) else 1,
            settings=self._settings(info.get(_INFO_SLAVE_DATA, b"")),
            conf=_conf(top.get(_IFLA_AF_SPEC, b"")),
            addresses=tuple(self._addresses_of(index)),
            strays=tuple(one for one in self._entries_of(index) if one != mac),
        )

    def behaviour(self, name: str) -> dict[str, Any]:
        """Whether the link takes part in ARP and in multicast, and its own settings of IPv4."""
        if name not in self._by_name:
            return {}
        flags, told = _IFINFO.unpack_from(self._by_name[name])[3], self._tops[name].get(_IFLA_AF_SPEC, b"")
        own = _conf(told, _BRIDGE_CONF)
        return {"arp": not flags & _IFF_NOARP, "multicast": bool(flags & _IFF_MULTICAST), "conf": own}

    def bridges(self) -> list[str]:
        """The names of all bridges."""
        infos = {name: raw_netlink.attributes(top.get(_IFLA_LINKINFO, b"")) for name, top in self._tops.items()}
        return sorted(name for name, info in infos.items() if _text(info.get(_INFO_KIND, b"")) == "bridge")

    def bridge(self, name: str) -> dict[int, int]:
        """What the bridge of that name is set to."""
        info = raw_netlink.attributes(self._tops.get(name, {}).get(_IFLA_LINKINFO, b""))
        return {one: value for one, value in _numbers(info.get(_INFO_DATA, b"")).items() if one in _BRIDGE}

    def _settings(self, data: bytes) -> dict[int, int]:
        """What a port is set to. Ports differ in numbers and timers: those that are alike are read once."""
        if len(data) not in self._compared_ranges:
            self._compared_ranges[len(data)] = _compared_ranges(data)
        key = b"".join([data[first:last] for first, last in self._compared_ranges[len(data)]])
        if key not in self._known:
            self._known[key] = _numbers(data)
        return self._known[key]

    def _numbers(self, data: bytes) -> dict[int, int]:
        if data not in self._known:
            self._known[data] = _numbers(data)
        return self._known[data]

    def _addresses_of(self, index: int) -> list[str]:
        """The addresses of a link but the IPv6 ones the kernel gives every link by itself."""
        if self._addresses is None:
            self._addresses = {}
            for payload in raw_netlink.dump(raw_netlink.ROUTE, _GETADDR, _IFADDR.pack(0, 0, 0, 0, 0)):
                family, length, _, scope, link = _IFADDR.unpack_from(payload)
                if family == socket.AF_INET or scope != _SCOPE_LINK:
                    found = raw_netlink.attributes(payload, _IFADDR.size)
                    address = socket.inet_ntop(family, found.get(2) or found[1])
                    self._addresses.setdefault(link, []).append(f"{address}/{length}")
        return self._addresses.get(index, [])

    def _entries_of(self, index: int) -> list[str]:
        """The MACs whose frames a bridge was told to send to that port."""
        if self._entries is None:
            self._entries = {}
            for payload in raw_netlink.dump(raw_netlink.ROUTE, _GETNEIGH, _NDMSG.pack(_BRIDGE_FAMILY, 0, 0, 0, 0)):
                _, link, state, flags, _ = _NDMSG.unpack_from(payload)
                if state & _STATIC and not flags & _NTF_SELF:
                    mac = raw_netlink.attributes(payload, _NDMSG.size).get(2, b"\1")
                    if not mac[0] & _GROUP:
                        self._entries.setdefault(link, []).append(mac.hex(":"))
        return self._entries.get(index, [])


def device(name: str) -> str:
    """The link of that name, as no other is ever known: by the boot, the network namespace and its number there."""
    number = socket.if_nametoindex(name)
    return f"{process.boot_id()}/{os.stat('/proc/self/ns/net').st_ino}/{number}"


def port_links() -> Links:
    """All links of this namespace. Raises OSError, or dump.Moved."""
    return Links(raw_netlink.dump(raw_netlink.ROUTE, _GETLINK, _IFINFO.pack(0, 0, 0, 0, 0) + _MASK))


def one(*names: str) -> Links:
    """Those links alone, as far as a part of all can tell. Raises OSError."""
    return Links(
        (
            raw_netlink.get(raw_netlink.ROUTE, _GETLINK, _IFINFO.pack(0, 0, socket.if_nametoindex(name), 0, 0) + _MASK)
            for name in names
        ),
        part=True,
    )


def _conf(told: bytes, wanted: Mapping[str, tuple[int, int, int]] = _CONF) -> dict[str, str]:
    """The settings of a link's own stacks; none of a family that this kernel has not."""
    families = {family: raw_netlink.attributes(value) for family, value in raw_netlink.attributes(told).items()}
    arrays = {name: families.get(family, {}).get(array, b"") for name, (family, array, _) in wanted.items()}
    offsets = {name: 4 * offset for name, (_, _, offset) in wanted.items()}
    return {
        name: str(struct.unpack_from("=i", data, offsets[name])[0])
        for name, data in arrays.items()
        if len(data) >= offsets[name] + 4
    }


def _numbers(data: bytes) -> dict[int, int]:
    return {number: _number(value) for number, value in raw_netlink.attributes(data).items() if len(value) <= 4}


def _compared_ranges(data: bytes) -> list[tuple[int, int]]:
    """Where in the attributes of a port those stand that are compared, heads included."""
    offsets: list[tuple[int, int]] = []
    offset = 0
    while offset + 4 <= len(data):
        size, number = struct.unpack_from("=HH", data, offset)
        if number in SETTINGS or number in {STATE, ISOLATED}:
            if offsets and offsets[-1][1] == offset:
                offsets[-1] = offsets[-1][0], offset + (size + 3 & ~3)
            else:
                offsets.append((offset, offset + (size + 3 & ~3)))
        offset += max(size, 4) + 3 & ~3
    return offsets


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)
