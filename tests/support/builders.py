"""What tests make again and again, one way each: definitions in a directory, and the same things as values."""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from kvmrun.config.lab_host import LabHost
from kvmrun.config.load_lab import load_lab
from kvmrun.config.toml_values import Converter
from kvmrun.model import derive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import Port
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.scalars import GuestName, NicName, PathBase
from kvmrun.monitor.guest_socket import GuestSocket
from kvmrun.plan.host_facts import Bridge

TCG = 'accel = "tcg"\nmemory = "32M"\n'
"""The definition of a guest with nothing to boot that starts anywhere: emulated, small, on the usual network."""
ALONE = TCG + "nic = []\n"
"""The same without a network."""
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
"""Whatever a program may find in a file of JSON."""


def guests(lab: Path, *names: str, text: str = TCG) -> None:
    """Write the same definition for each of `names`."""
    for name in names:
        (lab / f"{name}.toml").write_text(text)


def loaded_lab(directory: Path, networks: str | None = None, **files: str) -> Lab:
    """The lab of these definitions, which are written; each is named without its suffix, "_" for "-"."""
    for stem, text in {**({} if networks is None else {"networks": networks}), **files}.items():
        guests(directory, stem.replace("_", "-"), text=text)
    return load_lab(str(directory), "/images", host=LabHost(name="laptop"))


def network(name: str = "lan", **keys: Any) -> Network:
    return Network(name=NicName(name), **keys)


LAN = network()
BRIDGE = Bridge(
    kind="bridge",
    alias="kvmrun:net:lan",
    mac=derive.mac("", "bridge", "br0"),
    addresses=("192.168.0.254/24",),
    up=True,
    mtu=1500,
)
"""The bridge of `LAN` as it is to be found."""
PORT = Port(name="eth0", network="lan", bridge="br0", tap="tap-vm1", mac="52:54:00:00:00:01", address="192.168.0.1")
"""The only NIC of vm1."""
RECORD = Record(name="vm1", uuid="u", accel="tcg", cpus=1, memory=1 << 25, ports=(), pid=7)
"""What is recorded of a small guest without a network."""


def guest(name: str = "vm1", **keys: Any) -> Guest:
    return Guest(name=GuestName(name), **keys)


def defined_guest(**table: object) -> Guest:
    """The guest vm1 by the keys of a definition, which must be right."""
    found = Converter("vm1.toml", PathBase(directory="/lab", images="/i")).convert(Guest, table, name=GuestName("vm1"))
    assert isinstance(found, Guest)
    return found


def lab_of(*guests: Guest, **keys: Any) -> Lab:
    """A lab of these guests on `LAN`."""
    known = {"directory": "/lab", "networks": {"lan": LAN}} | keys
    return Lab(guests={one.name: one for one in guests}, **known)


def own_socket(path: str, guest: str = "vm2") -> GuestSocket:
    """The socket of a guest that the test itself serves: only the account of the test may listen on it."""
    return GuestSocket(path=path, guest=guest, accounts=lambda: ())
