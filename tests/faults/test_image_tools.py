"""No tool opens an image as root: headers are read by ourselves, a few bytes of them, and the rest is QEMU's."""

import ast
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.builders import ALONE, guests
from support.cli import Cli
from support.tally import Tally
from support.world import until

import kvmrun as package

WHAT = "image tools that root runs: only to make new ones, and these open no other"
TOOLS = re.compile(r"qemu-(img|io|nbd|storage-daemon)|losetup|blkid|guestfish|virt-|dmsetup|\bmount\b|(?<![-\w])file\b")
RUNS = ("require_program", "run", "spawn", "Popen", "execve", "execv")
TOOL_USERS = ("host/disk/image_files.py", "host/images/convert.py")
"""Who runs qemu-img: to make images, and, as an account of its own, to convert what is imported."""
USED = {"sh", "capsh", "prlimit", "s6-log", "qemu-system-x86_64", "python", "nft"}
_CALL = re.compile(r'^(?P<pid>\d+) +(?P<call>execve|openat)\((?:AT_FDCWD, |\d+, )?"(?P<path>[^"]*)"(?P<rest>.*)')
MIB = 1 << 20


def test_the_code_runs_no_tool_on_an_image(tally: Tally) -> None:
    row = tally.row("D-07", WHAT, 200)
    for path in sorted(Path(package.__file__).parent.rglob("*.py")):
        with row.case(path.name):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            named = [
                call
                for call in calls
                if ast.unparse(call.func).endswith(
                    ("require_program", "find_program", "run", "spawn", "Popen", "execve", "execv")
                )
            ]
            words = [
                one.value for call in named for one in ast.walk(call)
                if isinstance(one, ast.Constant) and isinstance(one.value, str) and TOOLS.search(one.value)
            ]  # fmt: skip
            assert words == (["qemu-img"] if any(map(path.match, TOOL_USERS)) else []), words


def _qcow2(path: Path, *words: str) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *words, str(path), "1M"], check=True)


def _raw(path: Path) -> None:
    path.write_bytes(b"QFI\xfb\0\0\0\3".ljust(MIB, b"\xff"))


def _over_a_secret(path: Path) -> None:
    _qcow2(path, "-u", "-b", "/etc/shadow", "-F", "raw")


QCOW2, RAW = '[[drive]]\nimage = "a.qcow2"\n', '[[drive]]\nimage = "a.raw"\n'
OVERLAY = '[[drive]]\nimage = "new.qcow2"\nbase = "{}"\n'
KINDS: dict[str, tuple[str, dict[str, Callable[[Path], object]], bool]] = {
    "a raw image that looks like another": (RAW, {"a.raw": _raw}, False),
    "a qcow2 image": (QCOW2, {"a.qcow2": _qcow2}, False),
    "a qcow2 image that is none": (QCOW2, {"a.qcow2": lambda path: path.write_bytes(bytes(MIB))}, False),
    "an image over a secret": (QCOW2, {"a.qcow2": _over_a_secret}, False),
    "a medium": ('[[drive]]\nimage = "a.iso"\nmedia = "cdrom"\n', {"a.iso": _raw}, False),
    "a kernel": ('[boot]\nkernel = "k"\n', {"k": _raw}, False),
    "an image to be made": ('[[drive]]\nimage = "new.qcow2"\nsize = "1M"\n', {}, True),
    "a raw image to be made": ('[[drive]]\nimage = "new.raw"\nsize = "1M"\n', {}, True),
    "an overlay to be made": (OVERLAY.format("b.qcow2"), {"b.qcow2": _qcow2}, True),
    "an overlay to be made over what looks like another": (OVERLAY.format("b.raw"), {"b.raw": _raw}, False),
    "one over what is said to be raw": (OVERLAY.format("b.raw") + 'base_format = "raw"\n', {"b.raw": _raw}, True),
}
"""What it is: the definition, the files there are, whether one is to be made."""


@pytest.mark.usefixtures("netns")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: accounts of QEMUs")
def test_a_start_runs_no_tool_on_an_image(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    row = tally.row("D-07", WHAT, len(KINDS))
    images, note = own_directories / "state/images", own_directories / "note"
    images.mkdir(parents=True)
    for what, (text, files, makes) in KINDS.items() if tally.full else list(KINDS.items())[3::5]:
        for name, make in files.items():
            make(images / name)
        guests(lab, "vm1", text=ALONE + text)
        with row.case(what):
            _started(kvmrun, note)
            calls = [found for line in note.read_text().splitlines() if (found := _CALL.match(line))]
            programs = [
                (one["pid"], os.path.basename(one["path"]), one["rest"])
                for one in calls
                if one["call"] == "execve" and "= 0" in one["rest"]
            ]
            made = {pid: rest for pid, name, rest in programs if name == "qemu-img"}
            others = {re.sub(r"^python.*", "python", name) for _, name, _ in programs} - {"qemu-img"}
            assert others <= USED, others
            assert len(made) == makes
            assert all(rest.startswith(', ["/usr/bin/qemu-img", "create", "-q", "-f"') for rest in made.values()), made
            assert all('"-b"' not in rest or '"-u"' in rest for rest in made.values())
            for one in calls:
                inside = one["call"] == "openat" and one["path"].startswith(str(images))
                if inside and one["pid"] in made:
                    assert one["path"].endswith(".part"), one["path"]
                assert not (one["call"] == "openat" and one["path"] == "/etc/shadow")
        for path in images.iterdir():
            path.unlink()


def _started(kvmrun: Cli, note: Path) -> None:
    """Start vm1, watched; end it once it runs, or has been refused."""
    watched = Cli(["strace", "-f", "-qq", "-s", "300", "-e", "trace=execve,openat", "-o", str(note), *kvmrun.words])
    with watched.begun("--paused", "vm1") as child:
        until(lambda: child.poll() is not None or kvmrun.rows()["vm1"]["state"] == "paused")
        kvmrun("kill", "vm1")
        child.wait(60)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: accounts of processes")
def test_an_import_is_converted_without_privileges(kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    row = tally.row("D-07", WHAT, 1)
    note, image = own_directories / "note", own_directories / "a.vmdk"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", str(image), "1M"], check=True)
    image.chmod(0o600)
    words = ["strace", "-f", "-qq", "-s", "300", "-e", "trace=execve,%creds", "-o", str(note)]
    with row.case("an image that its owner alone can read"):
        assert Cli([*words, *kvmrun.words])("image", "import", str(image)).code == 0
        calls = note.read_text().splitlines()
        (pid,) = {line.split()[0] for line in calls if 'execve("/usr/bin/qemu-img"' in line and line.endswith("= 0")}
        mine = [line for line in calls if line.split()[0] == pid]
        begin = next(at for at, line in enumerate(mine) if 'execve("/usr/bin/qemu-img"' in line)
        accounts = [number for line in mine[:begin] for number in re.findall(r"set\w*uid\((\d+)", line)]
        assert accounts
        assert "0" not in accounts
