"""The guards of running guests: checked, restored where they are missing, and removed with the guest."""

import os
from collections.abc import Mapping

from kvmrun.host.firewall import nft
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import Port
from kvmrun.model.paths import Paths
from kvmrun.plan.network import nft_guard

_NOTE = "guard"


def remove_guard(directory: str, guest: str) -> None:
    """Remove what guarded the ports of a guest that has ended."""
    if os.path.lexists(f"{directory}/{_NOTE}"):
        force_remove_guard(directory, guest)


def force_remove_guard(directory: str, guest: str) -> None:
    """The same, also where nothing notes that there was a guard."""
    nft.drop_ruleset(nft_guard.nft_part(guest), f"{directory}/{_NOTE}")


def reload_if_missing(directory: str, guest: str, ports: tuple[Port, ...]) -> bool:
    """Load the guard of a running guest, unless it is what `ports` want already; whether it had to be."""
    step = nft_guard.load_step(guest, ports, f"{directory}/{_NOTE}")
    if step is None or nft.loaded_digest(step.part, step.record) == step.digest:
        return False
    nft.load_ruleset(step.part, step.text, step.record, step.digest)
    return True


def missing_guards(directories: Mapping[str, str]) -> set[str]:
    """Those of the guests, named with their run directories, whose guard is not what was loaded."""
    return _touched({guest: nft_guard.nft_part(guest) for guest in directories}, directories)


def unguarded(where: Paths, running: Mapping[str, Record], network: str) -> list[str]:
    """The guests that run on the network and whose guard is not what was loaded."""
    guarded = (
        name
        for name, record in running.items()
        if any(port.network == network and port.guard != "none" for port in record.ports)
    )
    return sorted(missing_guards({name: where.guest(name) for name in guarded}))


def missing_on_networks(directories: Mapping[str, str]) -> set[str]:
    """The same for the taps that are kept on networks, named with their run directories."""
    return _touched({network: nft_guard.kept_table(network) for network in directories}, directories)


def _touched(parts: Mapping[str, str], directories: Mapping[str, str]) -> set[str]:
    touched = nft.is_modified({part: f"{directories[name]}/{_NOTE}" for name, part in parts.items()})
    return {name for name, part in parts.items() if part in touched}
