"""scripts/guest: its answers to wrong calls, and one boot of what it builds (no privileges needed for that)."""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "guest"


def guest(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([SCRIPT, *words], env={**os.environ, **env}, text=True, capture_output=True, check=False)


@pytest.mark.parametrize("word", ["nonsense", "--help", ""])
def test_unknown_word_is_usage(word: str) -> None:
    done = guest(word)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: guest")


def test_the_whole_guest_has_words_of_its_own() -> None:
    done = guest("debian", "--nonsense")
    assert (done.returncode, done.stderr[:19]) == (2, "usage: guest debian")


@pytest.mark.skipif(shutil.which("apt-cache") is None, reason="Debian or Ubuntu only")
def test_unwritable_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    done = guest(KVMRUN_STATE_DIR=str(tmp_path / "state"))
    assert done.returncode == 73
    assert f"{tmp_path}/state/images" in done.stderr


@pytest.fixture
def images(demo: str) -> Path:
    """What it has built before the tests began."""
    return Path(demo)


def test_built_once_readable_by_any_uid(images: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in images.iterdir()}
    assert set(before) == {"demo-vmlinuz", "demo-initrd", "demo-agent", "demo-stamp"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in images.iterdir())
    done = guest("demo", KVMRUN_STATE_DIR=str(images.parent))
    assert (done.returncode, done.stdout[:6]) == (0, "ready:")
    assert before == {path.name: path.stat().st_mtime_ns for path in images.iterdir()}


@pytest.mark.parametrize(
    ("machine", "address"),
    [("pc", ""), ("q35", "ip=10.0.2.15::10.0.2.2:255.255.255.0:vm7:eth0:off"), ("q35", "hostname=vm7")],
    ids=["dhcp", "ip", "hostname"],
)
def test_boots_names_itself_and_obeys_the_button(images: Path, tmp_path: Path, machine: str, address: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    console = tmp_path / "console"
    qmp = tmp_path / "qmp"
    command = [
        "qemu-system-x86_64", "-M", machine, "-accel", "tcg", "-cpu", "max", "-m", "128", "-nodefaults",
        "-no-user-config", "-display", "none", "-serial", f"file:{console}", "-qmp", f"unix:{qmp},server=on,wait=off",
        "-kernel", images / "demo-vmlinuz", "-initrd", images / "demo-initrd",
        "-append", f"console=ttyS0 quiet {address}",
        "-netdev", f"user,id=n0,restrict=on,hostname=vm7,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:80",
        "-device", "virtio-net-pci,netdev=n0,romfile=",
    ]  # fmt: skip
    with subprocess.Popen(command) as qemu:
        try:
            end = time.monotonic() + 60
            while not (console.exists() and re.search(rb"(?m)^vm7 ready\r?$", console.read_bytes())):
                assert qemu.poll() is None
                assert time.monotonic() < end, console.read_bytes()
                time.sleep(0.05)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                assert "I am vm7" in answer.read().decode().splitlines()
            with socket.socket(socket.AF_UNIX) as monitor:
                monitor.connect(str(qmp))
                monitor.sendall(b'{"execute":"qmp_capabilities"}{"execute":"system_powerdown"}')
                assert qemu.wait(20) == 0
        finally:
            qemu.kill()
    assert len(re.findall(rb"ready\r?\n", console.read_bytes())) == 1
