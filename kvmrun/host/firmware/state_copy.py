"""A copy of what a guest keeps besides its images: the version of its machine, its UEFI variables."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from kvmrun.errors import Refused, refused_by_host
from kvmrun.host.files import safe_directory


@contextmanager
def state_copy(source: str, target: str, owners: Mapping[int, int]) -> Iterator[Callable[[], None]]:
    """A copy of the directory `source`, which gets its name when the value is called, and is gone at the end otherwise.

    Links are copied and not followed. `owners` has the accounts that take the places of others.

    Raises: Refused where there is something at `target`; KvmrunError where the host refuses.
    """
    with safe_directory.holding(target, make=0o755) as (parent, name):
        if parent.has(name):
            reason = "it is what an earlier guest of that name kept"
            raise Refused(f"{target} exists already", "choose another name", reason=reason)
        part = f".{name}.{os.urandom(6).hex()}"
        copy = f"/proc/self/fd/{parent.fd}/{part}"
        try:
            shutil.copytree(source, copy, symlinks=True)
            _give_owners(source, copy, owners)
            yield lambda: parent.move(part, name)
        except OSError as error:
            raise refused_by_host(f"copy {source}", error) from None
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def _give_owners(source: str, target: str, owners: Mapping[int, int]) -> None:
    for directory, names, files in os.walk(source):
        for name in (".", *names, *files):
            found = os.stat(f"{directory}/{name}", follow_symlinks=False)
            uid, gid = owners.get(found.st_uid, found.st_uid), owners.get(found.st_gid, found.st_gid)
            os.chown(f"{target}{directory.removeprefix(source)}/{name}", uid, gid, follow_symlinks=False)
