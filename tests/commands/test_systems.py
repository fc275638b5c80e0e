"""Whole systems, as scripts/systems builds them: what seeds do in them.

One boot takes a minute or two here, so that each proves whatever it can.
"""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.built import state_with
from support.cli import Cli

pytestmark = [
    pytest.mark.slow,
    pytest.mark.boots,
    pytest.mark.xdist_group("systems"),
    pytest.mark.usefixtures("netns", "tun", "caller"),
]
NEWER = """
accel = "tcg"
cpus = 2
memory = "1G"
[boot]
kernel = "{systems}/newer-vmlinuz"
initrd = "{systems}/newer-initrd"
cmdline = "root=/dev/vda rw console=ttyS0 {cmdline}"
[[drive]]
image = "{name}.qcow2"
base = "{systems}/newer.raw"
size = "4G"
[seed]
backend = "{backend}"
user = "alice"
run = ["echo begun > /root/begun"]
[[seed.files]]
path = "/etc/motd"
content = "it's \\"mine\\" %n\\n"
mode = "0640"
owner = "root:adm"
"""
NETWORKD = "systemd.firstboot=no systemd.wants=systemd-networkd.service systemd.mask=NetworkManager.service"
SEEDED = "hostname; id -un; sudo id -u; ip -4 -o address show scope global"
START = ("--wait=seed", "--timeout", "1000")


@pytest.fixture
def systems() -> str:
    """The directory of the systems."""
    return f"{state_with('systems/published.qcow2', 'systems/newer.raw', script='scripts/systems')}/systems"


@pytest.fixture
def caller(_own_mounts: None) -> Iterator[None]:
    """A home directory that has a key of ssh, and nothing else."""
    home = pwd.getpwuid(os.getuid()).pw_dir
    if not shutil.which("ssh") or not os.path.isdir(home):
        pytest.skip("needs ssh, and a home directory")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "none", home], check=True)
    try:
        Path(home, ".ssh").mkdir(mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{home}/.ssh/id_ed25519"], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", home], check=True)


def told(kvmrun: Cli, guest: str, script: str) -> list[str]:
    """What a script prints that the agent of the guest runs, in words."""
    return kvmrun.ok("exec", guest, "--", "sh", "-c", script).out.split()


def admitted(kvmrun: Cli, guest: str, user: str) -> None:
    """The caller's key opens the account, which may use sudo; the system has the name and the address of the guest."""
    name, account, root, interface = kvmrun.ok("ssh", guest, "--", SEEDED).out.splitlines()
    assert (name, account, root) == (guest, user, "0")
    (port,) = kvmrun.ok("show", guest, "-o", "json").json()["runtime"]["ports"]
    assert f" {port['address']}/24 " in interface


@pytest.mark.timeout(1500)
def test_credentials_of_systemd(lab: Path, kvmrun: Cli, systems: str) -> None:
    kvmrun.limit = 1200
    (lab / "new1.toml").write_text(NEWER.format(name="new1", systems=systems, backend="credentials", cmdline=NETWORKD))
    kvmrun.ok("new1", *START)
    applied(kvmrun, "new1")
    kvmrun.ok("stop", "new1", "--timeout", "120")


def applied(kvmrun: Cli, guest: str) -> None:
    """What the seed of NEWER says holds in the guest, and the caller is let in."""
    admitted(kvmrun, guest, "alice")
    said = told(kvmrun, guest, "cat /root/begun; stat -c %a:%U:%G /etc/motd; cat /etc/motd")
    assert said == ["begun", "640:root:adm", "it's", '"mine"', "%n"]
