"""What a guest's QEMU may do and what it holds, when root starts it: as little as can be."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.proc import held, limit, logger, sockets_of, status, taps

pytestmark = pytest.mark.usefixtures("netns", "tun")

OVERLAY = TCG + '[[drive]]\nimage = "NAME.qcow2"\nbase = "base.qcow2"\n'


@pytest.fixture
def running(lab: Path, kvmrun: Cli, own_directories: Path) -> dict[str, int]:
    """Four guests with overlays of one base, started at once; their QEMUs' pids."""
    images = own_directories / "state/images"
    images.mkdir(parents=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", images / "base.qcow2", "1M"], check=True)
    names = ["vm1", "vm2", "vm3", "vm4"]
    for name in names:
        guests(lab, name, text=OVERLAY.replace("NAME", name))
    kvmrun.ok(*names)
    return {name: kvmrun.pid(name) for name in names}


def test_it_is_nobody_and_cannot_become_anybody(running: dict[str, int]) -> None:
    uids = set()
    for pid in running.values():
        found = status(pid)
        uid = found["Uid"].split()
        assert len(set(uid)) == 1
        assert found["Gid"].split() == uid
        assert 0x70000000 <= int(uid[0]) < 0x78000000
        assert (found["Groups"], found["NoNewPrivs"], found["Seccomp"]) == ("", "1", "2")
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(found[kind], 16) == 0, kind
        uids.add(uid[0])
    assert len(uids) == len(running)


def test_it_holds_its_own_descriptors_and_nothing_of_ours_or_others(
    running: dict[str, int], own_directories: Path
) -> None:
    for name, pid in running.items():
        place, images = own_directories / "run/vm" / name, own_directories / "state/images"
        plain = {"/dev/null", f"{place}/life", "/dev/net/tun", f"{images}/{name}.qcow2", f"{images}/base.qcow2"}
        own = {what for what in held(pid).values() if not what.startswith(("pipe:", "anon_inode:"))}
        mine = {what for what in own if not what.startswith("socket:")}
        assert mine <= plain, mine - plain
        others = set().union(*(sockets_of(own_directories / "run/vm" / other) for other in running if other != name))
        assert not own & others
        assert sockets_of(place) <= own
        assert taps(pid) == [f"tap-{name}"]
        pipes = {what for what in held(pid).values() if what.startswith("pipe:")}
        assert pipes == {what for what in held(logger(name)).values() if "pipe:" in what}


def test_its_surroundings_are_bare(running: dict[str, int]) -> None:
    for pid in running.values():
        here = Path(f"/proc/{pid}")
        environ = dict(word.split(b"=", 1) for word in (here / "environ").read_bytes().split(b"\0") if word)
        assert set(environ) <= {b"PATH", b"LANG"}
        assert os.readlink(here / "cwd") == "/"
        assert limit(pid, "Max core file size") == ["0", "0"]
        assert status(pid)["Umask"] == "0077"
        assert os.getsid(pid) == pid


def test_its_logger_is_another_nobody_with_a_limit(running: dict[str, int], own_directories: Path) -> None:
    for name, qemu in running.items():
        pid = logger(name)
        found = status(pid)
        assert found["Uid"] != status(qemu)["Uid"]
        assert int(found["Uid"].split()[0]) >= 0x70000000
        assert (int(found["CapEff"], 16), found["NoNewPrivs"]) == (0, "1")
        assert int(limit(pid, "Max address space")[1]) <= 20 << 20
        assert not sockets_of(own_directories / "run") & set(held(pid).values())
        assert taps(pid) == []


def test_a_umask_that_hides_nothing_changes_nothing(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    guests(lab, "vm1", text=TCG + '[[drive]]\nimage = "new.qcow2"\nsize = "1M"\n')
    before = os.umask(0)
    try:
        kvmrun.ok("vm1")
    finally:
        os.umask(before)
    for path in [own_directories / "run", *(own_directories / "run").rglob("*")]:
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    kept = own_directories / "state"
    assert stat.S_IMODE((kept / "images/new.qcow2").stat().st_mode) == 0o600
    assert stat.S_IMODE((kept / "log/vm1").stat().st_mode) == 0o700
    for path in kept.rglob("*"):
        assert not path.stat().st_mode & 0o022, path


@pytest.mark.usefixtures("kvm")
def test_under_kvm_its_one_group_is_that_of_the_device(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text='accel = "kvm"\ncpu = "qemu64"\nmemory = "32M"\n')
    kvmrun.ok("vm1")
    found = status(kvmrun.pid("vm1"))
    assert found["Groups"].split() == [str(os.stat("/dev/kvm").st_gid)]
    assert int(found["CapEff"], 16) == 0


def test_an_account_that_was_named_is_used(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=TCG + 'user = "nobody"\n')
    kvmrun.ok("vm1")
    assert status(kvmrun.pid("vm1"))["Uid"].split()[0] == "65534"
    assert kvmrun.ok("show", "vm1", "-o", "json").json()["runtime"]["uid"] == 65534
    assert "uid        65534" in kvmrun.ok("show", "vm1").out
    guests(lab, "vm2", text=TCG + 'user = "nosuchaccount"\n')
    result = kvmrun("vm2")
    assert (result.code, "nosuchaccount" in result.err) == (6, True)
