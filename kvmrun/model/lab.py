"""A lab: everything one directory of definitions says, and what is wrong with it."""

from kvmrun.light.abc import Iterable, Mapping
from kvmrun.light.ipaddress import IPv4Address
from kvmrun.light.typing import Literal
from kvmrun.model import derive
from kvmrun.model.frozen import EMPTY, Frozen
from kvmrun.model.guest import Guest
from kvmrun.model.network import Network, Uplink
from kvmrun.model.nic import Nic, Port
from kvmrun.model.place import Directories, Place


class Problem(Frozen):
    """One thing wrong in one file: the key, what was found there and what is wanted. `warning` costs nothing yet."""

    file: str
    key: str
    found: str
    wanted: str
    warning: bool = False

    def __str__(self) -> str:
        found = f"found {self.found}; " if self.found else ""
        return f"{self.file}: {f'{self.key}: ' if self.key else ''}{found}wanted {self.wanted}"


_known: list[tuple[tuple[object, ...], Mapping[str, tuple[Port, ...]]]] = []
"""What the ports were derived from last, and these: a start asks for them a dozen times."""


class Lab(Frozen):
    """The guests and networks of one directory. `invalid` names the guests whose files have errors."""

    directory: str
    seed: str = ""
    firewall: Literal["nftables", "shorewall", "none"] = "nftables"
    uplinks: Mapping[str, Uplink] = EMPTY
    networks: Mapping[str, Network] = EMPTY
    guests: Mapping[str, Guest] = EMPTY
    invalid: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def ports(self) -> Mapping[str, tuple[Port, ...]]:
        """The ports of every guest. Addresses given by hand come first, then names in order probe upward.

        A lab reduced to some of its networks has the ports on those, with the same names, MACs and addresses.
        """
        basis = (self.guests, self.networks, self.seed)
        for known, ports in _known:
            if all(one is other for one, other in zip(known, basis, strict=True)):
                return ports
        ports = self._ports()
        _known[:] = [(basis, ports)]
        return ports

    def _ports(self) -> dict[str, tuple[Port, ...]]:
        taken = {name: set(_given(self.guests.values(), name)) for name in self.networks}
        ports = {}
        for name in sorted(self.guests):
            guest = self.guests[name]
            named = zip(nic_names(guest.nic), guest.nic, strict=True)
            ports[name] = tuple(self._port(name, nic, key, taken) for key, nic in named if nic.network in taken)
        return ports

    def places(self, where: Directories) -> dict[str, Place]:
        """The place of every guest below `where`."""
        return {
            name: Place(
                guest=name,
                uuid=self.guests[name].uuid or derive.uuid(self.seed, name),
                directory=where.guest(name),
                log=where.log(name),
                ports=ports,
                uid=derive.uid(self.seed, name) if where.root else None,
                log_uid=derive.uid(self.seed, name, "log") if where.root else None,
            )
            for name, ports in self.ports().items()
        }

    def _port(self, guest: str, nic: Nic, name: str, taken: Mapping[str, set[IPv4Address]]) -> Port:
        network = self.networks[nic.network]
        address = nic.address
        if address is None and not network.external:
            free = network.candidates(derive.number(self.seed, guest, name))
            address = next((one for one in free if one not in taken[network.name]), None)
            if address:
                taken[network.name].add(address)
        return Port(
            name=name,
            network=network.name,
            bridge=network.bridge,
            tap=derive.tap(guest, name, first=name == nic_names(self.guests[guest].nic)[0]),
            mac=nic.mac or derive.mac(self.seed, guest, name),
            address=str(address) if address else None,
            model=nic.model,
            queues=nic.queues,
            mtu=network.mtu,
            isolated=network.isolate,
            guard=nic.guard or network.guard,
            forwarding=nic.forwarding,
            serves=nic.serves,
            subnet="" if network.external else str(network.subnet),
            bridge_mac="" if network.external else derive.mac(self.seed, "bridge", network.bridge),
            prefix6=str(network.ipv6 or ""),
            hosts6=self._hosts6(network),
        )

    def _hosts6(self, network: Network) -> tuple[str, ...]:
        """The IPv6 addresses of the network's bridge."""
        if network.ipv6 is None:
            return ()
        return str(network.ipv6[1]), derive.link_local(derive.mac(self.seed, "bridge", network.bridge))


def nic_names(nics: tuple[Nic, ...]) -> tuple[str, ...]:
    """The names of a guest's cards: as given, else eth0, eth1, … by position."""
    return tuple(nic.name or f"eth{number}" for number, nic in enumerate(nics))


def _given(guests: Iterable[Guest], network: str) -> Iterable[IPv4Address]:
    return (nic.address for guest in guests for nic in guest.nic if nic.network == network and nic.address)
