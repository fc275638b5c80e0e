"""Definitions that are about to change: where they are, whether they may, and what would be wrong with the lab then."""

import os
from collections.abc import Iterable, Mapping

from kvmrun.api.lab import LabHandle, read_definitions, refuse_other
from kvmrun.config.load_lab import RESERVED
from kvmrun.errors import AS_ROOT, ConfigError, NotPermitted, Refused, UsageError
from kvmrun.host.rundir import rundir
from kvmrun.model.lab import Lab, Problem
from kvmrun.model.paths import Paths
from kvmrun.model.printable import printable
from kvmrun.model.scalars import GuestName


def definition_path(where: Paths, stem: str) -> str:
    """The file of a guest, or of `networks` or `defaults`."""
    return f"{where.vms}/{stem}.toml"


def parse_new_name(word: str, lab: Lab) -> GuestName:
    """The name of a new guest. Raises UsageError, or Refused when it is taken."""
    try:
        name = GuestName.parse(word)
    except ValueError as wanted:
        raise UsageError(f"{printable(word, 60)} is not a name for a guest", f"choose {wanted}") from None
    if name in RESERVED:
        raise UsageError(
            f"{name} is not a name for a guest", "choose another", reason=f"{name}.toml is for the whole lab"
        )
    if name in lab.guests or name in lab.invalid or os.path.lexists(f"{lab.directory}/{name}.toml"):
        raise Refused(f"there is a guest {name} already", f"choose another name, or kvmrun edit {name}")
    return name


def require_writable(where: Paths) -> None:
    """Make sure that the lab may be changed, before a text is edited. Raises NotPermitted."""
    if os.path.isdir(where.vms) and not os.access(where.vms, os.W_OK):
        raise NotPermitted(f"you may not write to {where.vms}", f"{AS_ROOT}; or use a lab of your own: -C DIR")


def require_stopped(where: Paths, name: str, verb: str) -> None:
    """Make sure that the guest, whose lock is held, does not run. Raises Refused."""
    refuse_other(where, name)
    if rundir.is_running(where.guest(name)):
        raise Refused(f"{name} runs and cannot be {verb}", f"kvmrun stop {name}")


def errors_added_by(lab: LabHandle, drafts: Mapping[str, bytes | None]) -> tuple[Lab, list[Problem]]:
    """The lab as it would be, and the errors that it would have and has not yet."""
    after, before = read_definitions(lab.paths, drafts), lab.definitions
    return after, [one for one in after.problems if not one.warning and one not in before.problems]


def raise_config_error(message: str, fix: str, errors: Iterable[Problem]) -> None:
    """Raises ConfigError when there are any."""
    if lines := tuple(f"{one}" for one in errors):
        raise ConfigError(message, fix, lines=lines)
