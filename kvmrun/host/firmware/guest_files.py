"""Which files belong to one guest alone, besides its images and its log."""

import os

from kvmrun.host.files import ownership
from kvmrun.model.guest.paths import Paths

_OF_ONE_RUN = ("tpm.lock", "tpm/.lock")
"""What only means something while the guest runs."""


def guest_files(where: Paths, name: str) -> tuple[str, list[str]]:
    """The directory of what the guest keeps, and the files in it, by their paths below: the version of its machine, its
    UEFI variables, and the state of its TPM. A start gives the state of the TPM to the account of the guest.
    """
    top = ownership.guest_state(where, name)
    found = [
        os.path.relpath(os.path.join(directory, file), top)
        for directory, _, files in os.walk(top, onerror=None, followlinks=False)
        for file in files
        if not file.startswith(".") or directory != top
    ]
    return top, sorted(path for path in found if path not in _OF_ONE_RUN)
