"""kvmrun ssh NAME: log in to a guest, with known hosts that are not yours."""

import os
import signal
import sys
from typing import NoReturn

from kvmrun.commands._agent import talking
from kvmrun.commands._lab import directories, open_lab, place_of, running
from kvmrun.commands._words import Args, Parser
from kvmrun.errors import HostLacks, KvmrunError, Refused
from kvmrun.host.files import safe_directory
from kvmrun.host.process import process
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import Deadline
from kvmrun.model.guest.paths import Directories
from kvmrun.monitor.agent import agent_commands

HELP = "log in to a guest by ssh, or run a command in it"
TIMEOUT = "10 s to connect"
COMMAND_LINE = "NAME [[--] COMMAND [ARGUMENT ...]]"
_CONNECT = 10
_ALIVE = 10
"""So many seconds without a word ask the guest for one; ssh gives up when three of them were in vain."""


def configure(parser: Parser) -> None:
    parser.add_argument("guest", metavar="NAME", help="a running guest; the arguments after it are the command")
    parser.add_argument(
        "-l", "--login", metavar="USER", help="the account in the guest; ssh_user of the definition if not given"
    )


def run(args: Args) -> NoReturn:
    """Becomes ssh, whose exit code is then ours."""
    where = directories(args)
    place = running(where, args.guest)
    program = process.find_tool("ssh")
    if not program:
        raise HostLacks("ssh is not installed", "apt install openssh-client")
    address = _address(where, place, args.guest, args.deadline)
    words = [program, *_options(where, args), address, *args.raw]
    sys.stdout.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # what this language ignores, ssh's children would ignore too
        signal.signal(number, signal.SIG_DFL)
    os.execv(program, words)  # noqa: S606 - a list of words, no shell is wanted


def _options(where: Directories, args: Args) -> list[str]:
    keys = f"{where.state}/ssh"
    try:
        safe_directory.made(where.state)
        rundir.make_private(keys)
    except OSError as why:
        raise KvmrunError(f"cannot make {keys}", "KVMRUN_STATE_DIR names another place", why=f"{why}") from None
    told = {
        "UserKnownHostsFile": _quoted(f"{keys}/known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "accept-new",
        "HostKeyAlias": args.guest,
        "CheckHostIP": "no",
        "ConnectTimeout": f"{max(1, int(args.timeout or _CONNECT))}",
        "ServerAliveInterval": f"{_ALIVE}",  # a guest that died says nothing, and ssh would wait for ever
    }
    words = [word for key, value in told.items() for word in ("-o", f"{key}={value}")]
    if os.path.exists(f"{keys}/id_ed25519"):
        words += ["-o", f"IdentityFile={_quoted(f'{keys}/id_ed25519')}"]
    if user := args.login or _user(where, args.guest):
        words += ["-l", user]
    return words


def _quoted(path: str) -> str:
    """A path as ssh takes it in an option: blanks do not split it, and percent signs stand for themselves."""
    return '"' + path.replace("%", "%%") + '"'


def _user(where: Directories, name: str) -> str:
    """The account its definition names, where there still is one."""
    try:
        guest = open_lab(where).guests.get(name)
    except KvmrunError:
        return ""
    return (guest.ssh_user if guest else None) or ""


def _address(where: Directories, place: str, name: str, deadline: Deadline) -> str:
    """Its reserved address; of a guest without one the first its agent tells."""
    if reserved := next((port.address for port in place_of(where, name).ports if port.address), None):
        return reserved
    try:
        with talking(place, name, deadline=deadline) as agent:
            found = [one for card in agent_commands.interfaces(agent) for one in card.addresses]
    except KvmrunError as no:
        raise _nowhere(name, no.message) from None
    told = next((one.partition("/")[0] for one in found if not one.startswith("fe80:")), "")
    if not told:
        raise _nowhere(name, "its agent reports none either")
    return told


def _nowhere(name: str, why: str) -> Refused:
    return Refused(f"{name} has no address to log in at", f"give one of its NICs an address in {name}.toml", why=why)
