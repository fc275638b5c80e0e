"""osinfo-db on this host: where its files are, and what they say of one operating system.

The file of an operating system follows from its whole ID, and nearly follows from a short one, so that one file and
those of its ancestors are read instead of hundreds. A file hides one of the same name in an earlier directory; an
empty one, or a link to /dev/null, hides it without taking its place; those in NAME.d extend NAME.xml.
"""

import os
import re
import stat
from collections.abc import Iterator
from functools import cache

from kvmrun.config.standard_paths import untrusted_fix
from kvmrun.errors import host_reason
from kvmrun.host.osinfo.os_file import OsEntry, parse_os
from kvmrun.model.image.version_order import version_key
from kvmrun.model.osinfo.os_facts import HostSize, OsFacts, OsMissing, Resources
from kvmrun.model.osinfo.os_name import OsName, squeezed
from kvmrun.model.printable import printable
from kvmrun.model.suggest import closest

_LARGEST = 4 << 20
_MOST_ANCESTORS = 100
_LOCAL_TIME = {"winnt", "win9x", "win16", "msdos"}
"""The families of operating systems whose clock shows the local time."""
_NAME = re.compile(rb"<short-id>([^<]{1,60})</short-id>")
INSTALL = "apt install osinfo-db"
_NEWER = "a newer osinfo-db may have it: osinfo-db-import --local --latest, of the package osinfo-db-tools"


