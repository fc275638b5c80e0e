"""Whose the things in the state directory are: logs, what guests keep, images, and leases, by small notes beside them.

Labs share the state directory. A log, what a guest keeps, or a list of leases of another lab is put aside before this
lab begins its own, and comes back when that lab has its turn. What nobody has a note of was made by 0.1.0, and is the
first one's who asks.
"""

import os
from contextlib import suppress
from typing import Literal

from kvmrun.host.files import small_files
from kvmrun.host.process import process
from kvmrun.host.rundir import records
from kvmrun.model import derive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.paths import Paths

_ACCOUNTS = range(0x70000000, 0x78000000)
"""Those that derive.uid gives."""
Kind = Literal["log", "image", "net", "guest"]


def other_owner(state: str, kind: Kind, name: str, lab: str) -> str:
    """The lab that a thing belongs to, "" where that is `lab`, nobody, or a lab that is no longer there."""
    said = (small_files.read_bounded(_note(state, kind, name)) or b"").decode(errors="replace")
    return said if lab and said and said != lab and not records.is_gone(said) else ""


def claim(state: str, kind: Kind, name: str, lab: str) -> None:
    """Note that a thing is this lab's. A note that cannot be written costs nothing but its word."""
    path = _note(state, kind, name)
    if not lab or small_files.read_bounded(path) == lab.encode():
        return
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        small_files.replace_atomically(path, lab.encode())


def forget(state: str, kind: Kind, name: str) -> None:
    """Remove the note of a thing that is gone."""
    with suppress(OSError):
        os.unlink(_note(state, kind, name))


def log(where: Paths, guest: str) -> str:
    """The directory of the guest's log: where it is put aside while another lab has begun one of that name."""
    return _own(where.log(guest), "log", guest, where)


def guest_state(where: Paths, guest: str) -> str:
    """The directory of what the guest keeps besides its images, likewise."""
    return _own(where.guest_state(guest), "guest", guest, where)


def _own(path: str, kind: Kind, name: str, where: Paths) -> str:
    aside = _aside(path, where.lab)
    is_aside = not os.path.lexists(path) and os.path.lexists(aside)
    return aside if is_aside or other_owner(where.state, kind, name, where.lab) else path


def begin_log(where: Paths, guest: str) -> None:
    """Make the place of the guest's log this lab's."""
    _take_turns(where.log(guest), other_owner(where.state, "log", guest, where.lab), where.lab)
    claim(where.state, "log", guest, where.lab)


def begin_guest_state(where: Paths, guest: str) -> None:
    """Make the place of what the guest keeps this lab's."""
    _take_turns(where.guest_state(guest), other_owner(where.state, "guest", guest, where.lab), where.lab)
    claim(where.state, "guest", guest, where.lab)


def begin_leases(path: str, network: str, lab: str) -> None:
    """The same for the file of leases of a network whose dnsmasq does not run."""
    state = os.path.dirname(os.path.dirname(os.path.dirname(path)))
    _take_turns(path, other_owner(state, "net", network, lab), lab)
    claim(state, "net", network, lab)


def claim_images(where: Paths, guest: Guest) -> None:
    """Note that the images that kvmrun makes for the guest are this lab's."""
    for name in _made(where, guest):
        claim(where.state, "image", name, where.lab)


def image_elsewhere(where: Paths, guest: Guest) -> tuple[str, str]:
    """An image the guest would write to that kvmrun made for another lab, and that lab; ("", "") for none.

    The note of an image that is no longer there says nothing.
    """
    there = (name for name in _made(where, guest) if os.path.lexists(f"{where.images}/{name}"))
    found = ((name, other_owner(where.state, "image", name, where.lab)) for name in there)
    return next(((name, lab) for name, lab in found if lab), ("", ""))


def lab_served(pid: int) -> str:
    """The lab whose dnsmasq a process is, by its account and configuration; "" for any other process."""
    words = small_files.read_bounded(f"/proc/{pid}/cmdline", 4096) or b""
    config = next((word[12:].decode() for word in words.split(b"\0") if word.startswith(b"--conf-file=/")), "")
    if not config.endswith("/config") or not _ACCOUNTS.start <= process.uid_of(pid) < _ACCOUNTS.stop:
        return ""
    here = os.path.dirname(config)
    note = small_files.read_bounded(_note(os.path.dirname(os.path.dirname(here)), "net", os.path.basename(here)))
    return (note or b"").decode(errors="replace")


def _made(where: Paths, guest: Guest) -> list[str]:
    """The names of the images of ours that the guest's definition has made, and that it writes to."""
    written = () if guest.throwaway else guest.drive
    drives = (drive for drive in written if (drive.base or drive.size) and not drive.is_readonly())
    return [os.path.basename(one.image) for one in drives if os.path.dirname(one.image) == where.images]


def _take_turns(path: str, other_lab: str, lab: str) -> None:
    """Put what is at `path` aside for another lab, and bring back what was put aside for this one."""
    with suppress(OSError):
        if other_lab:
            os.rename(path, _aside(path, other_lab))
    with suppress(OSError):
        if not os.path.lexists(path):
            os.rename(_aside(path, lab), path)


def _aside(path: str, lab: str) -> str:
    return f"{path}~{derive.digest(lab)[:12]}"


def _note(state: str, kind: Kind, name: str) -> str:
    return f"{state}/owners/{kind}/{name}"
