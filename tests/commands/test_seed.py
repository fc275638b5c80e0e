"""The seed of a guest, from the definition to its removal, with guests that boot nothing."""

import base64
import os
import stat
import subprocess
from pathlib import Path

import pytest
from support.builders import TCG
from support.cli import Cli, Result
from support.packages import packaged

pytestmark = pytest.mark.usefixtures("netns", "tun")
KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
SEED = f'{TCG}[seed]\nbackend = "{{0}}"\nssh_keys = ["{KEY}"]\n'
OFFLINE = "[network.lan]\ndhcp = false\ndns = false\n"
SYSTEM = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
    "etc/shadow": "root:*:1::::::\n",
    "etc/group": "root:x:0:\nadm:x:4:\nsudo:x:27:\nwheel:x:28:\n",
    "etc/selinux/config": "SELINUXTYPE=none\n",
}
"""What Ignition finds in the root of a system."""
NOBODY = {"SUDO_UID": "65534"}
"""The environment of a caller whose home, and so whose keys, do not exist."""


@pytest.fixture
def web(lab: Path, kvmrun: Cli) -> Path:
    """The definition of a guest with a seed for cloud-init."""
    (lab / "networks.toml").write_text(OFFLINE)
    (lab / "web.toml").write_text(SEED.format("cloud-init"))
    return lab / "web.toml"


def directories(root: Path) -> list[Path]:
    return sorted((root / "state/guest").glob("*/seed"))


def instance(root: Path) -> str:
    (directory,) = directories(root)
    return (directory / "instance-id").read_text()


def test_from_the_first_start_to_the_removal(web: Path, kvmrun: Cli, own_directories: Path) -> None:
    planned = kvmrun.ok("web", "--dry-run").out
    assert "cidata.iso" in planned
    assert directories(own_directories) == []
    kvmrun.ok("web", "--paused")
    (directory,) = directories(own_directories)
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    first, written = instance(own_directories), (directory / "cidata.iso").stat().st_mtime_ns
    assert KEY.encode() in (directory / "cidata.iso").read_bytes()
    drives = kvmrun.ok("monitor", "web", "-c", "query-block", "-o", "json").out
    assert "scsi-cd" in drives or "drive0" in drives
    kvmrun.ok("stop", "web", "--force")
    kvmrun.ok("web", "--paused")
    assert (directory / "cidata.iso").stat().st_mtime_ns == written, "nothing has changed"
    kvmrun.ok("stop", "web", "--force")
    web.write_text(web.read_text() + 'timezone = "UTC"\n')
    kvmrun.ok("web", "--paused")
    second = instance(own_directories)
    assert second != first
    kvmrun.ok("stop", "web", "--force")
    kvmrun.ok("rename", "web", "www")
    kvmrun.ok("www", "--paused")
    assert instance(own_directories) not in {first, second}
    kvmrun.ok("rm", "www", "--force")
    assert directories(own_directories) == []


def test_the_other_back_ends(web: Path, kvmrun: Cli, own_directories: Path) -> None:
    for backend, file in (("ignition", "config.ign"), ("credentials", "system.hostname")):
        web.write_text(SEED.format(backend) + 'run = ["true"]\npassword_hash = "$6$salt$secret"\nuser = "me"\n')
        kvmrun.ok("web", "--paused")
        (directory,) = directories(own_directories)
        assert (directory / file).is_file(), backend
        assert not (directory / "cidata.iso").exists()
        assert "secret" not in kvmrun.ok("show", "web", "-o", "json").json()["command"]
        kvmrun.ok("stop", "web", "--force")


