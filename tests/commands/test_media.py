"""Media of CD-ROM drives: trays that are empty, and media that are changed while the guest runs."""

import base64
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.builders import ALONE, guests
from support.cli import Cli, Run
from support.sector import cdrom, disk

from kvmrun.api.disk import media as media_of_guest

pytestmark = pytest.mark.usefixtures("netns", "tun")

TRAY = '[[drive]]\nmedia = "cdrom"\n'
LOCK = bytes.fromhex(
    "baf601 b0a0 ee"  # the first device of the first IDE channel
    "baf401 30c0 ee 42 b008 ee"  # 2048 bytes at a time
    "baf701 b0a0 ee ec a808 74fb"  # PACKET, and wait until the device asks for it
    "baf001 b81e00 ef 31c0 ef b80100 ef 31c0 ef ef ef"  # PREVENT ALLOW MEDIUM REMOVAL
    "bafb03 b003 ee baf803 b04c ee b00a ee fa f4 ebfd"  # say L on the serial port, and halt
)
"""A boot sector that keeps the tray of a CD-ROM on IDE locked."""


@pytest.fixture
def isos(images: Path) -> tuple[Path, Path]:
    paths = images / "a.iso", images / "b.iso"
    for path in paths:
        path.write_bytes(bytes(1 << 20))
    return paths


def media(kvmrun: Cli, name: str = "vm1") -> dict[int, dict[str, Any]]:
    found = kvmrun.ok("media", name, "-o", "json").json()["media"]
    return {one["drive"]: one for one in found}


def opened(kvmrun: Cli, name: str = "vm1") -> set[str]:
    """The ISO files that the QEMU of the guest has open."""
    directory = f"/proc/{kvmrun.pid(name)}/fd"
    paths = (os.readlink(f"{directory}/{number}") for number in os.listdir(directory))
    return {path for path in paths if path.endswith(".iso")}


@pytest.mark.parametrize("keys", ['machine = "q35"\n', 'machine = "pc"\n', 'machine = "microvm"\n'])
def test_an_empty_tray_is_filled_exchanged_and_emptied(
    lab: Path, kvmrun: Cli, isos: tuple[Path, Path], keys: str
) -> None:
    first, second = isos
    guests(lab, "vm1", text=f"{ALONE}{keys}{TRAY}")
    kvmrun.ok("vm1")
    assert media(kvmrun) == {
        0: {"guest": "vm1", "drive": 0, "image": None, "is_open": False, "is_locked": False},
    }
    for file, path in (("a.iso", first), (str(second), second), ("a.iso", first)):
        kvmrun.ok("media", "vm1", file)
        assert (media(kvmrun)[0]["image"], opened(kvmrun)) == (str(path), {str(path)})
    assert f"medium     drive 0: {first}\n" in kvmrun.ok("show", "vm1").out
    kvmrun.ok("media", "vm1", "--eject")
    assert (media(kvmrun)[0]["image"], opened(kvmrun)) == (None, set())
    assert kvmrun.ok("show", "vm1", "-o", "json").json()["media"] == [media(kvmrun)[0]]
    kvmrun.ok("media", "vm1", "--eject")
    kvmrun.ok("restart", "vm1", "--force")
    assert media(kvmrun)[0]["image"] is None


def test_one_of_several_is_named(lab: Path, kvmrun: Cli, isos: tuple[Path, Path]) -> None:
    """The same file in two trays is closed when it is in none any more."""
    first, second = isos
    guests(lab, "vm1", text=f'{ALONE}{TRAY}image = "a.iso"\n{TRAY}image = "a.iso"\ninterface = "ide"\n')
    kvmrun.ok("vm1")
    asked = kvmrun("media", "vm1", "b.iso")
    assert (asked.code, "vm1:0 (a.iso) or vm1:1 (a.iso)" in asked.err) == (2, True)
    assert kvmrun("media", "vm1:7", "--eject").code == 2
    kvmrun.ok("media", "vm1:1", "b.iso")
    assert {number: one["image"] for number, one in media(kvmrun).items()} == {0: str(first), 1: str(second)}
    assert opened(kvmrun) == {str(first), str(second)}
    kvmrun.ok("media", "vm1:0", "--eject")
    assert opened(kvmrun) == {str(second)}


