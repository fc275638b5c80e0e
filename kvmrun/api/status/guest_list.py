"""The list of guests, as far as it was asked for."""

from collections.abc import Iterable

from kvmrun.api.lab import LabHandle, expand_groups, is_known, no_such_guest, own_guests, refuse_other
from kvmrun.api.options import StatusOptions
from kvmrun.api.status.live_status import guest_statuses, visible_run_directories
from kvmrun.errors import KvmrunError, Several
from kvmrun.model.deadline import Deadline, within
from kvmrun.model.guest.guest_status import Status
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths


def status(
    lab: LabHandle, names: Iterable[str] | None = None, options: StatusOptions = StatusOptions()
) -> list[Status]:
    """The live state of guests, with @GROUP among `names`; None means all. Nothing is changed.

    Raises: ConfigError and Refused for a lab that cannot be read, Several for guests that are not known.
    """
    words = None if names is None else list(names)
    if errors := unknown_guests(lab, words or ()):
        raise Several(errors)
    return rows(lab, words, options)


def unknown_guests(handle: LabHandle, names: Iterable[str]) -> list[KvmrunError]:
    """An error for each of `names` that names no guest."""
    words = list(names)
    if not words:
        return []
    lab, where = handle.definitions, handle.paths
    here = visible_run_directories(where)
    names = expand_groups(lab, words)
    found: list[KvmrunError] = []
    for name in (one for one in names if not is_known(lab, one)):
        try:
            refuse_other(where, name)
        except KvmrunError as other:
            found.append(other)
            continue
        found += [] if name in here else [no_such_guest(lab, name)]
    return found


def rows(handle: LabHandle, names: Iterable[str] | None, options: StatusOptions) -> list[Status]:
    """The live state of guests; those of `names` that are not known are left out."""
    with within(Deadline.begin(options.timeout)):
        return _rows(handle.definitions, handle.paths, names, options)


def _rows(lab: Lab, where: Paths, names: Iterable[str] | None, options: StatusOptions) -> list[Status]:
    chosen = None if names is None else expand_groups(lab, names)
    here = visible_run_directories(where) if chosen else {}
    here = {one: here[one] for one in own_guests(where, here)}
    found = guest_statuses(where, lab, chosen and [one for one in chosen if is_known(lab, one) or one in here])
    if options.all_labs:
        from kvmrun.api.status import other_labs

        found = other_labs.with_other_labs(found, where)
    if options.confinement or options.agents:
        from kvmrun.api.status import agent_addresses, status_confinement

        here = visible_run_directories(where)
        found = status_confinement.with_confinement(found, where, here) if options.confinement else found
        found = agent_addresses.with_agent_addresses(found, here) if options.agents else found
    return found
