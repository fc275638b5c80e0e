"""What the seed of a guest is made of on this host: the caller's public keys, and the files that a definition names."""

import os
import stat
from collections.abc import Mapping

from kvmrun.errors import Refused
from kvmrun.host.files import ownership, safe_directory
from kvmrun.host.seed.caller_keys import caller_keys
from kvmrun.host.seed.seed_files import written_instance
from kvmrun.host.seed.user_data_check import user_data_problem
from kvmrun.model.guest.guest import Guest
from kvmrun.model.network.network import Network
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.seed.seed import Seed
from kvmrun.model.seed.seed_medium import seed_files
from kvmrun.plan.host_facts import SeedFacts
from kvmrun.plan.seed.seed_plan import seed_file_paths

_LARGEST = 1 << 20


def seed_facts(guest: Guest, runtime: GuestRuntime, where: Paths, networks: Mapping[str, Network]) -> SeedFacts | None:
    """What the seed of the guest is made of, None for a guest without one."""
    if guest.seed is None:
        return None
    # while another lab has the place, ours is put aside; it comes back before the seed is used
    directory = f"{ownership.guest_state(where, guest.name)}/seed"
    files = seed_files(guest.seed, directory, len(runtime.ports))
    found = caller_keys(where)
    return SeedFacts(
        networks=networks,
        keys=found.keys,
        places=found.places,
        files=named_files(guest.seed),
        written=written_instance(directory) if all(map(os.path.isfile, files)) else "",
    )


def named_files(seed: Seed) -> dict[str, bytes | Refused]:
    """The content of every file that the seed names, or why it cannot be used."""
    found = {path: _content(path) for path in seed_file_paths(seed)}
    path = seed.user_data
    if path and isinstance(data := found[path], bytes):
        found[path] = user_data_problem(path, data, f"{seed.backend}") or data
    return found


def _content(path: str) -> bytes | Refused:
    try:
        at = safe_directory.located(path)
    except Refused as untrusted:
        return untrusted
    except OSError as error:
        return _unusable(path, os.strerror(error.errno or 0))
    try:
        fd = os.open(f"/proc/self/fd/{at}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return _unusable(path, os.strerror(error.errno or 0))
    finally:
        os.close(at)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return _unusable(path, "it is not a regular file")
        with open(fd, "rb", closefd=False) as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        return _unusable(path, os.strerror(error.errno or 0))
    finally:
        os.close(fd)
    return data if len(data) <= _LARGEST else _unusable(path, f"it has more than {_LARGEST >> 20} MiB")


def _unusable(path: str, reason: str) -> Refused:
    return Refused(f"{path} cannot be read", "correct the path", reason=reason)