def test_the_medium_of_the_seed_is_not_the_users(lab: Path, kvmrun: Cli, isos: tuple[Path, Path]) -> None:
    key = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
    guests(lab, "vm1", text=f'{ALONE}{TRAY}[seed]\nbackend = "cloud-init"\nssh_keys = ["{key}"]\n')
    kvmrun.ok("vm1")
    assert [*media(kvmrun)] == [0]
    kvmrun.ok("media", "vm1", "a.iso")
    assert kvmrun("media", "vm1:1", "--eject").code == 2


def test_an_optional_medium_may_be_absent(lab: Path, kvmrun: Cli, images: Path, isos: tuple[Path, Path]) -> None:
    guests(lab, "vm1", text=f'{ALONE}{TRAY}image = "c.iso"\noptional = true\n')
    guests(lab, "vm2", text=f'{ALONE}{TRAY}image = "c.iso"\n')
    checked = kvmrun("check", "-o", "json")
    found = {one["file"]: (one["key"], one["warning"]) for one in checked.json()["problems"]}
    assert found == {"vm1.toml": ("drive[0].image", True), "vm2.toml": ("drive[0].image", False)}
    refused = kvmrun("vm2")
    assert (refused.code, "optional = true" in refused.err) == (6, True)
    kvmrun.ok("vm1")
    assert media(kvmrun)[0]["image"] is None
    assert "c.iso" not in " ".join(kvmrun.ok("show", "vm1", "-o", "json").json()["command"])
    isos[0].rename(images / "c.iso")
    kvmrun.ok("restart", "vm1", "--force")
    assert media(kvmrun)[0]["image"] == str(images / "c.iso")


