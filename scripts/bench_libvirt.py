"""A libvirtd of the bench's own, and domains with the same board and devices as the guests of kvmrun beside it.

It runs without systemd, cgroups, D-Bus and a security driver, which is libvirt at its fastest, and keeps everything in
directories below the bench's: the caller has network and mount namespaces of its own.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

REAPER = """
import ctypes, os, sys
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
child = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
while os.wait()[0] != child:
    pass
"""
"""Starts libvirtd, and collects the QEMUs that it leaves at once: a slow PID 1 would add seconds to virsh destroy."""
LIMIT = 60
STATE = ("/etc/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt")
DOMAIN = """<domain type="{kind}"><name>{name}</name><memory unit="MiB">16</memory><vcpu>1</vcpu>
<os><type arch="x86_64" machine="q35">hvm</type></os>
<cpu mode="custom" match="exact" check="none"><model>qemu64</model></cpu>
<devices><emulator>{qemu}</emulator>
<interface type="bridge"><source bridge="br0"/><model type="virtio"/><rom enabled="no"/></interface>
<rng model="virtio"><backend model="builtin"/></rng>
<channel type="unix"><target type="virtio" name="org.qemu.guest_agent.0"/></channel>
</devices></domain>
"""


def missing() -> str:
    """Which of libvirt's programs is not installed, "" for none."""
    return next((name for name in ("libvirtd", "virtlogd", "virsh") if shutil.which(name) is None), "")


def virsh(*words: str) -> Callable[[], None]:
    """A call of virsh, as a way to be timed."""
    line = ["virsh", "-q", "-c", "qemu:///system", *words]

    def call() -> None:
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=LIMIT)

    return call


@contextmanager
def libvirtd(work: Path) -> Iterator[None]:
    """libvirtd and virtlogd while the block runs, with their state below `work`."""
    for mount in Path("/proc/mounts").read_text().splitlines()[::-1]:
        if mount.split()[1].startswith("/sys/fs/cgroup"):
            subprocess.run(["umount", mount.split()[1]], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    for place in STATE:
        own = work / place[1:]
        own.mkdir(parents=True)
        if os.path.isdir(place):
            shutil.copytree(place, own, dirs_exist_ok=True)
        os.makedirs(place, exist_ok=True)
        subprocess.run(["mount", "--bind", str(own), place], check=True)
    _own_copy_with("/etc/passwd", "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin\n", work)
    _own_copy_with("/etc/group", "libvirt-qemu:x:64055:\n", work)
    Path("/etc/libvirt/qemu.conf").write_text('user = "root"\ngroup = "root"\nsecurity_driver = "none"\n')
    Path("/etc/libvirt/libvirtd.conf").write_text('auth_unix_rw = "none"\nauth_unix_ro = "none"\n')
    with (work / "libvirtd.log").open("w") as log, ExitStack() as ending:
        for name in ("virtlogd", "libvirtd"):
            words = [sys.executable, "-c", REAPER, name, "-p", str(work / f"{name}.pid")]
            ending.callback(_end, subprocess.Popen(words, stdout=log, stderr=log), work / f"{name}.pid")
        _wait_until_answered(work)
        yield
        for domain in _running():
            virsh("destroy", domain)()


def define(name: str, kind: str, qemu: str, work: Path) -> None:
    """Define the domain `name`; kind is "kvm" or "qemu"."""
    path = work / f"{name}.xml"
    path.write_text(DOMAIN.format(name=name, kind=kind, qemu=qemu))
    virsh("define", str(path))()


def _end(reaper: subprocess.Popen[bytes], pid: Path) -> None:
    """End the daemon whose number is in the file `pid`, and so its reaper."""
    os.kill(int(pid.read_text()), signal.SIGTERM)
    reaper.wait(LIMIT)


def _own_copy_with(place: str, line: str, work: Path) -> None:
    """The account of the distribution's QEMU, which libvirtd looks up although the domains run as root."""
    own = work / Path(place).name
    own.write_text(Path(place).read_text() + line)
    subprocess.run(["mount", "--bind", str(own), place], check=True)


def _running() -> list[str]:
    said = subprocess.run(
        ["virsh", "-q", "-c", "qemu:///system", "list", "--name"], capture_output=True, text=True, timeout=LIMIT
    )
    return said.stdout.split()


def _wait_until_answered(work: Path) -> None:
    until = time.monotonic() + 20
    while subprocess.run(
        ["virsh", "-q", "-c", "qemu:///system", "version"], capture_output=True, timeout=LIMIT
    ).returncode:
        if time.monotonic() > until:
            sys.exit(f"libvirtd has not answered within 20 s:\n{(work / 'libvirtd.log').read_text()}")
        time.sleep(0.1)
