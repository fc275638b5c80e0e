"""A whole Debian guest, as scripts/guest debian builds it: its agent, its file systems held, and a login by ssh."""

import os
import pwd
import shutil
from pathlib import Path

import pytest
from support.built import state_with
from support.cli import Cli
from support.world import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.boots,
    pytest.mark.xdist_group("systems"),
    pytest.mark.usefixtures("netns", "tun"),
]
GUEST = """
accel = "tcg"
cpus = 2
memory = "1G"
ssh_user = "root"
[boot]
kernel = "{images}/debian-vmlinuz"
initrd = "{images}/debian-initrd"
cmdline = "root=/dev/vda rw console=ttyS0"
[[drive]]
image = "deb1.qcow2"
base = "{images}/debian.raw"
size = "4G"
[[drive]]
image = "{images}/debian-seed.iso"
format = "raw"
readonly = true
"""


SEEDED = """
accel = "tcg"
cpus = 2
memory = "1G"
[boot]
kernel = "{images}/debian-vmlinuz"
initrd = "{images}/debian-initrd"
cmdline = "root=/dev/vda rw console=ttyS0"
[[drive]]
image = "deb2.qcow2"
base = "{images}/debian.raw"
size = "4G"
[seed]
backend = "cloud-init"
user = "alice"
run = ["echo begun > /root/begun", "no-such-command --now", "echo never > /root/never"]
[[seed.files]]
path = "/home/alice/note"
content = "it's \\"mine\\"\\n"
owner = "alice:alice"
mode = "0600"
"""
IN_IT = "hostname; id -un; sudo cat /root/begun; cat note; stat -c %a:%U note; ip -4 -o address show dev eth0"


@pytest.fixture
def debian(lab: Path, own_directories: Path, kvmrun: Cli) -> Cli:
    """The command, with the definitions of deb1 and deb2, and the key that is let in."""
    state = state_with("images/debian-seed.iso", "ssh/id_ed25519", script="scripts/systems")
    (own_directories / "state/images").mkdir(parents=True)
    (own_directories / "state/ssh").mkdir(mode=0o700)
    for name in ("id_ed25519", "id_ed25519.pub"):
        shutil.copy(f"{state}/ssh/{name}", own_directories / "state/ssh")
    (lab / "deb1.toml").write_text(GUEST.format(images=f"{state}/images"))
    (lab / "deb2.toml").write_text(SEEDED.format(images=f"{state}/images"))
    kvmrun.limit = 600
    return kvmrun


@pytest.mark.timeout(1200)
def test_a_day_with_debian(debian: Cli, own_directories: Path) -> None:
    debian.ok("deb1", "--wait=agent", "--timeout", "500")
    debian.ok("wait", "deb1", "--for", "port:22", "--timeout", "300")
    assert debian.ok("exec", "deb1", "--", "hostname").out == "deb1\n"
    much = debian.ok("exec", "deb1", "--", "head", "-c", "17000000", "/dev/zero")
    assert (len(much.out), "stdout" in much.err) == (16 << 20, True)
    (own_directories / "file").write_bytes(os.urandom(5_000_000))
    debian.ok("cp", str(own_directories / "file"), "deb1:/root/")
    debian.ok("cp", "deb1:/root/file", str(own_directories / "back"))
    assert (own_directories / "back").read_bytes() == (own_directories / "file").read_bytes()
    assert [" 1 " in debian.ok("freeze", "deb1").out for _ in range(2)] == [True, False]
    held = debian("exec", "deb1", "--", "true")
    assert (held.code, held.fixes) == (1, ["kvmrun thaw deb1"])
    assert [" 1 " in debian.ok("thaw", "deb1").out for _ in range(2)] == [True, False]
    login(debian, own_directories)
    with debian.begun("exec", "deb1", "--", "sleep", "5") as running:
        until(lambda: "sleep 5" in debian.ok("exec", "deb1", "--", "ps", "ax").out, limit=60)
        debian.ok("freeze", "deb1")
        assert " 1 " in debian.ok("thaw", "deb1").out
        assert running.wait(120) == 0
    debian.ok("freeze", "deb1")
    out = debian.ok("stop", "deb1", "--timeout", "120").out
    assert ("thawed" in out, "QEMU" in out) == (True, False)


def login(debian: Cli, root: Path) -> None:
    mine = Path(pwd.getpwuid(os.getuid()).pw_dir, ".ssh/known_hosts")
    before = mine.read_bytes() if mine.exists() else None
    assert debian("ssh", "deb1", "--", "id -un; exit 42").code == 42
    assert debian.ok("ssh", "-l", "debian", "deb1", "--", "id -un").out == "debian\n"
    assert (root / "state/ssh/known_hosts").read_text().count("ssh-ed25519") == 1
    assert (mine.read_bytes() if mine.exists() else None) == before


@pytest.mark.timeout(1800)
def test_a_seed_of_its_own(debian: Cli, lab: Path) -> None:
    """The first start ends with the words of cloud-init about a command; the next applies the corrected seed."""
    debian.limit = 1000
    failed = debian("deb2", "--wait=seed", "--timeout", "900")
    assert failed.code == 1
    assert "no-such-command: not found" in failed.err
    address = debian.ok("show", "deb2", "-o", "json").json()["runtime"]["ports"][0]["address"]
    name, user, begun, *note, mode, interface = debian.ok("ssh", "deb2", "--", IN_IT).out.splitlines()
    assert (name, user, begun, note, mode) == ("deb2", "alice", "begun", ['it\'s "mine"'], "600:alice")
    assert f" {address}/24 " in interface
    assert debian("exec", "deb2", "--", "test", "-e", "/root/never").code == 1, "a failed command is the last one"
    debian.ok("stop", "deb2", "--timeout", "120")
    file = lab / "deb2.toml"
    file.write_text(file.read_text().replace("no-such-command --now", "true"))
    debian.ok("deb2", "--wait=seed", "--timeout", "900")
    debian.ok("exec", "deb2", "--", "test", "-e", "/root/never")
    debian.ok("stop", "deb2", "--force")
