"""The SSH keys of whoever calls: of the one who ran sudo, if somebody did."""

import os
import pwd

from kvmrun.host.files import small_files
from kvmrun.model.paths import Paths
from kvmrun.model.seed.seed_values import is_public_key
from kvmrun.model.value import Value

_MOST = 64
_SIZE = 8192


class CallerKeys(Value):
    """Public keys, and the directories in which they were looked for."""

    places: tuple[str, ...]
    keys: tuple[str, ...]


def caller_keys(where: Paths) -> CallerKeys:
    """The caller's own public keys, and the one of `kvmrun build debian`, with which kvmrun logs in."""
    own = _ssh_directory(where)
    paths = [*_public(own), f"{where.state}/ssh/id_ed25519.pub"]
    lines = [line.strip() for path in paths for line in (small_files.read_text(path, _SIZE) or "").splitlines()]
    keys = dict.fromkeys(line for line in lines if is_public_key(line))
    return CallerKeys(places=(own, f"{where.state}/ssh"), keys=tuple(keys))


def private_keys(where: Paths) -> list[str]:
    """The files of the private keys of the one who ran sudo; none where nobody did: ssh finds the caller's own."""
    directory = _ssh_directory(where)
    if not where.root or directory == _ssh_directory(where.replace(root=False)):
        return []
    return [path.removesuffix(".pub") for path in _public(directory) if os.path.isfile(path.removesuffix(".pub"))]


def _ssh_directory(where: Paths) -> str:
    """The directory in which ssh looks for keys: that of the account, whatever HOME says."""
    caller = os.environ.get("SUDO_UID", "") if where.root else ""
    try:
        uid = int(caller) if caller.isascii() and caller.isdecimal() else os.getuid()
        return f"{pwd.getpwuid(uid).pw_dir}/.ssh"
    except (KeyError, OverflowError):
        return "/nonexistent/.ssh"


def _public(directory: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    found = [f"{directory}/{name}" for name in names if name.endswith(".pub") and not name.endswith("-cert.pub")]
    return found[:_MOST]
