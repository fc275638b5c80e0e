"""Ports of the host that lead to guests, and who of the host listens on them as well."""

from kvmrun.light.abc import Iterable, Iterator
from kvmrun.model.network import Network
from kvmrun.plan.facts import Owner


def hidden(network: Network, owners: Iterable[Owner]) -> Iterator[tuple[str, str]]:
    """A sentence, and its mend, for each of `owners` that a port forward of `network` takes its port from."""
    found = list(owners)
    for one in network.forward:
        here = [
            owner for owner in found if (owner.protocol, owner.port) == (one.protocol, one.port) and _is_open(owner)
        ]
        for owner in {other.process: other for other in here}.values():
            text = f"{one.protocol} {one.port} leads to {one.guest}, and nobody outside reaches {owner.process} there"
            who = f"ss -lnp 'sport = :{one.port}' shows who listens"
            yield text, f"another port in forward of network.{network.name}; {who}"


def _is_open(owner: Owner) -> bool:
    """Whether it listens for more than the host itself; what is sent to the loopback is not forwarded."""
    return not owner.address.startswith("127.") and owner.address != "::1" and owner.link != "lo"
