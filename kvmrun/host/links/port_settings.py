"""Taps as bridge ports: configured when new, and restored where they were changed; every write is read back."""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from kvmrun.errors import KvmrunError, Refused
from kvmrun.host.links import link_list, raw_netlink, tap_device
from kvmrun.plan.host_facts import Link
from kvmrun.plan.network import port_plan
from kvmrun.plan.steps.guest_steps import PlugTap

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_SIOCSIFHWADDR, _SIOCSIFMTU = 0x8924, 0x8922
_IFF_UP, _ARPHRD_ETHER = 1, 1
_NEWLINK, _DELLINK, _DELADDR, _DELNEIGH = 16, 17, 21, 29
_IFINFO, _IFADDR, _NDMSG = struct.Struct("=BxHiII"), struct.Struct("=BBBBI"), struct.Struct("=BxxxiHBB")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_TXQLEN = 1, 3, 4, 10, 13
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_CARRIER = 18, 20, 33
_SLAVE_KIND, _SLAVE_DATA = 4, 5
_BRIDGE_FAMILY, _NTF_MASTER = 7, 4
Message = tuple[int, int, bytes]


def configure_port(step: PlugTap) -> None:
    """Make the tap the port that the step wants, and read it back.

    A tap that is to be restored and no longer exists is no error: its guest has ended.
    """
    if not step.differs:
        _deafen(step.tap)
        _join(step)
        tap_device.set_alias(step.tap, step.alias)
        _read_back(step)
        return
    try:
        _restore(step)
        _read_back(step)
    except (OSError, KvmrunError):
        if tap_device.ifindex(step.tap):
            raise


def remove_port(name: str) -> None:
    """Remove a link, whoever has it open; one that is gone is no error. Raises KvmrunError."""
    with suppress(OSError):
        raw_netlink.send(
            raw_netlink.ROUTE, [(_DELLINK, raw_netlink.ACK, _IFINFO.pack(0, 0, tap_device.ifindex(name) or -1, 0, 0))]
        )
    if tap_device.ifindex(name):
        raise KvmrunError(f"{name} could not be removed", "try again")


def _deafen(tap: str) -> None:
    """Disable the tap's own network stack before the tap is up."""
    for name, value in port_plan.CONF.items():
        family, _, key = name.partition("/")
        with (
            suppress(FileNotFoundError),
            open(f"/proc/sys/net/{family}/conf/{tap}/{key}", "w", encoding="utf-8") as file,
        ):
            file.write(value)


