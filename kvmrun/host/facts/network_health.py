"""Whether a network that was brought up still stands, asked as cheaply as a list can afford."""

import os
from collections.abc import Mapping

from kvmrun.host.files import small_files
from kvmrun.host.process import process


def network_problem(directory: str, uid: int, tables: Mapping[str, str]) -> str:
    """What is wrong with the network whose run directory this is; "" when nothing is, or it is not up by us.

    `tables` are those of the packet filter it may have, by the names of their notes.
    """
    if os.path.lexists(f"{directory}/dnsmasq") and (text := _names(f"{directory}/dnsmasq", uid)):
        return text
    for note, table in tables.items():
        if os.path.lexists(f"{directory}/{note}"):
            from kvmrun.host.firewall import (
                nft,  # only for a network with rules, read only when the kernel's count has moved
            )

            if nft.loaded_digest(table, f"{directory}/{note}") in {"", "changed"}:
                from kvmrun.plan.repair import fault_texts

                return fault_texts.RULES_CHANGED
    return ""


def _names(hint: str, uid: int) -> str:
    """What is wrong with the dnsmasq that is noted there, "" for nothing."""
    noted = small_files.read_bounded(hint, 20) or b""
    alive, stopped = _alive(hint, uid), noted.isdigit() and process.is_stopped(int(noted))
    if alive and not stopped:
        return ""
    from kvmrun.plan.repair import fault_texts

    return fault_texts.NAMES_STOPPED if alive else fault_texts.NAMES_GONE


def _alive(hint: str, uid: int) -> bool:
    """Whether a process of that account, which is nobody else's, lives here: the one that is noted, or any."""
    noted = small_files.read_bounded(hint, 20) or b""
    if noted.isdigit() and _is(noted.decode(), uid):
        return True
    return any(_is(pid, uid) for pid in os.listdir("/proc") if pid.isdigit())


def _is(pid: str, uid: int) -> bool:
    try:
        if os.stat(f"/proc/{pid}").st_uid != uid:
            return False
        if not os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.stat("/proc/self/ns/net")):
            return False
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read(512).rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except (OSError, IndexError):
        return False
