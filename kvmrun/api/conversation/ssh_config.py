"""What OpenSSH needs to know of the guests of a lab, as a file that ssh, scp, rsync, Ansible and editors include."""

from collections.abc import Mapping

from kvmrun.api.conversation.ssh_login import client_options, reachable_address
from kvmrun.api.lab import LabHandle, read_definitions, running_runtime
from kvmrun.config.standard_paths import make_absolute
from kvmrun.errors import KvmrunError
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.files import export_files
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest.guest import Guest
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.printable import printable

_AGENT_LIMIT = 2.0
"""Seconds for the agent of a guest without a reserved address."""


def ssh_config(lab: LabHandle) -> str:
    """A Host section for every guest of the lab that has an address, as ssh_config(5) describes; running or not.

    A guest without an address is a comment with the reason.

    Raises: ConfigError and Refused for a lab that cannot be read, KvmrunError.
    """
    where = lab.paths
    now = read_definitions(where)
    defined = guest_runtimes(now, where)
    common = client_options(where)
    sections = (_section(where, now.guests[name], defined[name], common) for name in sorted(now.guests))
    return f"# the guests of {printable(where.vms)}\n" + "".join(f"\n{section}" for section in sections)


def write_ssh_config(lab: LabHandle, path: str) -> None:
    """Write what `ssh_config` returns to the file `path`, which is replaced.

    Raises: what `ssh_config` raises; Refused and NotPermitted for the file.
    """
    export_files.put(make_absolute(path), ssh_config(lab))


def _section(where: Paths, guest: Guest, defined: GuestRuntime, common: Mapping[str, str]) -> str:
    try:
        runtime = running_runtime(where, guest.name) or defined
        address = reachable_address(runtime, Deadline.begin(_AGENT_LIMIT))
    except KvmrunError as error:
        return f"# {printable(error.message)}\n"
    told = {"HostName": address, "HostKeyAlias": guest.name, **common}
    told |= {"User": user} if (user := guest.login()) else {}
    return f"Host {guest.name}\n" + "".join(f"    {key} {value}\n" for key, value in told.items())
