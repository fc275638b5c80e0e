"""The version that the machine of a guest has had since its first start, so that another QEMU does not change it."""

import os

from kvmrun.host.files import atomic_write, safe_directory, small_files
from kvmrun.model.deadline import remaining
from kvmrun.model.firmware.machine_type import MachineType, pinned_machine

_LIMIT = 5.0
_LONGEST = 100


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
        safe_directory.opened(directory, make=0o711) as place,
        atomic_write.replacing(name, f".{name}.new", dir_fd=place.fd) as fd,
    ):
        atomic_write.fill(fd, f"{machine}\n".encode(), 0o644)


def newest_version(qemu: str, machine: MachineType) -> MachineType:
    """The version that `qemu` takes the machine for; the machine itself where it does not say."""
    if not (qemu and machine.has_versions()):
        return machine
    import subprocess  # an ordinary start does not ask

    words, limit = [qemu, "-machine", "help"], remaining(_LIMIT)
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=limit, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return machine
    rows = (line.split() for line in done.stdout.splitlines() if "(alias of " in line)
    found = {row[0]: row[-1].rstrip(")") for row in rows if row}
    return pinned_machine(machine, found.get(machine, ""))