def host_size() -> HostSize:
    """What the sizes of guests are limited by on this host."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return HostSize(memory=memory, cpus=os.cpu_count() or 1)


def database(*, root: bool) -> "OsDatabase":
    """The database, whose files are read once in a command."""
    return _database(_directories(root=root), root)


@cache
def _database(directories: tuple[str, ...], root: bool) -> "OsDatabase":
    return OsDatabase(directories, root=root)


def _directories(*, root: bool) -> tuple[str, ...]:
    """Where libosinfo looks, in its order; root does not read what is in the home of whoever called sudo."""
    system = os.environ.get("OSINFO_SYSTEM_DIR", "/usr/share/osinfo")
    local = os.environ.get("OSINFO_LOCAL_DIR", "/etc/osinfo")
    if root:
        return system, local
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    own = os.environ.get("OSINFO_USER_DIR", f"{home}/osinfo")
    return (system, local, own) if os.path.isabs(own) else (system, local)


class OsDatabase:
    """The files below some directories, a later one before an earlier one."""

    def __init__(self, directories: tuple[str, ...], *, root: bool) -> None:
        self._directories = directories
        self._root = root
        self._known: dict[str, OsEntry | OsMissing] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._unreadable: list[str] = []

    def sizes(self, name: OsName) -> OsFacts | OsMissing:
        """What the operating system of that ID needs: a quick look, at no more files than tell of that."""
        entry = self._find(name)
        return entry if isinstance(entry, OsMissing) else _facts(self._lineage(entry), name)

    def facts(self, name: OsName) -> OsFacts | OsMissing:
        """All that is known of the operating system of that ID, by its own description and those of its ancestors."""
        entry = self._find(name)
        if isinstance(entry, OsEntry):
            return self.facts_of(entry, "" if name.file else name)
        near = self._near(name) if entry.why == "unknown" else ""
        return entry.replace(fix=f"did you mean {near}? {entry.fix}") if near else entry

    def facts_of(self, entry: OsEntry, name: str = "") -> OsFacts:
        """The same of one that was read already."""
        return _facts(self._lineage(entry), name or entry.names[0], whole=True)

    def is_installed(self) -> bool:
        """Whether there is any operating system in it."""
        return bool(self._vendors())

    def files(self) -> Iterator[str]:
        """Every description, as a path below a directory of the database."""
        for vendor in self._vendors():
            names = {name for place in self._directories for name in self._listed(f"{place}/os/{vendor}")}
            yield from (f"os/{vendor}/{name}" for name in sorted(names) if name.endswith(".xml"))

    def read(self, file: str) -> OsEntry | None:
        """What a file says, None where it is hidden or not there. Raises ValueError for a damaged one."""
        data = self._data(file)
        if data is None:
            return None
        below = f"{file.removesuffix('.xml')}.d"
        extra = sorted({name for place in self._directories for name in self._listed(f"{place}/{below}")})
        more = (self._data(f"{below}/{name}") for name in extra if name.endswith(".xml"))
        try:
            return parse_os(data, *filter(None, more))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None

    def names(self, prefix: str = "") -> list[str]:
        """The short IDs that begin so, as far as the names of their files do, too."""
        wanted = squeezed(prefix)
        files = (one for one in self.files() if _stem(one).startswith(wanted))
        return sorted({name for file in files for name in self._short_names(file) if name.startswith(prefix)})

    def _find(self, name: OsName) -> OsEntry | OsMissing:
        if name not in self._known:
            try:
                self._known[name] = self._found(name)
            except ValueError as error:
                reason = f"osinfo-db cannot be used for {name}, because {printable(error, 300)}"
                self._known[name] = OsMissing(why="damaged", reason=reason, fix=f"{INSTALL} --reinstall")
        return self._known[name]

    def _found(self, name: OsName) -> OsEntry | OsMissing:
        if not self.is_installed():
            for reason in self._unreadable:
                raise ValueError(reason)
            return OsMissing(why="no database", reason="osinfo-db is not installed", fix=INSTALL)
        for file in (name.file,) if name.file else self._likely(name):
            if name.file or _stem(file) == squeezed(name) or name in self._short_names(file):
                entry = self.read(file)
                if entry is not None and name in {entry.id, *entry.names}:
                    return entry
        return OsMissing(why="unknown", reason=f"osinfo-db has no operating system {name}", fix=_NEWER)

    def _likely(self, name: OsName) -> list[str]:
        """The files that may describe it, the most likely first: all short IDs begin as their files or contain them."""
        wanted = squeezed(name)
        found = [file for file in self.files() if _stem(file).startswith(wanted[:3]) or _stem(file) in wanted]
        return sorted(found, key=lambda file: _stem(file) != wanted)

    def _near(self, name: OsName) -> str:
        """The newest system of the same family, or the one with the fewest typing errors; "" where none is near."""
        names = self.names()
        family = [one for one in names if _family(one) == _family(name)]
        return max(family, key=version_key) if family else closest(name, names)

    def _lineage(self, entry: OsEntry) -> Iterator[OsEntry]:
        """The entry and its ancestors, each once, the nearest first; one that is not there or damaged is left out."""
        left, seen = [entry], {entry.id}
        while left and len(seen) < _MOST_ANCESTORS:
            one = left.pop(0)
            yield one
            for parent in one.parents:
                if parent not in seen and (found := self._parent(parent)) is not None:
                    left.append(found)
                seen.add(parent)

    def _parent(self, name: str) -> OsEntry | None:
        try:
            file = OsName.parse(name).file
            return self.read(file) if file else None
        except ValueError:
            return None

    def _short_names(self, file: str) -> list[str]:
        """Its short IDs, searched for and not parsed: there are hundreds of files."""
        try:
            return [one.decode(errors="replace") for one in _NAME.findall(self._data(file) or b"")]
        except ValueError:
            return []

    def _vendors(self) -> list[str]:
        return sorted({name for place in self._directories for name in self._listed(f"{place}/os")})

    def _listed(self, directory: str) -> tuple[str, ...]:
        """The names in a directory, none where it cannot be read; they are asked for several times in a command."""
        if directory not in self._names:
            self._names[directory] = ()
            try:
                self._names[directory] = tuple(os.listdir(directory))
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError as error:
                self._unreadable.append(f"{directory}: {host_reason(error)}")
        return self._names[directory]

    def _data(self, file: str) -> bytes | None:
        """The content of the last file of that name, None for one that is hidden. Raises ValueError."""
        for place in reversed(self._directories):
            path = f"{place}/{file}"
            try:
                found = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise ValueError(f"{path}: {host_reason(error)}") from None
            return self._content(path, found)
        return None

    def _content(self, path: str, found: os.stat_result) -> bytes | None:
        is_null = stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3)
        if is_null or (stat.S_ISREG(found.st_mode) and found.st_size == 0):
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
            raise ValueError(f"{path} is not a regular file of at most {_LARGEST} bytes")
        if self._root and (fault := untrusted_fix(path, os.environ)):
            raise ValueError(f"another user could change {path}, as {fault}")
        try:
            with open(path, "rb") as file:
                return file.read(_LARGEST)
        except OSError as error:
            raise ValueError(f"{path}: {host_reason(error)}") from None


def _facts(lineage: Iterator[OsEntry], name: str, *, whole: bool = False) -> OsFacts:
    """What follows from an entry and its ancestors; without `whole` none is asked after the one that tells sizes."""
    line = list[OsEntry]()
    for one in lineage:
        line.append(one)
        if one.resources and not whole:
            break
    told = next((one.resources for one in line if one.resources), {})
    devices, firmware = dict[str, bool](), dict[str, bool]()
    for one in reversed(line):
        devices |= one.devices
        firmware |= one.firmware
    return OsFacts(
        id=line[0].id,
        name=name,
        title=line[0].title,
        keeps_local_time=next((one.family for one in line if one.family), "") in _LOCAL_TIME,
        minimum=told.get("minimum", Resources()),
        recommended=told.get("recommended", Resources()),
        devices=frozenset(one for one, supported in devices.items() if supported),
        bios=firmware.get("bios", True),
        uefi=firmware.get("efi", False),
    )


def _stem(file: str) -> str:
    """The name of a file as it is compared with a short ID."""
    return squeezed(file.rpartition("/")[2].removesuffix(".xml"))


def _family(name: str) -> str:
    return name.rstrip("0123456789.")
