"""A network as it was brought up, kept in the run directory: what is ours is known by this, never derived anew."""

from collections.abc import Mapping
from typing import Any, Literal

from kvmrun.model.network.network import Network, Uplink, Upstream
from kvmrun.model.value import EMPTY, Value

SCHEMA = 1


class NetworkRecord(Value):
    """`lab` is the lab's resolved directory, `mac` that of the bridge; `uid` and `log_uid` are the accounts of dnsmasq
    and its logger, and `config` is the file dnsmasq was started with. `device` is the bridge as the kernel numbers it,
    "" before it is made: by that it is known whatever it is called, and whatever became of its mark.
    """

    lab: str
    network: Network
    uplinks: Mapping[str, Uplink] = EMPTY
    firewall: Literal["nftables", "shorewall", "none"] = "nftables"
    mac: str
    uid: int
    log_uid: int
    config: str
    device: str = ""

    def to_json(self) -> dict[str, Any]:
        """What config.recorded reads."""
        plain = {key: value for key, value in self.__dict__.items() if key not in {"network", "uplinks"}}
        uplinks = {name: table(one) for name, one in self.uplinks.items()}
        return {
            "schema": SCHEMA,
            **plain,
            "name": self.network.name,
            "network": table(self.network),
            "uplinks": uplinks,
        }


def table(value: Value) -> dict[str, Any]:
    """The value as a table of networks.toml, every key written out; what it is called is not a key of it."""
    found = {}
    for key in value.FIELDS:
        one = value.__dict__[key]
        if one is None and value.DEFAULTS.get(key) is not None:
            found[key] = False  # a key that is switched off
        elif one is not None and key != "name":
            found[key] = _plain(one)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Upstream):
        return list(map(str, value)) or "host"
    if isinstance(value, Value):
        return str(value) if hasattr(value, "parse") else table(value)
    if isinstance(value, tuple):
        return list(map(_plain, value))
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value if isinstance(value, bool) or type(value) is int else str(value)
