"""What was launched, as kept in the run directory. A hint for people: never a reason to kill or to start."""

from kvmrun.light.abc import Mapping
from kvmrun.light.typing import Any
from kvmrun.model.frozen import Frozen
from kvmrun.model.nic import Port

SCHEMA = 1


class Record(Frozen):
    """The guest as it was started, `paused` when that was asked for; `display` is where a viewer finds it.

    `pid` 0 and `started` 0 until QEMU has answered; `started` in clock ticks. `said` is how long its log was before.
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
    after: tuple[str, ...] = ()
    display: str = ""
    said: int = 0
    pid: int = 0
    started: int = 0
    boot: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA} | self.as_dict()


def from_json(data: object) -> Record | None:
    """The record in `data`, or None when it is not one. Fields of a later schema are passed over."""
    if not isinstance(data, Mapping):
        return None
    known = {key: value for key, value in data.items() if key in Record.FIELDS}
    try:
        ports = tuple(_port(port) for port in _list(known.pop("ports")))
        raw = tuple(_list(known.pop("raw", ())))
        after = tuple(_list(known.pop("after", ())))
        record = Record(**known, ports=ports, raw=raw, after=after)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    numbers = (record.cpus, record.memory, record.pid, record.started, record.said)
    words = (record.name, record.uuid, record.accel, record.boot, record.display, *record.raw, *record.after)
    right = all(type(n) is int and n >= 0 for n in numbers) and all(type(w) is str for w in words)
    right = right and type(record.protect) is bool
    return record if right else None


def _list(data: object) -> list[Any] | tuple[Any, ...]:
    if isinstance(data, list | tuple):
        return data
    raise ValueError("not a list")


def _port(data: Mapping[str, Any]) -> Port:
    known = {key: value for key, value in data.items() if key in Port.FIELDS}
    lists = {key: tuple(_list(known.get(key, ()))) for key in ("hosts6", "serves")}
    port = Port(**known | lists)
    words: tuple[object, ...] = (port.name, port.network, port.bridge, port.tap, port.mac, port.model)
    words += (port.guard, port.prefix6, *port.hosts6, *port.serves, port.subnet, port.bridge_mac)
    words += () if port.address is None else (port.address,)
    if not all(type(word) is str for word in words) or not all(type(n) is int for n in (port.queues, port.mtu)):
        raise ValueError("not a port")
    return port