@pytest.mark.skipif(os.geteuid() != 0, reason="Ignition makes an account, as root")
def test_ignition_does_what_the_seed_says(web: Path, kvmrun: Cli, own_directories: Path) -> None:
    program = packaged("usr/lib/dracut/modules.d/30ignition/ignition")
    if not program:
        pytest.skip("needs Ignition, which scripts/test unpacks")
    file = '[[seed.files]]\npath = "/etc/motd"\ncontent = "it\'s %n\\n"\nmode = "0640"\nowner = "root:adm"\n'
    web.write_text(SEED.format("ignition") + f'user = "alice"\nrun = ["true"]\n{file}')
    kvmrun.ok("web", "--paused")
    (directory,) = directories(own_directories)
    root, programs = own_directories / "root", own_directories / "bin"
    for name, text in SYSTEM.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    programs.mkdir()
    (programs / "setfiles").symlink_to("/bin/true")  # it labels for SELinux whatever the system is
    for stage in ("fetch", "files"):
        words = [f"-stage={stage}", f"-root={root}", f"-config-cache={root}/cache", f"-state-file={root}/state"]
        environ = {
            "IGNITION_CONFIG_FILE": f"{directory}/config.ign",
            "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        done = subprocess.run(
            [program, "-platform=file", "-log-to-stdout", *words],
            env=environ,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    assert (root / "etc/hostname").read_text() == "web\n"
    assert ((root / "etc/motd").read_text(), described(root / "etc/motd")) == ("it's %n\n", (0o640, 0, 4))
    groups = [line.split(":") for line in (root / "etc/group").read_text().splitlines()]
    assert {name for name, *_, members in groups if members == "alice"} == {"sudo", "wheel"}
    uid = int(next(line for line in (root / "etc/passwd").read_text().splitlines() if "alice" in line).split(":")[2])
    keys = root / "home/alice/.ssh/authorized_keys.d/ignition"
    assert (keys.read_text().strip(), described(keys)[:2]) == (KEY, (0o600, uid))
    profile = root / "etc/NetworkManager/system-connections/eth0.nmconnection"
    assert described(profile) == (0o600, 0, 0), "NetworkManager reads no other"
    assert "enable kvmrun-seed.service" in next((root / "etc/systemd/system-preset").iterdir()).read_text()


def described(path: Path) -> tuple[int, int, int]:
    """Its mode and its owner."""
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def test_a_start_that_fails_takes_its_seed_back(web: Path, kvmrun: Cli, own_directories: Path) -> None:
    web.write_text('args = ["-device nonsense"]\n' + web.read_text())
    assert kvmrun("web").code == 1
    assert [path for path in directories(own_directories) if any(path.iterdir())] == []


def test_a_caller_without_keys_is_told_so(web: Path, kvmrun: Cli, own_directories: Path) -> None:
    """A guest that has a seed already needs none: it may be started when the host boots."""
    lines = [line for line in web.read_text().splitlines() if "ssh_keys" not in line]
    web.write_text("\n".join(lines))
    refused = kvmrun("web", "--paused", **NOBODY)
    assert (refused.code, directories(own_directories)) == (6, [])
    (own_directories / "state/ssh").mkdir(parents=True)
    (own_directories / "state/ssh/id_ed25519.pub").write_text(f"{KEY} kvmrun\n")
    kvmrun.ok("web", "--paused", **NOBODY)
    kvmrun.ok("stop", "web", "--force")
    (own_directories / "state/ssh/id_ed25519.pub").unlink()
    kvmrun.ok("web", "--paused", **NOBODY)


WRONG = (
    ('packages = ["a"]\nbackend = "ignition"', "seed.packages"),
    ('usr = "me"\nbackend = "ignition"', "seed.usr"),
    ('user = "me"', "seed.backend"),
    ('backend = "cloud-init"\nuser_data = "missing"', "seed.user_data"),
    ('backend = "cloud-init"\nuser_data = "net.txt"', "seed.user_data"),
    ('backend = "cloud-init"\nssh_keys = ["missing.pub"]', "seed.ssh_keys[0]"),
    ('backend = "cloud-init"\nssh_keys = ["net.txt"]', "seed.ssh_keys[0]"),
    ('backend = "cloud-init"\n[[seed.files]]\npath = "/x"\nsource = "missing"', "seed.files[0].source"),
    ('backend = "cloud-init"\n[[seed.files]]\npath = "/x"', "seed.files[0]"),
)


def test_what_is_wrong_is_named_with_its_key_and_nothing_is_done(
    web: Path, lab: Path, kvmrun: Cli, own_directories: Path
) -> None:
    (lab / "net.txt").write_text("no user data, and no key\n")
    for text, key in WRONG:
        web.write_text(f"{TCG}[seed]\n{text}\n")
        found = kvmrun("check")
        assert found.code == 5, text
        assert f"web.toml: {key}: " in told(found), text
        assert kvmrun("web").code in {5, 6}, text
        assert directories(own_directories) == [], text


def told(found: Result) -> str:
    return found.out + found.err


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's file matters to root")
def test_root_takes_no_file_that_another_user_can_exchange(web: Path, lab: Path, kvmrun: Cli, tmp_path: Path) -> None:
    shared = lab.parent / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "doc").write_text("#cloud-config\n")
    web.write_text(f'{TCG}[seed]\nbackend = "cloud-init"\nuser_data = "{shared}/doc"\n')
    assert kvmrun("web").code == 6
    assert "not to be trusted" in told(kvmrun("check"))
