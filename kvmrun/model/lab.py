"""A lab: everything one directory of definitions says, and what is wrong with it."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Literal

from kvmrun.model import derive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.nic import Nic, Port
from kvmrun.model.in_force import InForce
from kvmrun.model.network.network import Network, Uplink
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.value import EMPTY, Value


class Problem(Value):
    """One thing wrong in one file: the key, what was found there and what it must be, or a sentence of its own.

    A `warning` costs nothing yet. `follows` marks a consequence of an error in another file.
    """

    file: str
    key: str
    found: str
    wanted: str
    warning: bool = False
    text: str = ""
    follows: bool = False

    def __str__(self) -> str:
        if self.text:
            return ": ".join(filter(None, (self.file, self.key, self.text)))
        found = f"found {self.found}, " if self.found else ""
        return ": ".join(filter(None, (self.file, self.key, f"{found}expected {self.wanted}")))


_known: list[tuple[tuple[object, ...], Mapping[str, tuple[Port, ...]]]] = []
"""What the ports were derived from last, and these: a start asks for them a dozen times."""


class Lab(Value):
    """The guests and networks of one directory. `invalid` names the guests whose files have errors. `sources` says of
    each guest where its memory and its processors come from.

    `identity` is the directory with every link resolved, "" where nobody asks. `now` is what runs and what was done,
    which plan.in_force adds: ports, places and uplinks are then those of running guests as they were started.
    """

    directory: str
    seed: str = ""
    firewall: Literal["nftables", "shorewall", "none"] = "nftables"
    uplinks: Mapping[str, Uplink] = EMPTY
    networks: Mapping[str, Network] = EMPTY
    guests: Mapping[str, Guest] = EMPTY
    sources: Mapping[str, Mapping[str, str]] = EMPTY
    invalid: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    identity: str = ""
    now: InForce = InForce()

    def has_broken_networks(self) -> bool:
        """Whether networks.toml has errors: what it no longer seems to define may be defined there all the same."""
        return any(problem.file == "networks.toml" and not problem.warning for problem in self.problems)

    def ports(self) -> Mapping[str, tuple[Port, ...]]:
        """The ports of every guest: of those that run as they were started, of all others as they are defined.

        What a running guest has is taken. Then come addresses given by hand, then names in order probe upward.
        A lab reduced to some of its networks has the ports on those, with the same names, MACs and addresses.
        """
        basis = (self.guests, self.networks, self.seed, self.identity, self.now)
        for known, ports in _known:
            if all(one is other for one, other in zip(known, basis, strict=True)):
                return ports
        ports = self._ports()
        _known[:] = [(basis, ports)]
        return ports

    def _ports(self) -> dict[str, tuple[Port, ...]]:
        taken = {name: set(_given(self.guests.values(), name)) | self.now.taken(name) for name in self.networks}
        ports = {
            name: tuple(self._current(name, port, taken) for port in self.now.running[name].ports)
            for name in sorted(self.now.running)
        }
        for name in sorted(self.guests.keys() - ports.keys()):
            guest = self.guests[name]
            named = zip(nic_names(guest.nic), guest.nic, strict=True)
            ports[name] = tuple(self._port(name, nic, key, taken) for key, nic in named if nic.network in taken)
        return ports

    def _current(self, guest: str, port: Port, taken: Mapping[str, set[IPv4Address]]) -> Port:
        """The port of a running guest. A network that was begun anew meanwhile may have another bridge or subnet."""
        network = self.networks.get(port.network)
        if network is None or network.external:
            return port
        port = port.replace(
            bridge=network.bridge,
            mtu=network.mtu,
            isolated=network.isolate,
            subnet=str(network.subnet),
            bridge_mac=self.bridge_mac(network),
            prefix6=str(network.ipv6 or ""),
            hosts6=self._hosts6(network),
        )
        if port.address is None or IPv4Address(port.address) in network.subnet:
            return port
        given = self._defined(guest, port.name)
        wanted = given.address if given and given.network == network.name else None
        return port.replace(address=str(wanted) if wanted else self._free(guest, port.name, network, taken))

    def _defined(self, guest: str, name: str) -> Nic | None:
        nics = self.guests[guest].nic if guest in self.guests else ()
        return dict(zip(nic_names(nics), nics, strict=True)).get(name)

    def _free(self, guest: str, name: str, network: Network, taken: Mapping[str, set[IPv4Address]]) -> str | None:
        """The first free address from where the search of this NIC begins, which is taken then."""
        free = network.candidates(derive.address_offset(self.seed, guest, name))
        address = next((one for one in free if one not in taken[network.name]), None)
        if address:
            taken[network.name].add(address)
        return str(address) if address else None

    def derived_runtimes(self, where: Paths) -> dict[str, GuestRuntime]:
        """The runtime of every guest below `where`, as it follows from the lab alone."""
        return {
            name: GuestRuntime(
                guest=name,
                uuid=self.uuid(name),
                directory=where.guest(name),
                log=where.log(name),
                ports=ports,
                uid=derive.uid(self.seed, name) if where.root else None,
                log_uid=derive.uid(self.seed, name, "log") if where.root else None,
                lab=self.identity,
                state=where.guest_state(name),
            )
            for name, ports in self.ports().items()
        }

    def uuid(self, guest: str) -> str:
        """The UUID of a guest: as it was started with, as it is given, or as it follows from the name."""
        if guest in self.now.running:
            return self.now.running[guest].uuid
        given = self.guests[guest].uuid if guest in self.guests else None
        return given or derive.uuid(self.seed, guest)

    def uplink_of(self, guest: str) -> str:
        """The uplink a guest is to leave by: the one it was started with, or that of its definition; "" for none."""
        record = self.now.running.get(guest)
        if record is not None and record.lab:  # 0.1.0 recorded none
            return record.uplink.name if record.uplink else ""
        return (self.guests[guest].uplink if guest in self.guests else None) or ""

    def as_up(self, network: Network) -> Network:
        """The network as it was brought up; one that is down as it is."""
        return self.now.up[network.name].network if network.name in self.now.up else network

    def dnsmasq_uid(self, network: str) -> int:
        """The account that dnsmasq of a network runs as: as it was brought up, or as it follows from the name."""
        record = self.now.up.get(network)
        return record.uid if record else derive.uid(self.seed, "net", network)

    def bridge_mac(self, network: Network) -> str:
        """The MAC of the network's bridge: as it was brought up with, or as it follows from the bridge's name."""
        record = self.now.up.get(network.name)
        if record is not None and record.network.bridge == network.bridge:
            return record.mac
        return derive.mac(self.seed, "bridge", network.bridge)

    def holder(self, guest: str, nic: Nic, name: str) -> str:
        """The running guest that has the address or the MAC which this NIC of another guest is given; "" for none."""
        mac = nic.mac or derive.mac(self.seed, guest, name)
        return next((other for other, port in self._held() if other != guest and _is_taken(nic, mac, port)), "")

    def _held(self) -> Iterator[tuple[str, Port]]:
        for other, record in self.now.running.items():
            yield from ((other, port) for port in record.ports)

    def _port(self, guest: str, nic: Nic, name: str, taken: Mapping[str, set[IPv4Address]]) -> Port:
        network = self.networks[nic.network]
        address = str(nic.address) if nic.address else None
        if self.now.running and self.holder(guest, nic, name):
            address = None  # that guest has it until it ends
        elif address is None and not network.external:
            address = self._free(guest, name, network, taken)
        return Port(
            name=name,
            network=network.name,
            bridge=network.bridge,
            tap=derive.tap(guest, name, first=name == nic_names(self.guests[guest].nic)[0]),
            mac=nic.mac or derive.mac(self.seed, guest, name),
            address=address,
            model=nic.model,
            queues=nic.queues,
            mtu=network.mtu,
            isolated=network.isolate,
            guard=nic.guard or network.guard,
            forwarding=nic.forwarding,
            serves=nic.serves,
            subnet="" if network.external else str(network.subnet),
            bridge_mac="" if network.external else self.bridge_mac(network),
            prefix6=str(network.ipv6 or ""),
            hosts6=self._hosts6(network),
            lab=self.identity,
        )

    def _hosts6(self, network: Network) -> tuple[str, ...]:
        """The IPv6 addresses of the network's bridge."""
        if network.ipv6 is None:
            return ()
        return str(network.ipv6[1]), derive.link_local(self.bridge_mac(network))


def nic_names(nics: tuple[Nic, ...]) -> tuple[str, ...]:
    """The names of a guest's NICs: as given, else eth0, eth1, … by position."""
    return tuple(nic.name or f"eth{number}" for number, nic in enumerate(nics))


def _is_taken(nic: Nic, mac: str, port: Port) -> bool:
    """Whether a port of a running guest has what the NIC is to have."""
    return nic.network == port.network and (
        port.mac == mac or (nic.address is not None and str(nic.address) == port.address)
    )


def _given(guests: Iterable[Guest], network: str) -> Iterable[IPv4Address]:
    return (nic.address for guest in guests for nic in guest.nic if nic.network == network and nic.address)
