"""The lab a command works on, and finding a guest in it or among those that run."""

import os
from collections.abc import Iterable, Mapping
from itertools import chain

from kvmrun.config import standard_paths
from kvmrun.errors import ConfigError, KvmrunError, NoSuchGuest, NotRunning, OtherLab, Refused
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.files import ownership
from kvmrun.host.rundir import records, rundir
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.printable import printable, quoted
from kvmrun.model.scalars import GuestName
from kvmrun.model.suggest import closest
from kvmrun.model.value import EMPTY
from kvmrun.plan.merge_records import guest_owner


class LabHandle:
    """A directory of definitions, and where the state of its guests is kept. `open_lab` makes one.

    The definitions are read when they are needed first: a running guest can be stopped whatever is wrong with them.
    """

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._definitions: Lab | None = None

    @property
    def definitions(self) -> Lab:
        """The definitions as they were when they were read. Raises ConfigError, and Refused as `open_lab` does."""
        if self._definitions is None:
            self._definitions = read_definitions(self.paths)
        return self._definitions

    def in_force(self) -> Lab:
        """The definitions as they hold now, by the records of the guests that run and the networks that are up."""
        return records.in_force(self.definitions, self.paths)

    def with_networks(self, networks: Mapping[str, Network]) -> "LabHandle":
        """Another handle, whose definitions have these networks, too."""
        other = LabHandle(self.paths)
        other._definitions = self.definitions.replace(networks={**self.definitions.networks, **networks})
        return other

    def reload(self) -> Lab:
        """The definitions as they are now, also for whoever asks next. Raises what `definitions` raises."""
        self._definitions = None
        return self.definitions


def open_lab(directory: str | None = None, *, run_dir: str | None = None, state_dir: str | None = None) -> LabHandle:
    """The lab in `directory`, by default where the command line looks: $KVMRUN_VMS, ./vms.d and so on.

    `run_dir` and `state_dir` take the place of $KVMRUN_RUN_DIR and $KVMRUN_STATE_DIR. Relative paths are resolved now.

    Raises: Refused for a path that cannot be used, and for root where another user could have written there.
    """
    environ = dict(os.environ)
    environ |= {"KVMRUN_RUN_DIR": run_dir} if run_dir is not None else {}
    environ |= {"KVMRUN_STATE_DIR": state_dir} if state_dir is not None else {}
    where = standard_paths.resolve_paths(directory, environ)
    if where.root:
        standard_paths.require_private([where.run, where.state], environ)
    return LabHandle(where)


def read_definitions(where: Paths, drafts: Mapping[str, bytes | None] = EMPTY) -> Lab:
    """The lab, refused when root is to read what others could have written; `drafts` as load() takes them."""
    # those who only speak to guests that run need none
    from kvmrun.api.this_host import this_host
    from kvmrun.config.load_lab import load_lab

    if os.path.lexists(where.vms) and not os.path.isdir(where.vms):
        raise ConfigError(f"{where.vms} is not a directory", "name the directory of a lab: -C DIR")
    distrusted: Mapping[str, str] = EMPTY
    if where.root:
        standard_paths.require_trusted_lab(where.vms, os.environ)
        distrusted = standard_paths.is_distrusted(where.vms, os.environ)
    host = this_host(root=where.root)
    return load_lab(where.vms, where.images, drafts, distrusted, host=host).replace(identity=where.lab)


def guest_or_error(lab: Lab, name: str) -> Guest:
    """The guest of that name. Raises ConfigError with all that is wrong with it, or NoSuchGuest."""
    if name in lab.guests:
        return lab.guests[name]
    if name in lab.invalid:
        raise _invalid(lab, name)
    raise no_such_guest(lab, name)


def _invalid(lab: Lab, name: str) -> ConfigError:
    """The error for a guest whose own file is wrong, else for the file of the whole lab that is."""
    errors = [one for one in lab.problems if not one.warning]
    for file in (f"{name}.toml", "networks.toml", "defaults.toml", "images.toml"):
        if lines := tuple(f"{one}" for one in errors if one.file == file):
            what = name if file == f"{name}.toml" else file
            return ConfigError(f"{what} is not valid", f"edit {lab.directory}/{file}", lines=lines)
    return ConfigError(f"{name} is not valid", "kvmrun check")


def no_such_guest(lab: Lab, name: str) -> NoSuchGuest:
    """The error for a word that names no guest, or for an @GROUP that no guest is in."""
    if name.startswith("@"):
        return _no_such_group(lab, name[1:])
    stem = name.rpartition("/")[2].removesuffix(".toml")
    close = stem if stem in lab.guests or stem in lab.invalid else closest(stem, [*lab.guests, *lab.invalid])
    fix = (
        f"did you mean {close}?" if close else "kvmrun --list shows those there are; kvmrun init DIR writes an example"
    )
    is_there = os.path.isdir(lab.directory)
    reason = f"{lab.directory} has no {printable(stem, 60)}.toml" if is_there else f"{lab.directory} does not exist"
    return NoSuchGuest(f"there is no guest {printable(name, 60)}", fix, reason=reason)


