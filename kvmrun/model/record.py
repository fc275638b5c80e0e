"""What was launched, as kept in the run directory. A hint for people: never a reason to kill or to start."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kvmrun.model.nic import Port

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """The guest as it was started. `pid` 0 and `started` 0 until QEMU has answered; `started` in clock ticks."""

    name: str
    uuid: str
    accel: str
    cpus: int
    memory: int
    ports: tuple[Port, ...]
    raw: tuple[str, ...] = ()
    pid: int = 0
    started: int = 0
    boot: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA} | asdict(self)


def from_json(data: object) -> Record | None:
    """The record in `data`, or None when it is not one. Fields of a later schema are passed over."""
    if not isinstance(data, Mapping):
        return None
    known = {key: value for key, value in data.items() if key in Record.__dataclass_fields__}
    try:
        ports = tuple(_port(port) for port in known.pop("ports"))
        known["raw"] = tuple(str(word) for word in known.get("raw", ()))
        record = Record(**known, ports=ports)
    except (KeyError, TypeError, ValueError):
        return None
    numbers = (record.cpus, record.memory, record.pid, record.started)
    words = (record.name, record.uuid, record.accel, record.boot)
    right = all(type(n) is int and n >= 0 for n in numbers) and all(type(w) is str for w in words)
    return record if right else None


def _port(data: Mapping[str, Any]) -> Port:
    port = Port(**{key: value for key, value in data.items() if key in Port.__dataclass_fields__})
    words = (port.name, port.network, port.bridge, port.tap, port.mac, port.address or "")
    if not all(type(word) is str for word in words):
        raise ValueError("not a port")
    return port
