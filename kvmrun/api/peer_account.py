"""Who answers on a guest's monitor: its QEMU, or somebody else behind the socket's name."""

import os

from kvmrun.host.process import process
from kvmrun.host.rundir import rundir
from kvmrun.monitor.qmp.query_many import Reply

Accounts = tuple[int, ...]
"""The uids that may answer for a guest: its QEMU's, and ours, as a connection from before QEMU listened shows whoever
launched it. () where its QEMU is not seen: then anybody."""


def allowed_uids(directory: str) -> Accounts:
    """Those for the guest of that run directory."""
    record = rundir.read_record(directory)
    return allowed_uids_of(rundir.qemu_pid(directory, record.pid if record else 0))


def allowed_uids_of(pid: int) -> Accounts:
    """Those for the guest whose QEMU has that pid."""
    uid = process.account(pid) if pid > 0 else -1
    return (os.geteuid(), uid) if uid >= 0 else ()


def reject_stranger(answer: Reply, known: Accounts) -> Reply:
    """The answer; that of a stranger is none."""
    return Reply(silence="stranger") if known and answer.peer >= 0 and answer.peer not in known else answer
