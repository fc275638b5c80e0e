"""Making, repairing and explaining links by netlink; every write is read back. pyroute2 lives only here."""

import errno
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from itertools import product
from typing import Any

from pyroute2 import DiagSocket, IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from kvmrun.errors import AS_ROOT, HostLacks, KvmrunError, NotPermitted, Unresponsive
from kvmrun.host.links import bridge_settings
from kvmrun.model.network import link_alias
from kvmrun.model.value import Value
from kvmrun.plan.host_facts import Bridge, Protocol, Route
from kvmrun.plan.repair.orphan_links import OwnedLink

_IFF_UP = 1
_LIMIT = 2.0
_LOCAL_TABLE = 255
_IFA_F_PERMANENT = 0x80
_PROTOCOLS: Mapping[Protocol, int] = {"udp": socket.IPPROTO_UDP, "tcp": socket.IPPROTO_TCP}
_UNCONNECTED, _LISTENING = 1 << 7, 1 << 10  # states of UDP and TCP sockets, as a mask


@contextmanager
def kernel(doing: str) -> Iterator[Any]:
    """A netlink socket for one job; what the kernel refuses leaves as an error that names the job."""
    try:
        with IPRoute() as route:
            if core := getattr(route, "asyncore", None):  # since 0.9; it would wait for an answer for ever
                core.event_loop.call_later(_LIMIT, core.event_loop.stop)
            yield route
    except RuntimeError:
        raise Unresponsive(
            f"could not {doing}", "try again", reason=f"no answer of the kernel in {_LIMIT:g} s"
        ) from None
    except NetlinkError as error:
        name = os.strerror(error.code)
        if error.code in {1, 13}:
            raise NotPermitted(f"you may not {doing}", AS_ROOT, reason=name) from None
        if error.code == 95:
            raise HostLacks(f"this kernel cannot {doing}", "modprobe bridge", reason=name) from None
        raise KvmrunError(f"could not {doing}", reason=f"the kernel says: {name}") from None
    except OSError as error:
        raise KvmrunError(f"could not {doing}", reason=os.strerror(error.errno or 0)) from None


def read_bridge(name: str) -> Bridge | None:
    """The link `name` as netlink shows it, None when there is none."""
    with kernel(f"look at {name}") as route:
        if (link := _link(route, name)) is None:
            return None
        number = link["index"]
        data = _data(link)
        members = route.get_links(master=number) if _kind(link) == "bridge" else ()
        return Bridge(
            kind=_kind(link) or ("" if link.get_attr("IFLA_PARENT_DEV_NAME") else "virtual"),
            alias=link.get_attr("IFLA_IFALIAS") or "",
            mac=link.get_attr("IFLA_ADDRESS") or "",
            **bridge_settings.addresses(told := list(_addresses(route, number))),
            link_local=any(one.startswith("fe80:") for one, _ in told) or link.get_attr("IFLA_OPERSTATE") != "UP",
            up=bool(link["flags"] & _IFF_UP),
            mtu=link.get_attr("IFLA_MTU"),
            stp=bool(data.get("IFLA_BR_STP_STATE")),
            forward_delay=data.get("IFLA_BR_FORWARD_DELAY") or 0,
            **(bridge_settings.read(name) if _kind(link) == "bridge" else {}),
            ports=tuple(sorted(port.get_attr("IFLA_IFNAME") for port in members)),
        )


def routes() -> tuple[Route, ...]:
    """Every IPv4 route of the host but the default ones and those of the loopback.

    A default route may come in two halves: VPNs write 0.0.0.0/1 and 128.0.0.0/1, to go before one that is there.
    """
    with kernel("read the routes") as route:
        links = list(route.get_links())
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in links}
        labs = {link["index"]: link_alias.lab_of(link.get_attr("IFLA_IFALIAS") or "") for link in links}
        found = []
        for one in route.get_routes(family=socket.AF_INET):
            destination = one.get_attr("RTA_DST")
            if destination and one["dst_len"] > 1 and one.get_attr("RTA_TABLE", one["table"]) != _LOCAL_TABLE:
                number = one.get_attr("RTA_OIF")
                link = names.get(number, "another table")
                found.append(Route(destination=f"{destination}/{one['dst_len']}", link=link, lab=labs.get(number, "")))
        return tuple(found)


