"""The capabilities that root lacks in a container or a service, without which it cannot see or change everything."""

import os

from kvmrun.errors import NotPermitted
from kvmrun.host.files import small_files

_NEEDED = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_PTRACE": 19,
}
"""Files and processes of QEMU's own accounts are made, looked at and ended; dnsmasq keeps three; links and rules."""
HINT = "give them to the container or service it runs in"


def missing_capabilities() -> str:
    """The capabilities that this root should have and has not, in words; "" when it has all, and for other users."""
    if os.geteuid() != 0:
        return ""
    lines = (small_files.read_text("/proc/self/status") or "").splitlines()
    held = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), -1)
    return ", ".join(name for name, bit in _NEEDED.items() if not held >> bit & 1)


def require_capabilities() -> None:
    """For those who would mistake what they cannot see for what is not there.

    Raises: NotPermitted, with the names of those that root lacks.
    """
    if lost := missing_capabilities():
        reason = "without them the processes of guests and networks cannot be seen or changed"
        raise NotPermitted(f"root lacks {lost} here", HINT, reason=reason)
