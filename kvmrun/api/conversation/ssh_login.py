"""Logging in to a guest by ssh, with known hosts that are not the user's."""

import os
import socket
from collections.abc import Sequence

from kvmrun.api.conversation.agent import agent_session
from kvmrun.api.lab import LabHandle, read_definitions, require_running, runtime_of
from kvmrun.errors import HostLacks, KvmrunError, Refused
from kvmrun.host.files import safe_directory
from kvmrun.host.links import neighbours
from kvmrun.host.process import process
from kvmrun.host.rundir import rundir
from kvmrun.host.seed.caller_keys import private_keys
from kvmrun.model.deadline import Deadline
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.value import Value
from kvmrun.monitor.agent import agent_commands

_PORT = 22
_PROBE = 2.0
"""Seconds to find out whether a guest accepts ssh."""
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
    require_running(where, name)
    program = process.find_program("ssh")
    if not program:
        raise HostLacks("ssh is not installed", "apt install openssh-client")
    address = reachable_address(runtime_of(where, name), Deadline.begin(options.timeout))
    told = client_options(where, options.timeout) | {"HostKeyAlias": name}
    words = [word for key, value in told.items() for word in ("-o", f"{key}={value}")]
    words += [word for path in private_keys(where) for word in ("-o", f"IdentityFile={_quoted(path)}")]
    user = options.user or _user(where, name)
    return [program, *words, *(["-l", user] if user else []), address, *arguments]


def ssh_obstacle(lab: LabHandle, name: str, timeout: float | None = None) -> str:
    """Why a login by ssh to a running guest would fail, "" where its port 22 accepts a connection within 2 seconds.

    Raises: NotRunning, NoSuchGuest, OtherLab, KvmrunError.
    """
    require_running(lab.paths, name)
    if not process.find_program("ssh"):
        return "ssh is not installed"
    deadline = Deadline.begin(timeout)
    try:
        address = reachable_address(runtime_of(lab.paths, name), Deadline.begin(deadline.left(_PROBE)))
    except Refused as error:
        return error.message
    try:
        socket.create_connection((address, _PORT), deadline.left(_PROBE)).close()
    except OSError as error:
        return f"{address} accepts no ssh ({error.strerror or 'no answer'})"
    return ""


def client_options(where: Paths, timeout: float | None = None) -> dict[str, str]:
    """What ssh is told of every guest, as keys of ssh_config(5). The directory of keys is made.

    Raises: KvmrunError where it cannot be made.
    """
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
        "CheckHostIP": "no",
        "ConnectTimeout": f"{max(1, int(timeout or _CONNECT))}",
        "ServerAliveInterval": f"{_ALIVE}",  # a guest that died says nothing, and ssh would wait for ever
    }
    if os.path.exists(f"{keys}/id_ed25519"):
        told["IdentityFile"] = _quoted(f"{keys}/id_ed25519")
    return told


def _quoted(path: str) -> str:
    """A path as ssh takes it in an option: blanks do not split it, and percent signs stand for themselves."""
    return '"' + path.replace("%", "%%") + '"'


def _user(where: Paths, name: str) -> str:
    """The account its definition names, where there still is one."""
    try:
        guest = read_definitions(where).guests.get(name)
    except KvmrunError:
        return ""
    return (guest.login() if guest else None) or ""


def reachable_address(runtime: GuestRuntime, deadline: Deadline) -> str:
    """Its reserved address; else one that the host has seen it use, or the first its agent tells.

    Raises: Refused where there is none.
    """
    if reserved := next((port.address for port in runtime.ports if port.address), None):
        return reserved
    name, known = runtime.guest, neighbours.known_addresses()
    if seen := next((known[at] for port in runtime.ports if (at := (port.bridge, port.mac)) in known), None):
        return seen
    try:
        with agent_session(runtime.directory, name, deadline=deadline) as agent:
            told = [one for nic in agent_commands.interfaces(agent) for one in nic.routable()]
    except KvmrunError as no:
        raise _no_address_error(name, no.message) from None
    if not told:
        raise _no_address_error(name, "its agent reports none either")
    return told[0]


def _no_address_error(name: str, reason: str) -> Refused:
    return Refused(
        f"{name} has no address to log in at", f"give one of its NICs an address in {name}.toml", reason=reason
    )
