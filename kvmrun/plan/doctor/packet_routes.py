"""The way of a guest's packet to the world and of the answer back, as the kernel tells it: from the guest's side."""

from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.value import Value


class Trip(Value):
    """By which link and gateway a packet from `source` leaves, "" for none; and whether what comes back by that link is
    sent on to the bridge.
    """

    source: str
    link: str
    gateway: str
    answered: bool

    def __str__(self) -> str:
        return f"{self.link} via {self.gateway}" if self.gateway else self.link


def source(network: Network) -> str:
    """An address of the network that is no guest's of the lab in particular, to ask for all of them."""
    own, pool = network.host_address().ip, network.pool()
    return str(pool.first if network.dhcp else next(one for one in network.candidates(0) if one != own))


def problem(lab: Lab, network: Network, trip: Trip) -> tuple[str, str]:
    """What keeps guests from the world though the host has a way there, and the fix; ("", "") where nothing does."""
    named = [str(lab.uplinks[name].interface) for name in network.nat] if isinstance(network.nat, tuple) else []
    if not trip.link:
        return "", ""
    if named and trip.link not in named:
        text = f"guests leave by {', '.join(sorted(named))} alone (nat), and the world is reached through {trip}"
        return text, f"nat = true in network.{network.name}, or name an uplink on {trip.link} there"
    if not trip.answered:
        text = f"guests leave by {trip}, and what comes back by {trip.link} is not sent on to them"
        return text, f"kvmrun net up {network.name}; sysctl -w net.ipv4.conf.{trip.link}.rp_filter=2"
    return "", ""
