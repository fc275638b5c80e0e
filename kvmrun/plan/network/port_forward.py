"""Ports of the host that lead to guests, and who of the host listens on them as well."""

from collections.abc import Iterable, Iterator

from kvmrun.model.network.network import Network
from kvmrun.plan.host_facts import PortOwner
from kvmrun.plan.network.nft_network import SERVED


def hidden_listeners(network: Network, owners: Iterable[PortOwner]) -> Iterator[tuple[str, str]]:
    """A sentence, and its fix, for each of `owners` that a port forward of `network` takes its port from."""
    found = list(owners)
    for one in network.forward:
        here = [
            owner for owner in found if (owner.protocol, owner.port) == (one.protocol, one.port) and _is_open(owner)
        ]
        for owner in {other.process: other for other in here}.values():
            at = f"{one.protocol} {f'127.0.0.1:{one.port}' if _is_local(owner) else one.port}"
            others = "nobody on this host" if _is_local(owner) else "nobody outside"
            text = f"{at} leads to {one.guest}, and {others} reaches {owner.process} there"
            who = f"ss -lnp 'sport = :{one.port}' shows who listens"
            yield text, f"another port in forward of network.{network.name}; {who}"


def _is_open(owner: PortOwner) -> bool:
    """Whether it listens where the port leads to the guest: of the loopback, that is 127.0.0.1 alone."""
    if owner.address == "::1" or (owner.address.startswith("127.") and owner.address != "127.0.0.1"):
        return False
    return owner.port not in SERVED if _is_local(owner) else True


def _is_local(owner: PortOwner) -> bool:
    """Whether it listens for this host alone."""
    return owner.address == "127.0.0.1" or owner.link == "lo"