def way_out(address: str, source: str = "") -> str | None:
    """The link by which the kernel would send to `address` now (for packets from `source`), None when it would not."""
    with kernel("ask for a route") as route:
        try:
            found = route.route("get", dst=address, **({"src": source} if source else {}))
            number = found[0].get_attr("RTA_OIF")
            gateway = found[0].get_attr("RTA_GATEWAY")
            name = route.get_links(number)[0].get_attr("IFLA_IFNAME")
        except NetlinkError as error:
            if error.code in {101, 113, 13, 22}:
                return None
            raise
    return f"{name} via {gateway}" if gateway else str(name)


class Listener(Value):
    """A socket that waits; `link` is the only one it hears, "" for all."""

    protocol: Protocol
    port: int
    address: str
    link: str
    inode: int


def listeners(ports: Collection[int]) -> list[Listener]:
    """Every socket of this namespace that waits on one of `ports`."""
    found = []
    with kernel("ask who listens") as route, DiagSocket() as at:
        at.bind()
        for family, protocol in product((socket.AF_INET, socket.AF_INET6), _PROTOCOLS):
            code = _PROTOCOLS[protocol]
            for one in at.get_sock_stats(family=family, protocol=code, states=_UNCONNECTED | _LISTENING):
                if (port := one["idiag_sport"]) in ports:
                    number, address, inode = (one[f"idiag_{key}"] for key in ("if", "src", "inode"))
                    link = route.get_links(number)[0].get_attr("IFLA_IFNAME") if number else ""
                    found.append(Listener(protocol=protocol, port=port, address=address, link=link, inode=inode))
    return found


def make_bridge(name: str, alias: str) -> None:
    """A bridge with our mark, down. Its name comes last: one left by a crash without a mark would be another's."""
    part = f"new~{blake2b(name.encode(), digest_size=4).hexdigest()}"
    with kernel(f"make bridge {name}") as route:
        if (left := _link(route, part)) is not None:
            route.link("del", index=left["index"])
        route.link("add", ifname=part, kind="bridge")
        number = 0
        try:
            number = _index(route, part)
            route.link("set", index=number, ifalias=alias)
            route.link("set", index=number, ifname=name)
            made = _link(route, name)
            _expect(made is not None, f"the name of {name}")
            _expect(made.get_attr("IFLA_IFALIAS") == alias, f"the mark of {name}")
        except BaseException:
            with suppress(NetlinkError, OSError):
                route.link("del", **({"index": number} if number else {"ifname": part}))
            raise


def set_bridge(name: str, mac: str, mtu: int) -> None:
    """Write MAC, MTU, no spanning tree, no forwarding delay and all settings that differ, and read them back."""
    with kernel(f"set bridge {name}") as route:
        number = _index(route, name)
        route.link("set", index=number, address=mac, mtu=mtu)
        route.link("set", index=number, kind="bridge", br_stp_state=0)
        route.link("set", index=number, kind="bridge", br_forward_delay=0)  # out of range while spanning tree is on
        bridge_settings.write_bridge_settings(name, number)
        link = _link(route, name)
        _expect(link.get_attr("IFLA_ADDRESS") == mac, f"the MAC of {name}")
        _expect(link.get_attr("IFLA_MTU") == mtu, f"the MTU of {name}")
        data = _data(link)
        right = (data.get("IFLA_BR_STP_STATE"), data.get("IFLA_BR_FORWARD_DELAY")) == (0, 0)
        _expect(right, f"spanning tree and forwarding delay of {name}")


def add_address(name: str, address: str) -> None:
    """Give the link an address "IP/PREFIX"; one it has already is no error."""
    ip, _, prefix = address.partition("/")
    with kernel(f"give {name} the address {address}") as route:
        number = _index(route, name)
        route.addr("replace", index=number, address=ip, prefixlen=int(prefix))
        _expect(address in dict(_addresses(route, number)), f"the address of {name}")


