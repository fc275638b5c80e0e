"""Routes of a lab to what is behind its guests: each leads through a guest that may route."""

from collections.abc import Iterator
from ipaddress import IPv4Address

from kvmrun.config.standard_paths import NETWORKS
from kvmrun.model.lab import Lab, Problem
from kvmrun.model.network.network import Network
from kvmrun.model.network.routed_subnet import Behind


def routed_subnet_problems(lab: Lab, stems: list[str]) -> Iterator[Problem]:
    """A route leads through a guest whose guard lets it route, or through an address of the subnet."""
    for network in lab.networks.values():
        for number, one in enumerate(network.routes):
            key = f"network.{network.name}.routes[{number}]"
            if one.via[:1].isdigit() and "." in one.via:
                yield from _by_address(lab, network, key, one)
                continue
            if one.via not in stems:
                yield _of_networks(key, one.via, "a guest of this lab, or an address of the network")
            elif one.via in lab.guests:
                here = [nic for nic in lab.guests[one.via].nic if nic.network == network.name]
                if not any(nic.forwarding for nic in here):
                    yield _of_networks(key, one.via, f"a guest with forwarding = true on its NIC on {network.name}")


def _by_address(lab: Lab, network: Network, key: str, one: Behind) -> Iterator[Problem]:
    try:
        inside = IPv4Address(one.via) in network.subnet
    except ValueError:
        inside = False
    if not inside:
        yield _of_networks(key, one.via, f"an address inside {network.subnet}")
        return
    ports = [port for here in lab.ports().values() for port in here if port.network == network.name]
    if any(port.address == one.via and not port.forwarding for port in ports):
        yield _of_networks(key, one.via, "the address of a NIC with forwarding = true")


def _of_networks(key: str, found: str, wanted: str) -> Problem:
    return Problem(file=NETWORKS, key=key, found=found, wanted=wanted)
