"""What runs and what was done: the facts that definitions alone do not tell."""

from collections.abc import Mapping
from ipaddress import IPv4Address

from kvmrun.model.guest.launch_record import Record
from kvmrun.model.network.network_record import NetworkRecord
from kvmrun.model.value import EMPTY, Value


class Pending(Value):
    """A definition that is not applied yet: the keys that differ from what is up, and the guests attached to it."""

    keys: tuple[str, ...]
    guests: tuple[str, ...]


class InForce(Value):
    """`running` are the lab's guests that run, as they were started, and `up` its networks as they were brought up.

    `pending` are networks whose definition waits for guests that are attached, `undefined` those that are up and no
    longer defined. `guests_elsewhere` and `networks_elsewhere` tell which other lab has that name now. `devices` tells
    which network a recorded bridge belongs to, "" for one of another lab.
    """

    running: Mapping[str, Record] = EMPTY
    up: Mapping[str, NetworkRecord] = EMPTY
    pending: Mapping[str, Pending] = EMPTY
    undefined: tuple[str, ...] = ()
    guests_elsewhere: Mapping[str, str] = EMPTY
    networks_elsewhere: Mapping[str, str] = EMPTY
    devices: Mapping[str, str] = EMPTY

    def taken(self, network: str) -> set[IPv4Address]:
        """The addresses that running guests have on a network."""
        ports = [port for record in self.running.values() for port in record.ports if port.network == network]
        return {IPv4Address(port.address) for port in ports if port.address}

    def without(self, guest: str) -> "InForce":
        """The same once `guest` has ended."""
        return self.replace(running={name: one for name, one in self.running.items() if name != guest})