def remove_address(name: str, address: str, keeps: Collection[str] = ()) -> None:
    """Remove an address; one that went with another, or with IPv6 as a whole, is no error. Those in `keeps` stay."""
    ip, _, prefix = address.partition("/")
    with kernel(f"remove the address {address} from {name}") as route:
        try:
            route.addr("del", index=_index(route, name), address=ip, prefixlen=int(prefix))
        except NetlinkError as error:
            if error.code != errno.EADDRNOTAVAIL:
                raise
    for one in keeps:
        add_address(name, one)


def set_up(name: str) -> None:
    with kernel(f"set {name} up") as route:
        route.link("set", index=_index(route, name), state="up")
        _expect(bool(_link(route, name)["flags"] & _IFF_UP), f"{name} being up")


def set_alias(name: str, alias: str) -> None:
    """Write the mark of a link."""
    with kernel(f"mark {name}") as route:
        route.link("set", index=_index(route, name), ifalias=alias)
        _expect(_link(route, name).get_attr("IFLA_IFALIAS") == alias, f"the mark of {name}")


def isolate(name: str) -> None:
    """Keep the port from talking to other isolated ports of its bridge."""
    with kernel(f"isolate {name}") as route:
        number = _index(route, name)
        route.brport("set", index=number, isolated=1)
        found = route.brport("show", index=number)[0].get_attr("IFLA_PROTINFO")
        _expect(bool(found.get_attr("IFLA_BRPORT_ISOLATED")), f"the isolation of {name}")


def remove_unused(name: str) -> None:
    """Remove a bridge unless something is plugged into it by now."""
    found = read_bridge(name)
    if found is not None and not found.ports:
        remove(name)


def remove(name: str) -> None:
    """Remove the link; one that is gone already is no error."""
    with kernel(f"remove {name}") as route:
        if (link := _link(route, name)) is not None:
            route.link("del", index=link["index"])


def _link(route: Any, name: str) -> Any:
    """The one link of that name, asked for by name: never a dump of all."""
    try:
        found = route.link("get", ifname=name)
    except NetlinkError as error:
        if error.code == 19:
            return None
        raise
    return found[0] if found else None


def _index(route: Any, name: str) -> int:
    if (link := _link(route, name)) is None:
        raise KvmrunError(f"{name} has gone", "try again", reason="another process removed it")
    return int(link["index"])


def _addresses(route: Any, number: int) -> Iterator[tuple[str, bool]]:
    """The addresses of a link, each with whether it lasts for ever."""
    for one in route.get_addr(index=number):
        address = f"{one.get_attr('IFA_LOCAL') or one.get_attr('IFA_ADDRESS')}/{one['prefixlen']}"
        yield address, bool(one["flags"] & _IFA_F_PERMANENT)


def _kind(link: Any) -> str:
    info = link.get_attr("IFLA_LINKINFO")
    return (info.get_attr("IFLA_INFO_KIND") or "") if info else ""


def _data(link: Any) -> dict[str, Any]:
    info = link.get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    return dict(data["attrs"]) if data else {}


def _expect(right: bool, what: str) -> None:
    """pyroute2 passes over an attribute it does not know, without a word: what was written is read back."""
    if not right:
        raise KvmrunError(
            f"{what} could not be set",
            "report it with the version of your kernel",
            reason="it was written, and another value is read back",
        )


def marked() -> list[OwnedLink]:
    """Every link of this namespace that carries our mark."""
    with kernel("look for our links") as route:
        links = list(route.get_links())
    marks = {link["index"]: link.get_attr("IFLA_IFALIAS") or "" for link in links}
    masters = [link.get_attr("IFLA_MASTER") for link in links]
    return [
        OwnedLink(
            name=link.get_attr("IFLA_IFNAME"),
            alias=marks[link["index"]],
            bridge=_kind(link) == "bridge",
            ports=masters.count(link["index"]),
            master=marks.get(link.get_attr("IFLA_MASTER"), ""),
        )
        for link in links
        if marks[link["index"]].startswith(link_alias.MARK)
    ]
