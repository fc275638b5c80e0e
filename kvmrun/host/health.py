"""Whether a network that was brought up still stands, asked as cheaply as a list can afford."""

import os
from collections.abc import Mapping

_NAMES_GONE, _RULES_GONE = "dnsmasq is not running", "its packet filter was changed"


def problem(directory: str, uid: int, tables: Mapping[str, str]) -> str:
    """What is wrong with the network whose run directory this is; "" when nothing is, or it is not up by us.

    `tables` are those of the packet filter it may have, by the names of their notes.
    """
    if os.path.exists(f"{directory}/dnsmasq") and not _alive(f"{directory}/dnsmasq", uid):
        return _NAMES_GONE
    for note, table in tables.items():
        if os.path.exists(f"{directory}/{note}"):
            from kvmrun.host import nft  # only for a network with rules, read only when the kernel's count has moved

            if nft.loaded(table, f"{directory}/{note}") in {"", "changed"}:
                return _RULES_GONE
    return ""


def _alive(hint: str, uid: int) -> bool:
    try:
        with open(hint, encoding="ascii") as file:
            pid = int(file.read(20))
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            state = file.read(512).rpartition(b")")[2].split()[0]
        return os.stat(f"/proc/{pid}").st_uid == uid and state not in {b"Z", b"X"}
    except (OSError, ValueError, IndexError):
        return False
