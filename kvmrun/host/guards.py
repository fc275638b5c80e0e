"""The guards of running guests: whether they stand, put back where they do not, removed with the guest."""

import os
from collections.abc import Mapping

from kvmrun.host import nft
from kvmrun.model.nic import Port
from kvmrun.plan import guard

_NOTE = "guard"


def remove(directory: str, guest: str) -> None:
    """Remove what guarded the ports of a guest that has ended."""
    if os.path.exists(f"{directory}/{_NOTE}"):
        nft.drop(guard.table(guest), f"{directory}/{_NOTE}")


def mended(directory: str, guest: str, ports: tuple[Port, ...]) -> bool:
    """Load the guard of a running guest, unless it is what `ports` want already; whether it had to be."""
    step = guard.load(guest, ports, f"{directory}/{_NOTE}")
    if step is None or nft.loaded(step.table, step.record) == step.digest:
        return False
    nft.load(step.text, step.record, step.digest)
    return True


def gone(directories: Mapping[str, str]) -> set[str]:
    """Those of the guests, named with their run directories, whose guard is not what was loaded."""
    notes = {guard.table(guest).split()[1]: f"{directory}/{_NOTE}" for guest, directory in directories.items()}
    touched = set(nft.touched("netdev", notes)) if notes else set()
    return {guest for guest in directories if guard.table(guest).split()[1] in touched}
