"""The guards of running guests: whether they stand, put back where they do not, removed with the guest."""

import os

from kvmrun.host.firewall import nft
from kvmrun.light.abc import Mapping
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import Port
from kvmrun.model.guest.paths import Directories
from kvmrun.plan.network import nft_guard

_NOTE = "guard"


def remove(directory: str, guest: str) -> None:
    """Remove what guarded the ports of a guest that has ended."""
    if os.path.lexists(f"{directory}/{_NOTE}"):
        drop(directory, guest)


def drop(directory: str, guest: str) -> None:
    """The same, also where nothing notes that there was a guard."""
    nft.drop(nft_guard.part(guest), f"{directory}/{_NOTE}")


def mended(directory: str, guest: str, ports: tuple[Port, ...]) -> bool:
    """Load the guard of a running guest, unless it is what `ports` want already; whether it had to be."""
    step = nft_guard.load(guest, ports, f"{directory}/{_NOTE}")
    if step is None or nft.loaded(step.part, step.record) == step.digest:
        return False
    nft.load(step.part, step.text, step.record, step.digest)
    return True


def gone(directories: Mapping[str, str]) -> set[str]:
    """Those of the guests, named with their run directories, whose guard is not what was loaded."""
    return _touched({guest: nft_guard.part(guest) for guest in directories}, directories)


def unguarded(where: Directories, running: Mapping[str, Record], network: str) -> list[str]:
    """The guests that run on the network and whose guard is not what was loaded."""
    guarded = (
        name
        for name, record in running.items()
        if any(port.network == network and port.guard != "none" for port in record.ports)
    )
    return sorted(gone({name: where.guest(name) for name in guarded}))


def kept_gone(directories: Mapping[str, str]) -> set[str]:
    """The same for the taps that are kept on networks, named with their run directories."""
    return _touched({network: nft_guard.kept_table(network) for network in directories}, directories)


def _touched(parts: Mapping[str, str], directories: Mapping[str, str]) -> set[str]:
    touched = nft.touched({part: f"{directories[name]}/{_NOTE}" for name, part in parts.items()})
    return {name for name, part in parts.items() if part in touched}
