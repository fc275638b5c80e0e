"""Kernel settings: changed where a network needs it, recorded, and restored when no network needs them any more."""

import errno
import json
import os
import socket
import stat
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from kvmrun.errors import KvmrunError
from kvmrun.host.files import atomic_write, small_files
from kvmrun.host.process import process
from kvmrun.host.rundir import lock
from kvmrun.model.deadline import remaining
from kvmrun.model.paths import Paths
from kvmrun.plan.host_facts import ChangedSysctl

_ROOT = "/proc/sys/net"
_LIMIT = 64 << 10
_SO_NETNS_COOKIE = 71
"""The socket option that tells a network namespace from all others of this boot: numbers of inodes are used again."""


def read(name: str) -> str | None:
    """The value of a setting below net, None where the kernel has none of that name."""
    try:
        with open(f"{_ROOT}/{name}", encoding="utf-8") as file:
            return file.read(256).strip()
    except OSError:
        return None


def set_and_remember(where: Paths, name: str, value: str, user: str) -> Callable[[], None]:
    """Set `name` and remember for `user` what it was; the returned undo puts it back.

    Raises: KvmrunError where another value is read back; OSError.
    """
    with _book(where) as book:
        entry = book.setdefault(
            name,
            {
                "before": _before(book, name),
                "general": read(_general(name)),
                "set": value,
                "users": [],
                "links": _links_with(name, value),
            },
        )
        entry["set"] = value
        entry["users"] = sorted({*entry["users"], user})
    try:
        write(name, value)
        if (now := read(name)) not in {value, None}:
            raise KvmrunError(f"{name} did not take", "try again", reason=f"{value} was written, {now} is read back")
    except BaseException:
        restore_settings(where, user, only=name)
        raise
    return lambda: restore_settings(where, user, [name])


def restore_settings(where: Paths, user: str, only: Collection[str] = ()) -> None:
    """Release the settings that `user` needed, or `only` some of them; what no user needs is restored.

    What somebody else has changed since stays: also forwarding, once somebody has made the whole host a router. With
    a default, the links that have come since and took it over get what they would have had without us.
    """
    with _book(where) as book:
        for name, entry in list(book.items()):
            if user not in entry["users"] or (only and name not in only):
                continue
            entry["users"].remove(user)
            if not entry["users"]:
                del book[name]
                if entry["before"] is None or _is_routing_since(name, entry):
                    continue
                later = [one for one in _links_with(name, entry["set"]) if one not in entry.get("links", [])]
                for one in (name, *(_of_link(name, link) for link in later)):
                    if one not in book and read(one) == entry["set"]:
                        write(one, entry["before"])


def _before(book: Mapping[str, Any], name: str) -> str | None:
    """The value of a setting without kvmrun; for a link that took over our default, the default's earlier value."""
    default = book.get(_of_link(name, "default"))
    value = read(name)
    if default and default["set"] == value and name.split("/")[2] not in default.get("links", []):
        return str(default["before"])
    return value


def _is_routing_since(name: str, entry: Mapping[str, Any]) -> bool:
    """Whether another program enabled forwarding on all links after kvmrun enabled it on one."""
    general = _general(name)
    return name.endswith("/forwarding") and name != general and entry.get("general") == "0" and read(general) == "1"


def _links_with(name: str, value: str) -> list[str]:
    """Where `name` is a default: the links that have that value."""
    family, _, link, key = name.split("/")
    if link != "default":
        return []
    with suppress(OSError):
        found = sorted(set(os.listdir(f"{_ROOT}/{family}/conf")) - {"all", "default", "lo"})
        return [one for one in found if read(f"{family}/conf/{one}/{key}") == value]
    return []


def _of_link(name: str, link: str) -> str:
    """The setting of one link, by that of another."""
    family, _, _, key = name.split("/")
    return f"{family}/conf/{link}/{key}"


def changed_settings(where: Paths) -> dict[str, ChangedSysctl]:
    """The settings that users still need, by name."""
    book = _entries(small_files.read_bounded(f"{where.run}/sysctls", _LIMIT) or b"") or _saved(where)
    return {
        name: ChangedSysctl(
            before=str(one["before"]),
            general=str(one.get("general")),
            users=tuple(map(str, one["users"])),
            links=tuple(map(str, one["links"])) if isinstance(one.get("links"), list) else (),
        )
        for name, one in book.items()
    }


