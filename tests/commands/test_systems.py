"""Whole systems, as scripts/systems builds them: from a publisher's image to a clone, and what seeds do in them.

One boot takes a minute or two here, so that each proves whatever it can.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.built import state_with
from support.cli import Cli
from support.image_server import image_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.boots,
    pytest.mark.xdist_group("systems"),
    pytest.mark.usefixtures("netns", "tun", "caller"),
]
CATALOGUE = """
[catalogue.published]
title = "Debian as a publisher gives it"
url = "{url}/debian.qcow2"
sums = "{url}/SHA256SUMS"
user = "debian"
firmware = "uefi"
[catalogue.published.releases]
1 = {{ codename = "first" }}
"""
NEWER = """
accel = "tcg"
cpus = 2
memory = "1G"
[boot]
kernel = "{systems}/newer-vmlinuz"
initrd = "{systems}/newer-initrd"
cmdline = "root=/dev/vda rw console=ttyS0 no_timer_check {cmdline}"
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
EFI = "/sys/firmware/efi/efivars"
SECURE_BOOT = f"{EFI}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
OWN = f"{EFI}/KvmrunTest-12345678-1234-1234-1234-123456789abc"
SEEDED = "hostname; id -un; sudo id -u; ip -4 -o address show scope global"
START = ("--wait=seed", "--timeout", "1500")


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


def define_from_catalogue(lab: Path, kvmrun: Cli, image: Path) -> None:
    """Define the guest web over an image that its publisher serves on loopback, and serves no longer afterwards."""
    with image_server() as server:
        body = image.read_bytes()
        server.answers["/debian.qcow2"] = body
        server.answers["/SHA256SUMS"] = f"{hashlib.sha256(body).hexdigest()}  debian.qcow2\n".encode()
        (lab / "images.toml").write_text(CATALOGUE.format(url=server.url("")))
        kvmrun.ok("new", "web", "--image", "published:first", "--cpus", "2", "--size", "4G")


def told(kvmrun: Cli, guest: str, script: str) -> list[str]:
    """What a script prints that the agent of the guest runs, in words."""
    return kvmrun.ok("exec", guest, "--", "sh", "-c", script).out.split()


def admitted(kvmrun: Cli, guest: str, user: str) -> None:
    """The caller's key opens the account, which may use sudo; the system has the name and the address of the guest."""
    name, account, root, interface = kvmrun.ok("ssh", guest, "--", SEEDED).out.splitlines()
    assert (name, account, root) == (guest, user, "0")
    (port,) = kvmrun.ok("show", guest, "-o", "json").json()["runtime"]["ports"]
    assert f" {port['address']}/24 " in interface


@pytest.mark.timeout(6000)
def test_from_a_catalogue_to_a_clone(lab: Path, kvmrun: Cli, systems: str, own_directories: Path) -> None:
    """It boots by shim, GRUB and a kernel that Secure Boot verifies, with a TPM."""
    kvmrun.limit = 1800
    define_from_catalogue(lab, kvmrun, Path(systems, "published.qcow2"))
    file = lab / "web.toml"
    text = file.read_text()
    assert ('firmware = "uefi"' in text, 'base = "published:1"' in text) == (True, True)
    text = text.replace("\npackages =", "\n# packages =")  # the image has the agent, and the guest cannot reach out
    file.write_text(f'accel = "tcg"\nsecure_boot = true\ntpm = true\n{text}')
    kvmrun.ok("web", *START)
    admitted(kvmrun, "web", "debian")
    assert told(kvmrun, "web", f"od -An -tu1 -j4 {SECURE_BOOT}") == ["1"]
    assert "enabled" in told(kvmrun, "web", "dmesg | grep -i 'secure boot'")
    assert told(kvmrun, "web", "cat /sys/class/tpm/tpm0/tpm_version_major") == ["2"]
    told(kvmrun, "web", f"printf '\\7\\0\\0\\0kept' > {OWN}; echo mine > /root/mine")
    kvmrun.ok("resize", "web", "6G")
    assert told(kvmrun, "web", "cat /sys/class/block/vda/size") == [str((6 << 30) // 512)]
    kvmrun.ok("stop", "web", "--timeout", "120")

    kvmrun.ok("clone", "web", "copy")
    image = own_directories / "state/images/copy.qcow2"
    before = hashlib.sha256(image.read_bytes()).digest()
    kvmrun.ok("copy", "--throwaway", *START)
    admitted(kvmrun, "copy", "debian")
    assert told(kvmrun, "copy", f"tail -c 4 {OWN}; cat /root/mine; echo thrown > /root/thrown; sync") == ["keptmine"]
    kvmrun.ok("stop", "copy", "--timeout", "120")
    assert hashlib.sha256(image.read_bytes()).digest() == before
    kvmrun.ok("revert", "copy", "-y")
    kvmrun.ok("copy", *START)
    admitted(kvmrun, "copy", "debian")
    assert told(kvmrun, "copy", f"tail -c 4 {OWN}; ls /root") == ["kept"], "the firmware is not on the drive"
    kvmrun.ok("stop", "copy", "--timeout", "120")


@pytest.mark.timeout(2400)
def test_credentials_of_systemd(lab: Path, kvmrun: Cli, systems: str) -> None:
    kvmrun.limit = 1800
    (lab / "new1.toml").write_text(NEWER.format(name="new1", systems=systems, backend="credentials", cmdline=NETWORKD))
    kvmrun.ok("new1", *START)
    applied(kvmrun, "new1")
    kvmrun.ok("stop", "new1", "--timeout", "120")


def applied(kvmrun: Cli, guest: str) -> None:
    """What the seed of NEWER says holds in the guest, and the caller is let in."""
    admitted(kvmrun, guest, "alice")
    said = told(kvmrun, guest, "cat /root/begun; stat -c %a:%U:%G /etc/motd; cat /etc/motd")
    assert said == ["begun", "640:root:adm", "it's", '"mine"', "%n"]
