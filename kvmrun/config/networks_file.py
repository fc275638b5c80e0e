"""`networks.toml`: the networks of a lab and the ways out of the host."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from kvmrun.config.toml_values import Converter
from kvmrun.model.network.network import Network, Uplink
from kvmrun.model.printable import printable
from kvmrun.model.scalars import NicName, OneLine, UplinkName
from kvmrun.model.value import EMPTY, Value

T = TypeVar("T", bound=Value)


class NetworksFile(Value):
    """The whole file, its tables converted one by one so that one bad network costs only itself."""

    seed: OneLine = OneLine("")
    firewall: Literal["nftables", "shorewall", "none"] = "nftables"
    network: Mapping[str, Any] = EMPTY
    uplink: Mapping[str, Any] = EMPTY


def convert_networks(file: Converter, table: Mapping[str, Any]) -> NetworksFile:
    """The file with every good table converted; without any table of networks, the one of the original laptop."""
    whole: NetworksFile | None = file.convert(NetworksFile, table)
    if whole is None:
        return NetworksFile()
    networks = _tables(file, "network", Network, whole.network)
    for name in [name for name, network in networks.items() if _wrong(file, network)]:
        del networks[name]
    if not whole.network:
        networks["lan"] = Network(name=NicName("lan"))
    uplinks = _tables(file, "uplink", Uplink, whole.uplink)
    return whole.replace(network=networks, uplink={name: one for name, one in uplinks.items() if not _wrong(file, one)})


def _tables(file: Converter, head: str, kind: type[T], tables: Mapping[str, Any]) -> dict[str, T]:
    found = {}
    for name, given in tables.items():
        key = f"{head}.{printable(name, 40)}"
        # "ipv6 = false" says what holds without the key
        table = {k: v for k, v in given.items() if k != "ipv6" or v is not False} if isinstance(given, dict) else given
        try:
            right: str = UplinkName.parse(name) if kind is Uplink else NicName.parse(name)
        except ValueError as wanted:
            file.problem(key, name, str(wanted))
            continue
        if not isinstance(table, dict):
            file.problem(key, table, "a table")
        elif (value := file.convert(kind, table, key, name=right)) is not None:
            found[name] = value
    return found


def _wrong(file: Converter, table: Network | Uplink) -> bool:
    """Whether the keys of the table contradict each other; says how."""
    found = list(table.problems())
    head = "network" if isinstance(table, Network) else "uplink"
    for key, value, wanted in found:
        file.problem(f"{head}.{table.name}.{key}", value, wanted)
    return bool(found)
