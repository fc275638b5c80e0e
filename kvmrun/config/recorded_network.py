"""The record of a network, read back by the same rules as a definition."""

from collections.abc import Mapping
from typing import Any

from kvmrun.config.toml_values import Converter
from kvmrun.model.network.network import Network, Uplink
from kvmrun.model.network.network_record import NetworkRecord
from kvmrun.model.scalars import PathBase
from kvmrun.model.value import Value

_BASE = PathBase(directory="/", images="/")


def network_from_json(data: object) -> NetworkRecord | None:
    """The record in `data`, or None when it is not one. Keys of a later version are passed over."""
    if not isinstance(data, Mapping):
        return None
    known = {key: value for key, value in data.items() if key in NetworkRecord.FIELDS}
    try:
        network = _read(Network, known.pop("network"), data["name"])
        uplinks = {name: _read(Uplink, one, name) for name, one in known.pop("uplinks", {}).items()}
        record = NetworkRecord(**known, network=network, uplinks=uplinks)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    words = (record.lab, record.firewall, record.mac, record.config, record.device)
    numbers = (record.uid, record.log_uid)
    right = all(type(one) is str for one in words) and all(type(one) is int and one >= 0 for one in numbers)
    return record if right and record.firewall in {"nftables", "shorewall", "none"} else None


def _read(kind: type[Value], data: Mapping[str, Any], name: object) -> Any:
    """Raises ValueError for what no definition could say."""
    file = Converter("record", _BASE)
    found = file.convert(
        kind, {key: one for key, one in data.items() if key in kind.FIELDS}, name=kind.FIELDS["name"].parse(name)
    )
    if found is None or list(found.problems()):
        raise ValueError("not a definition")
    return found
