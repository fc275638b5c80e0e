"""The trays of the CD-ROM drives of a guest: what is in them, and changing it, in one conversation with its QEMU."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kvmrun.errors import Refused
from kvmrun.model.value import Value
from kvmrun.monitor.qmp.fd_passing import QmpConnection, QmpError

_DEVICE = re.compile(r"(?:^|/)drive(\d{1,4})(?:/|$)")
_SET = re.compile(r"/dev/fdset/(\d{1,9})")
_PATIENCE = 3.0
"""How long a guest has to unlock its tray once it was asked to release the medium, in seconds."""


class Tray(Value):
    """The tray of drive `drive`: the node of QEMU in it, "" for none, and the number of its descriptor set, or -1."""

    drive: int
    node: str = ""
    fdset: int = -1
    is_open: bool = False
    is_locked: bool = False

    @property
    def device(self) -> str:
        return f"drive{self.drive}"


def read_trays(qmp: QmpConnection) -> list[Tray]:
    """The trays of all CD-ROM drives that kvmrun has given the guest."""
    answer = qmp.execute("query-block")
    return sorted(_trays(answer), key=lambda tray: tray.drive)


def _trays(answer: Any) -> Iterator[Tray]:
    for one in answer if isinstance(answer, list) else ():
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            if one["removable"] is True and (device := _DEVICE.search(one["qdev"])):
                inside = one.get("inserted") or {}
                fdset = _SET.search(f"{inside.get('file', '')}")
                yield Tray(
                    drive=int(device[1]),
                    node=str(inside.get("node-name", "")),
                    fdset=int(fdset[1]) if fdset else -1,
                    is_open=one.get("tray_open") is True,
                    is_locked=one.get("locked") is True,
                )


def descriptors_of(qmp: QmpConnection, fdset: int) -> list[int]:
    """The descriptors of QEMU in that set."""
    with suppress(KeyError, TypeError, ValueError):
        for one in qmp.execute("query-fdsets"):
            if one["fdset-id"] == fdset:
                return [int(fd["fd"]) for fd in one["fds"]]
    return []


def fdset_of(qmp: QmpConnection, node: str) -> int:
    """The descriptor set that a node of QEMU has open, -1 for none."""
    with suppress(KeyError, TypeError, ValueError):
        for one in qmp.execute("query-named-block-nodes", {"flat": True}):
            if one["node-name"] == node and (found := _SET.search(one["file"])):
                return int(found[1])
    return -1


def open_tray(qmp: QmpConnection, tray: Tray, guest: str) -> None:
    """Open a tray. Of one that is locked the guest is asked to release the medium, as by the button of the drive.

    Raises: Refused where it does not.
    """
    qmp.execute("blockdev-open-tray", {"id": tray.device, "force": False})
    deadline = time.monotonic() + _PATIENCE
    while not any(one.is_open for one in read_trays(qmp) if one.drive == tray.drive):
        if time.monotonic() > deadline:
            reason = "the guest uses the medium, and did not release it when it was asked to"
            raise Refused(
                f"the tray of drive {tray.drive} of {guest} is locked", f"unmount it in {guest}", reason=reason
            )
        time.sleep(0.05)


def replace_medium(qmp: QmpConnection, tray: Tray, node: str) -> None:
    """Have `node`, or nothing where it is "", in the open tray instead of what is there, which stays if that fails.

    The tray is closed at the end, and the file of the former medium too, unless another drive has it.
    """
    if tray.node:
        qmp.execute("blockdev-remove-medium", {"id": tray.device})
    try:
        if node:
            qmp.execute("blockdev-insert-medium", {"id": tray.device, "node-name": node})
    except QmpError:
        if tray.node:
            qmp.execute("blockdev-insert-medium", {"id": tray.device, "node-name": tray.node})
        raise
    finally:
        with suppress(QmpError):
            qmp.execute("blockdev-close-tray", {"id": tray.device})
    if tray.node:
        discard_node(qmp, tray.node, tray.fdset)


def discard_node(qmp: QmpConnection, node: str, fdset: int) -> None:
    """Have QEMU forget a medium that is in no tray, and close its file, unless another drive has it."""
    with suppress(QmpError):
        qmp.execute("blockdev-del", {"node-name": node})
    with suppress(QmpError):
        if fdset >= 0 and not any(one.fdset == fdset for one in read_trays(qmp)):
            qmp.execute("remove-fd", {"fdset-id": fdset})