def is_known(lab: Lab, word: str) -> bool:
    """Whether a word names a guest, valid or not, or a group that a guest is in."""
    return word in lab.guests or word in lab.invalid or (word.startswith("@") and _group(lab, word) != [word])


def expand_groups(lab: Lab, words: Iterable[str]) -> list[str]:
    """The guests that `words` name, each once: a word that begins with @ means a group, and stays where there is none.

    Whoever works on them finds those that are not known, and raises `no_such_guest` for each.
    """
    names = chain.from_iterable(_group(lab, word) if word.startswith("@") else [word] for word in words)
    return list(dict.fromkeys(names))


def _group(lab: Lab, word: str) -> list[str]:
    return sorted(name for name, guest in lab.guests.items() if word[1:] in guest.groups) or [word]


def _no_such_group(lab: Lab, group: str) -> NoSuchGuest:
    groups = sorted({one for guest in lab.guests.values() for one in guest.groups})
    close = closest(group, groups)
    shown = printable(group, 60)
    fix = f"the groups are {', '.join(f'@{one}' for one in groups)}"
    if close or not groups:
        fix = f"did you mean @{close}?" if close else f'groups = ["{shown}"] in the file of a guest makes it'
    return NoSuchGuest(f"there is no group {shown}", fix, reason=f"no guest of {lab.directory} is in it")


def runtime_of(where: Paths, name: str) -> GuestRuntime:
    """The runtime of a guest that runs or is defined: as it was started, where that is known."""
    if runtime := running_runtime(where, name):
        return runtime
    lab = read_definitions(where)
    guest_or_error(lab, name)
    return guest_runtimes(lab, where)[name]


def running_runtime(where: Paths, name: str) -> GuestRuntime | None:
    """The runtime of a guest as it was started; None for one that does not run or has no record."""
    record = rundir.read_record(where.guest(name)) if GuestName.fits(name) else None
    if record is None or not rundir.is_running(where.guest(name)):
        return None
    refuse_other(where, name)
    return GuestRuntime(
        guest=name, uuid=record.uuid, directory=where.guest(name), log=where.log(name), ports=record.ports
    )


def refuse_other(where: Paths, name: str) -> None:
    """Raises OtherLab where the guest that runs by this name is another lab's."""
    record = rundir.read_record(where.guest(name)) if GuestName.fits(name) else None
    other = record.lab if record else ""
    if other not in {"", where.lab} and rundir.is_running(where.guest(name)) and not records.is_gone(other):
        raise OtherLab(f"{name} is another lab's guest", other, name, reason=f"the lab {other} has started it")


def refuse_other_image(where: Paths, guest: Guest) -> None:
    """Raises Refused where the guest would write to an image that kvmrun made for another lab."""
    image, other = ownership.image_elsewhere(where, guest)
    if other:
        fix = f"name another image in {guest.name}.toml; kvmrun -C {quoted(other)} list shows the guests of that lab"
        reason = f"{where.images}/{image} was made for the lab {other}"
        raise Refused(f"the image of {guest.name} is another lab's", fix, reason=reason)


def own_guests(where: Paths, names: Iterable[str]) -> list[str]:
    """Those of `names` that are this lab's: by their records, or as this lab defines them where no lab is recorded.

    One without a record counts as this lab's.
    """
    found = {name: rundir.read_record(where.guest(name)) for name in names}
    doubtful = {name: one for name, one in found.items() if one is not None and one.lab != where.lab}
    if not doubtful:
        return list(found)
    lab = definitions_or_empty(where)
    gone = {one.lab for one in doubtful.values() if records.is_gone(one.lab)}
    return [name for name in found if name not in doubtful or guest_owner(lab, doubtful[name], gone) == "own"]


def definitions_or_empty(where: Paths) -> Lab:
    """The lab; one without a definition where it cannot be opened."""
    try:
        return read_definitions(where)
    except KvmrunError:
        return Lab(directory=where.vms, identity=where.lab)


def require_running(where: Paths, name: str) -> str:
    """The run directory of a guest that runs. Raises NoSuchGuest, NotRunning; NotPermitted for others' guests."""
    try:
        GuestName.parse(name)
    except ValueError:
        raise NoSuchGuest(f"there is no guest {printable(name, 60)}", reason=f"wanted {GuestName.WANTED}") from None
    directory = where.guest(name)
    if rundir.is_running(directory):
        refuse_other(where, name)
        return directory
    lab = read_definitions(where)
    if name not in lab.guests and name not in lab.invalid:
        raise no_such_guest(lab, name)
    raise not_running(where, name)


def not_running(where: Paths, name: str) -> KvmrunError:
    """The error for a guest that does not run, as far as this account's guests go."""
    from kvmrun.api.guest_owner import elsewhere

    return elsewhere(where, name) or NotRunning(f"{name} is not running", f"kvmrun {name} starts it")
