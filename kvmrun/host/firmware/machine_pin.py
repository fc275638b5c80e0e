"""The version that the machine of a guest has had since its first start, so that another QEMU does not change it."""

import os

from kvmrun.host.files import atomic_write, safe_directory, small_files
from kvmrun.model.deadline import remaining
from kvmrun.model.machine.machine_type import MachineType, pinned_machine

PRIVATE = 0o700
"""What a guest keeps is given to its processes by descriptor: none of them comes there by a path."""
_LIMIT = 30.0
"""How long QEMU may take on a busy machine: without a version no firmware fits the machine."""
_LONGEST = 100
_told: dict[str, dict[str, str]] = {}
"""What each QEMU has said as long as we run: a check asks for every guest that was not started yet."""


def read_pin(state: str, machine: MachineType) -> MachineType:
    """`machine` with the version that is written down in the directory `state` of the guest, if there is one."""
    if not machine.has_versions():
        return machine
    text = small_files.read_bounded(f"{state}/machine", _LONGEST) or b""
    return pinned_machine(machine, text.decode(errors="replace").strip())


def write_pin(path: str, machine: MachineType) -> None:
    """Write the version down at `path`. Raises OSError, KvmrunError."""
    directory, name = os.path.split(path)
    with (
        safe_directory.opened(directory, make=PRIVATE) as parent,
        atomic_write.replacing(name, f".{name}.new", dir_fd=parent.fd) as fd,
    ):
        atomic_write.fill(fd, f"{machine}\n".encode(), 0o644)


def newest_version(qemu: str, machine: MachineType) -> MachineType:
    """The version that `qemu` takes the machine for; the machine itself where it does not say."""
    if not (qemu and machine.has_versions()):
        return machine
    if qemu not in _told:
        _told[qemu] = _aliases(qemu)
    return pinned_machine(machine, _told[qemu].get(machine, ""))


def _aliases(qemu: str) -> dict[str, str]:
    """The versions that `qemu` takes names of machines for, {} where it does not say."""
    import subprocess  # an ordinary start does not ask

    words, limit = [qemu, "-machine", "help"], remaining(_LIMIT)
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=limit, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    rows = (line.partition(" (alias of ") for line in done.stdout.splitlines())
    return {name.split()[0]: rest.partition(")")[0] for name, found, rest in rows if found and name.strip()}
