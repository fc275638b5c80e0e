"""Every QEMU in its sandbox, none emulated that was to be virtual, none that gives up what it is while it starts."""

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.pretender import Pretender
from support.proc import status
from support.tally import Tally
from support.world import processes, until, world, world_after

from kvmrun.config.load_lab import load_lab
from kvmrun.host.process import process
from kvmrun.model.guest.qemu_option import argv
from kvmrun.model.paths import Paths

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: accounts, taps and devices")
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
LATE = ("-daemonize", "-runas", "-run-with", "-chroot", "-pidfile", "-D", "-enable-fips")
"""Options by which a QEMU would change what it is after its sandbox is shut: seccomp kills it. Or that open files."""
DRIVE = '[[drive]]\nimage = "{0}.qcow2"\nsize = "1M"\n'
PARTS = {
    "plain": "",
    "drives": DRIVE.format("a")
    + DRIVE.format("b")
    + '[[drive]]\nimage = "c.iso"\nmedia = "cdrom"\ninterface = "scsi"\n',
    "bare": "nic = []\nconsole = false\nagent = false\n",
    "cards": "[[nic]]\nqueues = 2\n[[nic]]\n",
    "kernel": '[boot]\nkernel = "k"\ncmdline = "-daemonize -runas root -sandbox off"\n',
    "fates": 'on_reboot = "shutdown"\non_crash = "pause"\nwatchdog = "poweroff"\n',
    "screen": 'display = "vnc"\n',
    "port": 'display = "vnc:5905"\n',
    "words": 'description = "-sandbox off"\ngroups = ["daemonize"]\n',
    "raw": 'args = ["-device virtio-balloon"]\n',
}


def commands(lab: Path, step: int) -> Iterator[tuple[str, str, list[str]]]:
    """(what, accelerator, the whole command as it is run) of every kind of guest, or of each so many."""
    where = Paths(vms=str(lab), run="/run/kvmrun", state=str(lab.parent / "state"), root=True)
    machines, accels = ("q35", "pc", "microvm"), ("kvm", "tcg")
    every = list(product(machines, accels, ("", "nobody"), PARTS.items()))
    for machine, accel, user, (part, text) in every[::step]:
        head = f'machine = "{machine}"\naccel = "{accel}"\ncpus = 2\n' + (f'user = "{user}"\n' if user else "")
        (lab / "vm1.toml").write_text(head + text)
        found = load_lab(str(lab), where.images)
        if "vm1" not in found.guests:
            assert machine == "microvm", [f"{one}" for one in found.problems]
            continue
        place = found.derived_runtimes(where)["vm1"]
        options = tuple(found.guests["vm1"].options(place, vhost=True))
        table = {handle: [10, 11, 12, 13] for one in options for handle in one.handles()}
        words = [word for option in argv(options, table) for word in option]
        for uid in (None, place.uid):
            yield (
                f"{machine} {accel} {user} {part} {uid}",
                accel,
                process.drop_privileges_command(["qemu", *words], uid, None),
            )


def test_every_command_shuts_its_sandbox(lab: Path, tally: Tally) -> None:
    shut = tally.row("P-04", "sandbox, no defaults, no user's configuration, for every kind of guest", 200)
    late = tally.row("P-06", "nothing that changes what QEMU is once its sandbox is shut", 200)
    for what, accel, words in commands(lab, 1 if tally.full else 7):
        with shut.case(what):
            assert words.count("-sandbox") == words.count("-nodefaults") == words.count("-no-user-config") == 1
            assert words[words.index("-sandbox") + 1] == SANDBOX
            assert words.count("-S") == 1
            assert words.count("-enable-kvm") == (accel == "kvm")
            assert [words[at + 1] for at, word in enumerate(words) if word == "-accel"] == ["tcg"] * (accel == "tcg")
            assert words[words.index("-machine") + 1].split(",")[0].startswith(("q35", "pc", "microvm"))
            assert "accel=" not in words[words.index("-machine") + 1]
            before = words[: words.index("--")]
            assert {"--no-new-privs", "--noamb", "--inh=", "--shell=qemu"} <= {*before}
            assert ("--drop=all" in before) is any(one.startswith("--uid=") for one in before)
        with late.case(what):
            values = {words[at + 1] for at, word in enumerate(words[:-1]) if word == "-append"}
            assert not [word for word in words if word in LATE and word not in values]