@pytest.mark.boots
def test_a_tray_that_the_guest_has_locked_is_left_as_it_is(
    lab: Path, kvmrun: Cli, images: Path, isos: tuple[Path, Path]
) -> None:
    first, _ = isos
    (images / "sector.raw").write_bytes((LOCK.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
    drives = f'[[drive]]\nimage = "sector.raw"\n{TRAY}image = "a.iso"\n'
    guests(lab, "vm1", text=f'{ALONE}machine = "pc"\n{drives}')
    kvmrun.ok("vm1", "--wait=console:L")
    refused = kvmrun("media", "vm1", "b.iso")
    assert (refused.code, "locked" in refused.err) == (6, True)
    assert (media(kvmrun)[1]["image"], media(kvmrun)[1]["is_locked"]) == (str(first), True)
    assert opened(kvmrun) == {str(first)}


def test_what_cannot_be_a_medium_changes_nothing(
    lab: Path, kvmrun: Cli, images: Path, isos: tuple[Path, Path], tmp_path: Path
) -> None:
    guests(lab, "vm1", text=f'{ALONE}{TRAY}image = "a.iso"\n[[drive]]\nimage = "disk.raw"\nsize = "1M"\n')
    guests(lab, "vm2", text=ALONE)
    kvmrun.ok("up", "vm1", "vm2")
    (images / "forged.iso").write_bytes(b"QFI\xfb\0\0\0\x03".ljust(1 << 20, b"\0"))
    (images / "loop.iso").symlink_to(images / "loop.iso")
    os.mkfifo(images / "pipe.iso")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open/other.iso").write_bytes(bytes(1 << 20))
    wrong = {"no-such.iso": 2, "forged.iso": 6, "loop.iso": 2, "pipe.iso": 6, "disk.raw": 6, f"{images}": 6}
    for file, code in {**wrong, f"{tmp_path}/open/other.iso": 6}.items():
        refused = kvmrun("media", "vm1", file)
        assert (refused.code, bool(refused.fixes)) == (code, True), f"{file}: {refused.err}"
        assert media(kvmrun)[0]["image"] == str(isos[0])
    assert kvmrun("media", "vm1", "a.iso", "--eject").code == 2
    assert (kvmrun("media", "vm2", "a.iso").code, kvmrun("media", "vm3").code) == (6, 4)
    kvmrun.ok("stop", "--force", "vm2")
    assert kvmrun("media", "vm2").code == 3


@pytest.mark.boots
@pytest.mark.parametrize("drives", ["", TRAY])
def test_a_cdrom_is_booted_once(lab: Path, kvmrun: Cli, images: Path, drives: str) -> None:
    """Before all else, for one start; and the guest boots its disk again when the tray is empty."""
    disk(images / "disk.raw", b"from-disk\r\n")
    cdrom(images / "rescue.iso", b"from-cdrom\r\n")
    guests(lab, "vm1", text=f'{ALONE}[[drive]]\nimage = "disk.raw"\n{drives}')
    kvmrun.ok("vm1", "--cdrom", "rescue.iso", "--wait=console:from-cdrom")
    again = kvmrun("vm1", "--cdrom", "rescue.iso")
    assert (again.code, "kvmrun media vm1 rescue.iso" in again.err) == (6, True)
    kvmrun.ok("media", "vm1", "--eject")
    kvmrun.ok("reset", "vm1")
    kvmrun.ok("wait", "vm1", "--for", "console:from-disk")
    kvmrun.ok("stop", "--force", "vm1")
    kvmrun.ok("vm1", "--wait=console:from-disk")
    assert "rescue.iso" not in " ".join(kvmrun.ok("show", "vm1", "-o", "json").json()["command"])


def test_a_cdrom_that_cannot_be_booted_is_refused(lab: Path, kvmrun: Cli, isos: tuple[Path, Path]) -> None:
    guests(lab, "vm1", text=f'{ALONE}machine = "microvm"\n')
    crowded = "".join(f'[[drive]]\nimage = "{number}.raw"\ninterface = "ide"\nsize = "1M"\n' for number in range(4))
    guests(lab, "vm2", text=f'{ALONE}machine = "pc"\n{crowded}')
    assert [kvmrun(name, "--cdrom", "a.iso").code for name in ("vm1", "vm2")] == [6, 6]
    assert kvmrun("vm1", "--cdrom", "no-such.iso").code == 2


def test_a_change_that_was_cut_short_is_mended_by_the_next(lab: Path, kvmrun: Cli, isos: tuple[Path, Path]) -> None:
    """Killed between the two media: the tray is open and empty, and QEMU still has both."""
    first, second = isos
    guests(lab, "vm1", text=f'{ALONE}{TRAY}image = "a.iso"\n')
    kvmrun.ok("vm1")
    kvmrun.ok("media", "vm1", "b.iso")
    node = {"driver": "raw", "node-name": "d0", "read-only": True, "file": {"driver": "null-co", "read-only": True}}
    for command, arguments in (
        ("blockdev-add", node),
        ("blockdev-open-tray", {"id": "drive0"}),
        ("blockdev-remove-medium", {"id": "drive0"}),
    ):
        kvmrun.ok("monitor", "vm1", "-c", json.dumps({"execute": command, "arguments": arguments}))
    assert (media(kvmrun)[0]["image"], media(kvmrun)[0]["is_open"], opened(kvmrun)) == (None, True, {str(second)})
    kvmrun.ok("media", "vm1", "a.iso")
    assert (media(kvmrun)[0]["image"], media(kvmrun)[0]["is_open"]) == (str(first), False)
    found = kvmrun.ok("monitor", "vm1", "-o", "json", "-c", "query-named-block-nodes").json()
    assert [one["node-name"] for one in found if one["node-name"].startswith("d")] == ["d0"]
    assert opened(kvmrun) == {str(first)}


def test_a_change_that_cannot_be_looked_at_is_done(
    lab: Path, kvmrun: Cli, run: Run, isos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    look, left = media_of_guest._media, iter(range(1))

    def once(*words: Any) -> Any:
        if next(left, None) is None:
            raise OSError(errno.EMFILE, "")
        return look(*words)

    guests(lab, "vm1", text=f"{ALONE}{TRAY}")
    kvmrun.ok("vm1", "--paused")
    with monkeypatch.context() as patched:
        patched.setattr(media_of_guest, "_media", once)
        done = run("media", "vm1", "a.iso")
    assert (done.code, str(isos[0]) in done.out) == (0, True), done.err
    assert media(kvmrun)[0]["image"] == str(isos[0])
