"""The files in which a network notes what was made and loaded for it."""

from kvmrun.model.network.network import Network
from kvmrun.model.paths import Paths


def taps_record(where: Paths, network: Network) -> str:
    """The file that says which taps were made to stay, and for whom."""
    return f"{where.network(network.name)}/taps"


def rules_record(where: Paths, network: Network) -> str:
    """The file that says which rules were loaded last."""
    return f"{where.network(network.name)}/rules"


def guard_record(where: Paths, network: Network) -> str:
    """The same for the guard of the taps that are kept on it."""
    return f"{where.network(network.name)}/guard"


def resolution_record(where: Paths, network: Network) -> str:
    """The file that says that systemd-resolved was told of the network, or why it could not be."""
    return f"{where.network(network.name)}/resolution"
