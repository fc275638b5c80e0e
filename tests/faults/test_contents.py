"""What is in an image against what its name and its definition say: a reason to refuse it, never to choose a format."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.builders import TCG
from support.cli import Cli, has_line
from support.tally import Tally

from kvmrun.host.disk import image_files

pytestmark = pytest.mark.usefixtures("netns", "tun")
FORMATS = ("qcow2", "vmdk", "vdi", "vhdx", "vpc", "qed", "parallels", "qcow")
PACKED = {
    "gzip": b"\x1f\x8b\x08\x00",
    "xz": b"\xfd7zXZ\x00",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bzip2": b"BZh91AY&SY",
    "zip": b"PK\x03\x04",
}


def make(path: Path, kind: str, *words: str) -> Path:
    tool = shutil.which("qemu-img")
    assert tool
    subprocess.run([tool, "create", "-q", "-f", kind, *words, str(path), "1M"], check=True, capture_output=True)
    return path


def define(lab: Path, text: str) -> None:
    (lab / "vm1.toml").write_text(f"{TCG}nic = []\n[[drive]]\n{text}")


def test_every_format_under_a_name_that_says_raw(lab: Path, kvmrun: Cli, images: Path, tally: Tally) -> None:
    row = tally.row("V-11", "images of every format under a raw one's name: refused, with the line to add", 26)
    cases = [(kind, suffix, make(images / f"{kind}{suffix}", kind)) for kind in FORMATS for suffix in (".img", ".raw")]
    for kind, magic in PACKED.items():
        for suffix in (".img", ".iso"):
            path = images / f"{kind}{suffix}"
            path.write_bytes(magic + bytes(1 << 20))
            cases.append((kind, suffix, path))
    for number, (kind, suffix, path) in enumerate(cases):
        before = path.read_bytes()
        with row.case(f"{kind}{suffix}"):
            found = image_files.image_facts(str(path), "raw")
            assert found
            assert found.content == kind
            define(lab, f'image = "{path.name}"\n')
            if not tally.full and number % 5:
                continue
            for words in (("vm1",), ("check",)):
                result = kvmrun(*words)
                said = result.out + result.err
                assert result.code == (6 if words == ("vm1",) else 5), result
                assert has_line(said, kind, "raw")
                assert ('format = "qcow2"' if kind == "qcow2" else 'format = "raw"') in said
            assert path.read_bytes() == before


def test_a_format_that_is_said_is_believed(lab: Path, kvmrun: Cli, images: Path) -> None:
    make(images / "a.img", "qcow2")
    define(lab, 'image = "a.img"\nformat = "qcow2"\n')
    kvmrun.ok("check")
    kvmrun.ok("vm1", "--paused")
    kvmrun.ok("kill", "vm1")


def test_what_is_raw_is_taken(images: Path) -> None:
    for content in (b"", b"x", bytes(1 << 20), os.urandom(4096), b"\x55\xaa" * 256, b"LUKS\xba\xbe" + bytes(1024)):
        (images / "a.raw").write_bytes(content)
        found = image_files.image_facts(str(images / "a.raw"), "raw")
        assert found
        assert (found.content, found.size) == ("", len(content))


def test_a_base_that_is_called_raw_and_is_not(lab: Path, kvmrun: Cli, images: Path) -> None:
    make(images / "cloud.img", "qcow2")
    define(lab, 'image = "new.qcow2"\nbase = "cloud.img"\n')
    result = kvmrun("vm1")
    assert (result.code, 'base_format = "qcow2"' in result.err) == (6, True), result
    assert not (images / "new.qcow2").exists()
    define(lab, 'image = "new.qcow2"\nbase = "cloud.img"\nbase_format = "qcow2"\n')
    kvmrun.ok("vm1", "--paused")
    kvmrun.ok("kill", "vm1")


def test_an_overlay_that_would_hide_the_end_of_its_base(lab: Path, kvmrun: Cli, images: Path) -> None:
    (images / "base.raw").write_bytes(bytes(2 << 20))
    define(lab, 'image = "new.qcow2"\nbase = "base.raw"\nsize = "1M"\n')
    for words in (("vm1",), ("check",)):
        result = kvmrun(*words)
        assert result.code == (6 if words == ("vm1",) else 5), result
        assert has_line(result.out + result.err, "size", "2M")
    assert not (images / "new.qcow2").exists()
    make(images / "new.qcow2", "qcow2")
    define(lab, 'image = "new.qcow2"\nbase = "base.raw"\n')
    result = kvmrun("check")
    assert (result.code, "qemu-img resize" in result.out) == (5, True), result


@pytest.mark.parametrize(("size", "fix"), [("1M", ""), ("2M", "kvmrun resize"), ("512K", "1M")])
def test_a_size_that_is_not_the_images(lab: Path, kvmrun: Cli, images: Path, size: str, fix: str) -> None:
    make(images / "a.qcow2", "qcow2")
    define(lab, f'image = "a.qcow2"\nsize = "{size}"\n')
    result = kvmrun.ok("check")
    assert has_line(result.out, "warning: vm1.toml: drive[0].size", fix) == bool(fix), result
    result = kvmrun.ok("vm1", "--paused")
    assert has_line(result.out + result.err, f"drive[0].size = {size}") == bool(fix), result
    kvmrun.ok("kill", "vm1")


@pytest.mark.parametrize(("drives", "code"), [(28, 0), (29, 5)])
def test_as_many_devices_as_there_are_slots(lab: Path, kvmrun: Cli, images: Path, drives: int, code: int) -> None:
    text = "".join(f'[[drive]]\nimage = "d{number}.raw"\n' for number in range(drives))
    for number in range(drives):
        (images / f"d{number}.raw").write_bytes(bytes(4096))
    (lab / "vm1.toml").write_text(f"{TCG}nic = []\n{text}")
    result = kvmrun("vm1", "--paused")
    assert (result.code, "slots" in result.err) == (code, code != 0), result
    kvmrun("kill", "vm1")