def _general(name: str) -> str:
    """The setting of the same kind for all links together: ipv4/conf/all/forwarding for that of a link."""
    family, _, _, key = name.split("/")
    return f"{family}/conf/all/{key}"


def write(name: str, value: str) -> None:
    """Write a setting below net; one whose link is gone is passed over."""
    try:
        with open(f"{_ROOT}/{name}", "w", encoding="utf-8") as file:
            file.write(value)
    except FileNotFoundError:
        return  # the link went away, or this kernel has no IPv6


@contextmanager
def _book(where: Paths) -> Iterator[dict[str, Any]]:
    """The settings changed and by whom, under one lock: {name: {before, general, set, users, links}}."""
    path = f"{where.run}/sysctls"
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        atomic_write.remove(path)
    fd = _locked(path)
    try:
        text = os.read(fd, _LIMIT)
        book = _entries(text) or _saved(where)
        yield book
        if book:
            _rewrite(fd, text, json.dumps(book, sort_keys=True).encode())
            _save(where, book)
        else:
            atomic_write.remove(_copy(where))  # first: alone it would tell of settings that nobody needs
            os.unlink(path)
    except BaseException as error:
        _drop_empty(path, fd)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = path  # a write does not say of which file
        raise
    finally:
        os.close(fd)


def _locked(path: str) -> int:
    """A descriptor of the record file, locked; a file that was removed during the wait is opened again."""
    while True:
        fd = lock.open_lock(path)
        try:
            lock.wait_for_lock(fd, "the list of changed settings", limit=remaining(10.0))
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            _drop_empty(path, fd)
            os.close(fd)
            raise
        os.close(fd)


def _rewrite(fd: int, before: bytes, text: bytes) -> None:
    """Write over what was there: a way back needs no room. Blanks follow a shorter text, so that it can always be read.

    Raises OSError when it does not fit; then it is as before.
    """
    whole = text.ljust(len(before))
    if os.pwrite(fd, whole, 0) < len(whole):
        os.pwrite(fd, before, 0)
        os.ftruncate(fd, len(before))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with suppress(OSError):
        os.ftruncate(fd, len(text))


def _drop_empty(path: str, fd: int) -> None:
    """Remove a record file that is empty: it was created only to be locked."""
    if os.fstat(fd).st_size == 0:
        with suppress(OSError):
            os.unlink(path)


def _copy(where: Paths) -> str:
    """The path of a second copy of the record file: the settings of the kernel outlive a lost run directory."""
    return f"{where.state}/sysctls"


def _save(where: Paths, book: Mapping[str, Any]) -> None:
    """Write the copy. One that cannot be written is missed only if the run directory is lost as well."""
    with suppress(OSError):
        os.makedirs(where.state, mode=0o755, exist_ok=True)
        text = f"{_validity(where)}\n{json.dumps(book, sort_keys=True)}".encode()
        small_files.replace_atomically(_copy(where), text)


def _saved(where: Paths) -> dict[str, Any]:
    """The book by its copy; nothing where that is of another boot, namespace or run directory, or not our own file."""
    path = _copy(where)
    with suppress(OSError):
        if os.lstat(path).st_uid == os.geteuid():
            validity, _, text = (small_files.read_bounded(path, 2 * _LIMIT) or b"").partition(b"\n")
            return _entries(text) if validity.decode(errors="replace") == _validity(where) else {}
    return {}


def _validity(where: Paths) -> str:
    """What the copy is of: values of another boot, or of another network namespace, mean nothing here."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as at:
        cookie = int.from_bytes(at.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
    return f"{process.boot_id()}/{cookie}/{where.run}"


def _entries(text: bytes) -> dict[str, Any]:
    """The valid entries of the record file: a damaged file does not prevent a network from coming up."""
    try:
        return {name: one for name, one in json.loads(text).items() if _is_entry(one)}
    except (ValueError, RecursionError, AttributeError):
        return {}


def _is_entry(one: Any) -> bool:
    if not (isinstance(one, dict) and {"before", "set", "users"} <= one.keys() and isinstance(one["users"], list)):
        return False
    words = (one["set"], *one["users"], *([] if one["before"] is None else [one["before"]]))
    return all(type(word) is str for word in words)
