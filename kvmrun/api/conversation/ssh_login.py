"""Logging in to a guest by ssh, with known hosts that are not the user's."""

import os
from collections.abc import Sequence

from kvmrun.api.conversation.agent import agent_session
from kvmrun.api.lab import LabHandle, read_definitions, require_running, runtime_of
from kvmrun.errors import HostLacks, KvmrunError, Refused
from kvmrun.host.files import safe_directory
from kvmrun.host.process import process
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest.paths import Paths
from kvmrun.model.value import Value
from kvmrun.monitor.agent import agent_commands

_CONNECT = 10
_ALIVE = 10
"""So many seconds without a word ask the guest for one; ssh gives up when three of them were in vain."""


class SshOptions(Value):
    """How ssh logs in: as `user`, else as the definition's ssh_user. `timeout` is to connect, usually 10 seconds."""

    user: str | None = None
    timeout: float | None = None


def ssh_command(
    lab: LabHandle, name: str, arguments: Sequence[str] = (), options: SshOptions | None = None
) -> list[str]:
    """The ssh command, its program first, that logs in to a running guest or runs `arguments` there.

    It keeps what it learns of guests' keys in a file of its own, whose directory is made.

    Raises: HostLacks without ssh, Refused for a guest without an address; NotRunning, NoSuchGuest, KvmrunError.
    """
    options = options or SshOptions()
    where = lab.paths
    directory = require_running(where, name)
    program = process.find_program("ssh")
    if not program:
        raise HostLacks("ssh is not installed", "apt install openssh-client")
    address = _reachable_address(where, directory, name, Deadline.begin(options.timeout))
    return [program, *_options(where, name, options), address, *arguments]


def _options(where: Paths, name: str, options: SshOptions) -> list[str]:
    keys = f"{where.state}/ssh"
    try:
        safe_directory.made(where.state)
        rundir.make_private(keys)
    except OSError as error:
        raise KvmrunError(f"cannot make {keys}", "KVMRUN_STATE_DIR names another place", reason=f"{error}") from None
    told = {
        "UserKnownHostsFile": _quoted(f"{keys}/known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "accept-new",
        "HostKeyAlias": name,
        "CheckHostIP": "no",
        "ConnectTimeout": f"{max(1, int(options.timeout or _CONNECT))}",
        "ServerAliveInterval": f"{_ALIVE}",  # a guest that died says nothing, and ssh would wait for ever
    }
    words = [word for key, value in told.items() for word in ("-o", f"{key}={value}")]
    if os.path.exists(f"{keys}/id_ed25519"):
        words += ["-o", f"IdentityFile={_quoted(f'{keys}/id_ed25519')}"]
    if user := options.user or _user(where, name):
        words += ["-l", user]
    return words


def _quoted(path: str) -> str:
    """A path as ssh takes it in an option: blanks do not split it, and percent signs stand for themselves."""
    return '"' + path.replace("%", "%%") + '"'


def _user(where: Paths, name: str) -> str:
    """The account its definition names, where there still is one."""
    try:
        guest = read_definitions(where).guests.get(name)
    except KvmrunError:
        return ""
    return (guest.ssh_user if guest else None) or ""


def _reachable_address(where: Paths, place: str, name: str, deadline: Deadline) -> str:
    """Its reserved address; of a guest without one the first its agent tells."""
    if reserved := next((port.address for port in runtime_of(where, name).ports if port.address), None):
        return reserved
    try:
        with agent_session(place, name, deadline=deadline) as agent:
            found = [one for card in agent_commands.interfaces(agent) for one in card.addresses]
    except KvmrunError as no:
        raise _no_address_error(name, no.message) from None
    told = next((one.partition("/")[0] for one in found if not one.startswith("fe80:")), "")
    if not told:
        raise _no_address_error(name, "its agent reports none either")
    return told


def _no_address_error(name: str, reason: str) -> Refused:
    return Refused(
        f"{name} has no address to log in at", f"give one of its NICs an address in {name}.toml", reason=reason
    )
