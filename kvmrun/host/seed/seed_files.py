"""The files of a seed in the state directory: written whole, readable for nobody else, removed with their guest."""

import os
from collections.abc import Callable
from contextlib import suppress

from kvmrun.errors import KvmrunError
from kvmrun.host.files import atomic_write, safe_directory, small_files
from kvmrun.host.files.safe_directory import Directory
from kvmrun.model.seed.seed_medium import ISO
from kvmrun.plan.steps.guest_steps import WriteSeed

_INSTANCE = "instance-id"
"""The file that says which seed the others are: the first to go, and the last to come."""


def written_instance(directory: str) -> str:
    """The instance ID of the seed in that directory, "" where there is no whole one."""
    return (small_files.read_bounded(f"{directory}/{_INSTANCE}", 200) or b"").decode(errors="replace")


def write_seed(step: WriteSeed) -> Callable[[], None]:
    """Write the files of a seed in the place of those of an earlier one; what takes it back. Raises what is in the way.

    QEMU gets them by descriptor: they are for root, or the user who starts the guest, alone.
    """
    safe_directory.made(os.path.dirname(step.directory), 0o711)
    try:
        with safe_directory.opened(step.directory, make=0o700) as seed:
            atomic_write.remove(_INSTANCE, dir_fd=seed.fd)
            names = [_INSTANCE, *(_written(seed, step))]
            for name in set(seed.names()) - set(names):
                with suppress(OSError):
                    atomic_write.remove(name, dir_fd=seed.fd)
            seed.write(_INSTANCE, step.instance.encode(), 0o600)
    except BaseException as error:
        remove_seed(step.directory)
        if isinstance(error, OSError):
            raise safe_directory.cannot("write the seed to", step.directory, error) from None
        raise
    return lambda: remove_seed(step.directory)


def remove_seed(directory: str) -> None:
    """Remove a seed; nothing there is no error, and what cannot be removed stays."""
    with suppress(KvmrunError, OSError):
        with safe_directory.opened(directory) as seed:
            for name in sorted(seed.names(), key=lambda name: name != _INSTANCE):
                atomic_write.remove(name, dir_fd=seed.fd)
        os.rmdir(directory)


def _written(seed: Directory, step: WriteSeed) -> list[str]:
    """Write the files; their names."""
    if step.iso:
        with seed.part(ISO) as (fd, part):
            _write_medium(fd, dict(step.documents))
            os.fsync(fd)
            seed.move(part, ISO)
        return [ISO]
    for name, data in step.documents:
        seed.write(name, data, 0o600)
    return [name for name, _ in step.documents]


def _write_medium(fd: int, documents: dict[str, bytes]) -> None:
    from kvmrun.host.seed.iso_image import write_iso  # 40 ms that only a seed that is written should cost

    with open(fd, "wb", closefd=False) as file:
        write_iso(file, "cidata", documents)
