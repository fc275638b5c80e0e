"""The record of a network survives its round trip, whatever the definition says; anything else is no record."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import JSON_VALUES

from kvmrun.config.networks_file import convert_networks
from kvmrun.config.recorded_network import network_from_json
from kvmrun.config.toml_values import Converter
from kvmrun.model.network.network_record import NetworkRecord
from kvmrun.model.scalars import PathBase

KEYS: dict[str, list[Any]] = {
    "bridge": ["br0", "virbr-x"],
    "subnet": ["192.168.0.0/24", "10.0.0.0/8"],
    "host": ["192.168.0.1"],
    "domain": ["lan", "lab.example"],
    "dhcp": [
        True,
        False,
        {"pool": "192.168.0.200-192.168.0.210", "lease": "30m", "options": {"42": "10.0.0.1", "19": ""}},
    ],
    "dns": [True, False, {"upstream": "host"}, {"upstream": ["9.9.9.9", "1.1.1.1"], "search": "a.b"}],
    "nat": [True, False, ["wan"]],
    "uplink": ["wan"],
    "policy": ["private", "open"],
    "guard": ["none", "mac", "address"],
    "isolate": [True, False],
    "external": [True, False],
    "mtu": [1500, 9000],
    "ipv6": ["fd00:77::/64"],
    "forward": [[], ["tcp 8080 -> vm1:80", "udp 53 -> vm2:5353"]],
}
UPLINKS = [{"interface": "wan0"}, {"interface": "wan0", "gateway": "10.0.0.1"}, {"interface": "wan0", "table": 7}]
tables = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in KEYS.items()})


def record(table: dict[str, Any], uplink: dict[str, Any]) -> NetworkRecord | None:
    """A record of the network that `table` defines, None where it defines none."""
    file = Converter("networks.toml", PathBase(directory="/", images="/"))
    found = convert_networks(file, {"network": {"lan": table}, "uplink": {"wan": uplink}})
    if "lan" not in found.network:
        return None
    return NetworkRecord(
        lab="/lab",
        network=found.network["lan"],
        uplinks=found.uplink,
        mac="52:54:00:00:00:01",
        uid=1,
        log_uid=2,
        config="/c",
    )


@given(tables, st.sampled_from(UPLINKS))
def test_a_record_is_read_as_it_was_written(table: dict[str, Any], uplink: dict[str, Any]) -> None:
    one = record(table, uplink)
    assert one is None or network_from_json(json.loads(json.dumps(one.to_json()))) == one


ONE = record({}, {"interface": "wan0"})
assert ONE is not None
DATA = ONE.to_json()


def test_what_a_later_version_wrote_is_passed_over() -> None:
    assert network_from_json(DATA | {"colour": "blue", "network": DATA["network"] | {"vlan": 5}}) == ONE


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {key: value}
            for key in ("lab", "mac", "uid", "log_uid", "config", "name", "network", "uplinks", "firewall")
            for value in (None, 7.5, [], "~")
        ),
        {"uid": -1},
        {"network": {"subnet": "300.0.0.0/24"}},
        {"network": {"forward": ["x"]}},
    ],
    ids=str,
)
def test_a_wrong_value_anywhere_is_no_record(changes: dict[str, Any]) -> None:
    found = network_from_json(DATA | changes)
    assert found is None or found.to_json() == DATA | changes


@given(st.sampled_from(sorted(DATA)), JSON_VALUES)
def test_any_value_anywhere_is_a_record_or_none(field: str, value: object) -> None:
    network_from_json(DATA | {field: value})
