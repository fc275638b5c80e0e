"""What was launched, as kept in the run directory. A hint for people: never a reason to kill or to start."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from kvmrun.model.guest.nic import Port
from kvmrun.model.network.network import Uplink
from kvmrun.model.network.network_record import table
from kvmrun.model.scalars import DIGITS, LinkName, Mac, NicName, UplinkName, consists_of
from kvmrun.model.value import Value

SCHEMA = 1
_ADDRESS = DIGITS | frozenset("abcdef:./")


class Record(Value):
    """The guest as it was started, `paused` when that was asked for; `display` is where a viewer finds it.

    `throwaway` says that nothing is written to its images.

    `pid` 0 and `started` 0 until QEMU has answered; `started` in clock ticks. `said` is how long its log was before.
    `lab` is the resolved directory of its lab, "" in a record of 0.1.0; `uplink` the one it was told to leave by.
    """

    name: str
    uuid: str
    accel: str
    cpus: int
    memory: int
    ports: tuple[Port, ...]
    raw: tuple[str, ...] = ()
    paused: bool = False
    protect: bool = False
    throwaway: bool = False
    after: tuple[str, ...] = ()
    display: str = ""
    said: int = 0
    pid: int = 0
    started: int = 0
    boot: str = ""
    lab: str = ""
    uplink: Uplink | None = None
    tpm: bool = False

    def to_json(self) -> dict[str, Any]:
        uplink = {"name": self.uplink.name, **table(self.uplink)} if self.uplink else None
        return {"schema": SCHEMA} | self.replace(uplink=None).as_dict() | {"uplink": uplink}


def record_from_json(data: object) -> Record | None:
    """The record in `data`, or None when it is not one. Fields of a later schema are passed over."""
    if not isinstance(data, Mapping):
        return None
    known = {key: value for key, value in data.items() if key in Record.FIELDS}
    try:
        ports = tuple(_port(port) for port in _list(known.pop("ports")))
        raw = tuple(_list(known.pop("raw", ())))
        after = tuple(_list(known.pop("after", ())))
        uplink = _uplink(known.pop("uplink", None))
        record = Record(**known, ports=ports, raw=raw, after=after, uplink=uplink)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    numbers = (record.cpus, record.memory, record.pid, record.started, record.said)
    words = (record.name, record.uuid, record.accel, record.boot, record.display, *record.raw, *record.after)
    words += (record.lab,)
    right = all(type(n) is int and n >= 0 for n in numbers) and all(type(w) is str for w in words)
    right = right and all(type(one) is bool for one in (record.protect, record.throwaway, record.tpm))
    return record if right else None


def _list(data: object) -> list[Any] | tuple[Any, ...]:
    if isinstance(data, list | tuple):
        return data
    raise ValueError("not a list")


def _uplink(data: object) -> Uplink | None:
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise ValueError("not an uplink")
    gateway, number = data.get("gateway"), data.get("table")
    if number is not None and type(number) is not int:
        raise ValueError("not a table")
    uplink = Uplink(
        name=UplinkName.parse(data["name"]),
        interface=LinkName.parse(data["interface"]),
        gateway=IPv4Address(gateway) if gateway is not None else None,
        table=number,
    )
    if list(uplink.problems()):
        raise ValueError("not an uplink")
    return uplink


def _port(data: Mapping[str, Any]) -> Port:
    known = {key: value for key, value in data.items() if key in Port.FIELDS}
    lists = {key: tuple(_list(known.get(key, ()))) for key in ("hosts6", "serves")}
    port = Port(**known | lists)
    words: tuple[object, ...] = (port.name, port.network, port.bridge, port.tap, port.mac, port.model)
    words += (port.guard, port.prefix6, port.lab, *port.hosts6, *port.serves, port.subnet, port.bridge_mac)
    words += () if port.address is None else (port.address,)
    if not all(type(word) is str for word in words) or not all(type(n) is int for n in (port.queues, port.mtu)):
        raise ValueError("not a port")
    _check(port)
    return port


def _check(port: Port) -> None:
    """Raises ValueError for what no port of ours has: rules and dnsmasq's files are made of these words."""
    for name in (port.name, port.network):
        NicName.parse(name)
    for link in (port.bridge, port.tap):
        LinkName.parse(link.replace("~", "-"))  # stands in the tap's name where the guest's own is too long for one
    Mac.parse(port.mac)
    if port.address is not None:
        IPv4Address(port.address)
    if not all(
        consists_of(word, _ADDRESS, 50) for word in (port.prefix6, port.subnet, port.bridge_mac, *port.hosts6) if word
    ):
        raise ValueError("not an address")
    if port.guard not in {"none", "mac", "address"} or not port.lab.isprintable():
        raise ValueError("not a port")