@needs_root
@pytest.mark.usefixtures("netns", "tun")
def test_words_that_would_weaken_it_do_not(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    shut = tally.row("P-04", "sandbox, no defaults, no user's configuration, for every kind of guest", 2)
    late = tally.row("P-06", "nothing that changes what QEMU is once its sandbox is shut", 4)
    guests(lab, "vm1", text=TCG + "nic = []\n")
    (lab / "vm2.toml").write_text(TCG + 'nic = []\nargs = ["-sandbox off"]\n')
    for name, more in (("vm1", ("--", "-sandbox", "on,spawn=allow")), ("vm2", ())):
        with shut.case(f"{name} with words that would open it"):
            kvmrun.ok("--paused", name, *more)
            assert status(kvmrun.pid(name))["Seccomp"] == "2"
            row = next(line for line in kvmrun.ok("list", "-v").out.splitlines() if line.startswith(name)).split()
            assert (row[3], row[8]) == ("on", "raw"), row
            assert status(kvmrun.pid(name))["NoNewPrivs"] == "1"
        kvmrun.ok("kill", name)
    until(lambda: not processes())
    before = world()
    for words in (["-daemonize"], ["-runas", "nobody"], ["-chroot", "/"], ["-daemonize", "-runas", "nobody"]):
        with late.case(" ".join(words)):
            result = kvmrun("vm1", "--", *words)
            assert (result.code, result.err.startswith("kvmrun: vm1 ")) == (1, True), result
            assert kvmrun.rows()["vm1"]["state"] == "stopped"
            assert world_after(before) == before


@contextmanager
def device(make: Callable[[Path], object], own_directories: Path) -> Iterator[None]:
    """Something else in the place of /dev/kvm; made by us, in this test's mount namespace alone."""
    if not os.path.exists("/dev/kvm"):
        pytest.skip("needs a /dev/kvm to put others in its place")
    node = own_directories / "node"
    make(node)
    subprocess.run(["mount", "--bind", str(node), "/dev/kvm"], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", "/dev/kvm"], check=True)
        node.unlink()


def _node(mode: int, major: int, minor: int, group: int = 0) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(major, minor))
        os.chown(path, 0, group)
        path.chmod(mode)

    return make


def _file(path: Path) -> None:
    path.touch()
    path.chmod(0o666)


def _fifo(path: Path) -> None:
    os.mkfifo(path)
    path.chmod(0o666)


UNUSABLE: dict[str, Callable[[Path], object]] = {
    "root's alone": _node(0o600, 10, 232),
    "root's group's": _node(0o660, 10, 232),
    "only to be read": _node(0o444, 10, 232),
    "only to be read by a group": _node(0o640, 10, 232, 36),
    "/dev/null": _node(0o666, 1, 3),
    "a device that is not there": _node(0o666, 10, 254),
    "a file": _file,
    "a FIFO": _fifo,
    "another group's /dev/zero": _node(0o660, 1, 5, 36),
}


@needs_root
@pytest.mark.usefixtures("netns", "tun")
def test_what_cannot_be_virtual_does_not_run(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    row = tally.row("P-05", "KVM asked for and not to be had: no start, nothing emulated, the choice told", 10)
    guests(lab, "vm1", text='accel = "kvm"\ncpu = "qemu64"\nmemory = "32M"\n')
    pretender = Pretender(own_directories / "pretender")
    before = world()

    def refused(what: str, *words: str, **environ: str) -> None:
        with row.case(what):
            result = kvmrun("vm1", *words, **environ)
            assert result.code in {1, 69, 77}, result
            assert "tcg" in result.err, result.err
            assert "is running" not in result.out
            assert kvmrun.rows()["vm1"]["state"] == "stopped"
            assert world_after(before) == before

    for what, make in UNUSABLE.items() if tally.full else list(UNUSABLE.items())[::3]:
        with device(make, own_directories):
            refused(what)
    with device(_node(0o666, 1, 3), own_directories):
        refused("a QEMU that says it does without", KVMRUN_QEMU=str(pretender.program))
        refused("another accelerator after ours", "--", "-accel", "tcg")
        refused("a choice of two among raw words", "--", "-machine", "accel=kvm:tcg")
    with row.case("and is emulated when that is asked for"):
        kvmrun.ok("vm1", "--accel", "tcg", "--paused")
        assert kvmrun.rows()["vm1"]["accel"] == "tcg"