def _join(step: PlugTap) -> None:
    """The quick way for a new port: a handful of ioctls, MAC and MTU before it is a port, isolation before it is up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as at:
        address = bytes.fromhex(step.mac.replace(":", ""))
        tap_device.ioctl(at, _SIOCSIFHWADDR, step.tap, struct.pack("H6s8x", _ARPHRD_ETHER, address))
        if step.mtu != 1500:
            tap_device.ioctl(at, _SIOCSIFMTU, step.tap, struct.pack("i", step.mtu))
        tap_device.enslave(step.tap, step.bridge)
        if step.isolated:
            tap_device.isolate(step.tap)
        (flags,) = struct.unpack("H", tap_device.ioctl(at, _SIOCGIFFLAGS, step.tap, b"")[16:18])
        tap_device.ioctl(at, _SIOCSIFFLAGS, step.tap, struct.pack("H", flags | _IFF_UP))  # it writes all of them


def _read_back(step: PlugTap) -> None:
    """Raise unless the kernel says of the port what was written: a call that did nothing does not say so."""
    found = link_list.one(step.tap, step.bridge).named(step.tap)
    if wrong := port_plan.port_differences(step, found, held=False, forwards=False):
        fix = "report it with the version of your kernel"
        raise KvmrunError(
            f"the {wrong[0].what} of {step.tap} could not be set",
            fix,
            reason="it was written, and another value is read back",
        )


def _restore(step: PlugTap) -> None:
    """Write what differs, in the order in which the kernel takes it."""
    found = link_list.port_links().tap(step.tap, step.alias, step.mac)
    if found is None:
        return
    if found.name != step.tap:
        if tap_device.ifindex(step.tap):
            reason = f"the tap of {step.alias.split(':')[1]} is called {found.name} now, and another link has its name"
            raise Refused(
                f"{step.tap} cannot have its name back", f"ip link show {step.tap} tells what has it", reason=reason
            )
        rename(found.index, step.tap)
    wrong = {one.what for one in port_plan.port_differences(step, found, held=True)}
    if wrong & {"owner", "group", "persistence"}:
        from kvmrun.host.links import tap_holder  # only where somebody has tampered with it

        tap_holder.restore_from_holder(step.tap, step.owner)
    if wrong & port_plan.CONF.keys():
        _deafen(step.tap)
    raw_netlink.send(raw_netlink.ROUTE, [*_link(step, found), *_attributes(step, found, wrong), *_removals(found)])
    now = link_list.one(step.tap, step.bridge).named(step.tap)
    if now and any(one.what == "state" for one in port_plan.port_differences(step, now, held=True)):
        raw_netlink.send(raw_netlink.ROUTE, [_port(found, {port_plan.STATE: port_plan.FORWARDING})])


def rename(number: int, name: str) -> None:
    """Give the link of that number another name. Kernels before 6.2 rename only what is down."""
    down = _NEWLINK, raw_netlink.ACK, _IFINFO.pack(0, 0, number, 0, _IFF_UP)
    named = _IFINFO.pack(0, 0, number, 0, 0) + raw_netlink.attribute(_IFLA_IFNAME, name.encode() + b"\0")
    try:
        raw_netlink.send(raw_netlink.ROUTE, [(_NEWLINK, raw_netlink.ACK, named)])
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raw_netlink.send(raw_netlink.ROUTE, [down, (_NEWLINK, raw_netlink.ACK, named)])


def _link(step: PlugTap, found: Link) -> Iterator[Message]:
    head = _IFINFO.pack(0, 0, found.index, _IFF_UP, _IFF_UP)
    body = (
        raw_netlink.attribute(_IFLA_ADDRESS, bytes.fromhex(step.mac.replace(":", ""))) if found.mac != step.mac else b""
    )
    body += raw_netlink.attribute(_IFLA_MTU, struct.pack("=I", step.mtu)) if found.mtu != step.mtu else b""
    body += raw_netlink.attribute(_IFLA_TXQLEN, struct.pack("=I", port_plan.QUEUE_LENGTH))
    body += raw_netlink.attribute(_IFLA_IFALIAS, step.alias.encode())
    if found.master != step.bridge:
        body += raw_netlink.attribute(_IFLA_MASTER, struct.pack("=I", tap_device.ifindex(step.bridge)))
    yield _NEWLINK, raw_netlink.ACK, head + body
    if found.up and not found.carrier:
        yield (
            _NEWLINK,
            raw_netlink.ACK,
            _IFINFO.pack(0, 0, found.index, 0, 0) + raw_netlink.attribute(_IFLA_CARRIER, b"\1"),
        )


def _attributes(step: PlugTap, found: Link, wrong: set[str]) -> Iterator[Message]:
    """The port's own attributes; one that has just become a port has the kernel's."""
    fresh = found.master != step.bridge
    values = {number: value for number, (name, value, _) in port_plan.SETTINGS.items() if name in wrong and not fresh}
    if "isolation" in wrong or (fresh and step.isolated):
        values[port_plan.ISOLATED] = int(step.isolated)
    if values:
        yield _port(found, values)


def _port(found: Link, values: dict[int, int]) -> Message:
    forms = {number: form for number, (_, _, form) in port_plan.SETTINGS.items()}
    data = b"".join(
        raw_netlink.attribute(one, struct.pack(forms.get(one, "=B"), value)) for one, value in values.items()
    )
    info = raw_netlink.attribute(_SLAVE_KIND, b"bridge\0") + raw_netlink.attribute(_SLAVE_DATA, data)
    return (
        _NEWLINK,
        raw_netlink.ACK,
        _IFINFO.pack(0, 0, found.index, 0, 0) + raw_netlink.attribute(_IFLA_LINKINFO, info),
    )


def _removals(found: Link) -> Iterator[Message]:
    """The removal of its own addresses, and of forwarding entries for other MACs."""
    for address in found.addresses:
        text, _, length = address.partition("/")
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        raw = raw_netlink.attribute(2, socket.inet_pton(family, text))
        yield _DELADDR, 0, _IFADDR.pack(family, int(length), 0, 0, found.index) + raw
    for mac in found.strays:
        head = _NDMSG.pack(_BRIDGE_FAMILY, found.index, 0, _NTF_MASTER, 0)
        yield _DELNEIGH, 0, head + raw_netlink.attribute(2, bytes.fromhex(mac.replace(":", "")))
