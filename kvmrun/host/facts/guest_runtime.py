"""The runtime of guests on this host: what follows from the lab, with the accounts that are named there looked up."""

import pwd
from collections.abc import Iterable

from kvmrun.model.lab import Lab
from kvmrun.model.paths import GuestRuntime, Paths


def guest_runtimes(lab: Lab, where: Paths) -> dict[str, GuestRuntime]:
    """The runtime of every guest below `where`. Its uid is None also for `user` of a guest that does not exist here."""
    found = lab.derived_runtimes(where)
    users = {name: guest.user for name, guest in lab.guests.items() if guest.user and where.root}
    accounts = account_ids(users.values())
    return found | {name: found[name].replace(uid=accounts.get(user)) for name, user in users.items()}


def account_ids(names: Iterable[str]) -> dict[str, int]:
    """The uids of those of `names` that exist."""
    found = {}
    for name in names:
        try:
            found[name] = pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return found
