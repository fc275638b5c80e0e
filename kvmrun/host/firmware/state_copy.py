"""What a guest keeps besides its images, for another guest or another account: the version of its machine, its UEFI
variables, its TPM.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from kvmrun.errors import KvmrunError, Refused, refused_by_host
from kvmrun.host.files import safe_directory
from kvmrun.model.printable import printable


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
        except shutil.Error as many:  # has the words of each, and the number of none
            reason = printable(many.args[0][0][2], 400)
            raise KvmrunError(f"could not copy {source}", "correct that, then try again", reason=reason) from None
        except OSError as error:
            raise refused_by_host(f"copy {source}", error) from None
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def change_owner(directory: str, old: int, new: int) -> None:
    """Give what is below the directory, and the account `old` owns, to the account `new`.

    The former account may have linked somebody else's file into it: one with a second name is not given away.

    Raises: KvmrunError where the host refuses.
    """
    try:
        for _, names, files, fd in os.fwalk(directory, follow_symlinks=False):
            for name in (*names, *files):
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if found.st_uid == old and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
                    group = new if found.st_gid == old else found.st_gid
                    os.chown(name, new, group, dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        raise refused_by_host(f"give {directory} to uid {new}", error) from None


def _give_owners(source: str, target: str, owners: Mapping[int, int]) -> None:
    for directory, names, files in os.walk(source):
        for name in (".", *names, *files):
            found = os.stat(f"{directory}/{name}", follow_symlinks=False)
            uid, gid = owners.get(found.st_uid, found.st_uid), owners.get(found.st_gid, found.st_gid)
            os.chown(f"{target}{directory.removeprefix(source)}/{name}", uid, gid, follow_symlinks=False)
