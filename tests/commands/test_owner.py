"""A network brought up for somebody without root: QEMU, list, monitor and stop work as that user."""

import os
import pwd
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import Cli
from support.world import world

pytestmark = pytest.mark.usefixtures("netns", "open_tun")

USER = "nobody"
TCG = 'accel = "tcg"\nmemory = "32M"\n'


@pytest.fixture
def open_tun(_own_mounts: None, own_directories: Path) -> Iterator[None]:
    """A /dev/net/tun that everybody may open, as distributions have it."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("needs /dev/net/tun")
    node = own_directories / "tun"
    os.mknod(node, 0o666 | stat.S_IFCHR, os.stat("/dev/net/tun").st_rdev)
    node.chmod(0o666)
    subprocess.run(["mount", "--bind", str(node), "/dev/net/tun"], check=True)
    yield
    subprocess.run(["umount", "/dev/net/tun"], check=True)


@pytest.fixture
def user(lab: Path, own_directories: Path, _own_mounts: None) -> Iterator[Cli]:
    """The command as that user runs it, with run and state directories of the user's own."""
    uid = pwd.getpwnam(USER).pw_uid
    os.makedirs("/run/user", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/user"], check=True)
    for path in (Path(f"/run/user/{uid}"), own_directories / "home"):
        path.mkdir(mode=0o700)
        os.chown(path, uid, uid)
    drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    clean = ["env", "-u", "KVMRUN_RUN_DIR", f"XDG_RUNTIME_DIR=/run/user/{uid}", f"HOME={own_directories}/home"]
    state = f"KVMRUN_STATE_DIR={own_directories}/home/state"
    cli = Cli([*drop, *clean, state, sys.executable, "-m", "kvmrun", "-C", str(lab)])
    if (tried := cli("--version")).code:
        pytest.skip(f"{USER} cannot run this Python or read this checkout: {tried.err[-200:]}")
    yield cli
    cli("kill", "--all")
    subprocess.run(["umount", "/run/user"], check=True)


def test_a_user_starts_lists_monitors_and_stops_a_guest(lab: Path, kvmrun: Cli, user: Cli) -> None:
    (lab / "vm1.toml").write_text(TCG)
    before = world()
    kvmrun.ok("net", "up", "--owner", USER)
    user.ok("vm1")
    row = user.rows()["vm1"]
    assert (row["state"], row["problem"]) == ("running", None)
    status = Path(f"/proc/{row['pid']}/status").read_text()
    assert f"Uid:\t{pwd.getpwnam(USER).pw_uid}\t" in status
    assert '"running"' in user.ok("monitor", "vm1", "-c", "query-status").out
    assert kvmrun.rows()["vm1"]["pid"] == row["pid"], "root sees the user's guest"
    user.ok("stop", "--force", "vm1")
    kvmrun.ok("net", "down")
    assert world() == before


def test_without_a_kept_tap_the_user_is_told_what_root_must_do(lab: Path, kvmrun: Cli, user: Cli) -> None:
    (lab / "vm1.toml").write_text(TCG)
    down = user("vm1")
    assert down.code == 77
    assert "net up --owner" in down.err
    kvmrun.ok("net", "up")
    up = user("vm1")
    assert up.code == 77
    assert "net up --owner" in up.err


def test_the_network_stays_while_the_user_has_guests_on_it(lab: Path, kvmrun: Cli, user: Cli) -> None:
    (lab / "vm1.toml").write_text(TCG)
    kvmrun.ok("net", "up", "--owner", USER)
    user.ok("vm1")
    refused = kvmrun("net", "down")
    assert refused.code == 6
    assert "tap-vm1" in refused.err
    user.ok("stop", "--force", "vm1")
    kvmrun.ok("net", "down")


def test_root_may_use_a_kept_tap_too(lab: Path, kvmrun: Cli, user: Cli) -> None:
    (lab / "vm1.toml").write_text(TCG)
    kvmrun.ok("net", "up", "--owner", USER)
    kvmrun.ok("vm1")
    assert kvmrun.rows()["vm1"]["state"] == "running"
    assert user.rows()["vm1"]["state"] == "unknown", "a user may not look at root's guests, and says so"
    kvmrun.ok("stop", "--force", "vm1")


AT_ONE = (
    "stop",
    "kill",
    "pause",
    "resume",
    "reset",
    "log",
    "console",
    "monitor",
    "exec",
    "ssh",
    "freeze",
    "thaw",
    "wait",
)


def words(command: str) -> tuple[str, ...]:
    more = {"exec": ("true",), "monitor": ("-c", "query-status"), "wait": ("--for", "stopped", "--timeout", "1")}
    return (command, "vm1", *more.get(command, ()))


def test_what_belongs_to_somebody_else_is_told_so(lab: Path, kvmrun: Cli, user: Cli) -> None:
    """Neither "is not running" nor success: whose it is, and how whoever may do it does it."""
    (lab / "vm1.toml").write_text(TCG + "nic = []\n")
    kvmrun.ok("vm1")
    for command in AT_ONE:
        done = user(*words(command))
        assert done.code == 77, (command, done.out, done.err)
        assert (re.search(r"\broot\b", done.err) is not None, done.fixes[0].startswith("sudo ")) == (True, True)
    assert kvmrun.rows()["vm1"]["state"] == "running"
    assert user("stop", "--all").code == 0
    kvmrun.ok("kill", "vm1")
    user.ok("stop", "vm1")
    assert user("pause", "vm1").code == 3
    user.ok("vm1")
    pid = user.pid("vm1")
    for command in AT_ONE:
        done = kvmrun(*words(command))
        assert done.code == 77, (command, done.out, done.err)
        assert done.fixes[0].startswith(f"sudo -u {USER} XDG_RUNTIME_DIR=/run/user/")
    assert user.pid("vm1") == pid


def test_a_guest_of_the_same_name_in_another_lab_is_another_guest(lab: Path, kvmrun: Cli, user: Cli) -> None:
    (lab / "same-name.toml").write_text(TCG + "nic = []\n")
    other = lab.parent / "other"
    other.mkdir(mode=0o755)
    (other / "same-name.toml").write_text(TCG + "nic = []\n")
    (other / "networks.toml").write_text('seed = "another"\n')
    kvmrun.ok("-C", str(other), "same-name")
    assert user("pause", "same-name").code == 3
    user.ok("stop", "same-name")
    assert kvmrun("-C", str(other), "list", "-o", "json").json()["guests"][0]["state"] == "running"


def test_an_unknown_owner_is_a_usage_error(lab: Path, kvmrun: Cli) -> None:
    (lab / "vm1.toml").write_text(TCG)
    assert kvmrun("net", "up", "--owner", "nobody-of-that-name").code == 2


def test_a_guest_that_runs_without_a_persistent_tap_is_named(lab: Path, kvmrun: Cli) -> None:
    for name in ("vm1", "vm2"):
        (lab / f"{name}.toml").write_text(TCG)
    kvmrun.ok("vm1")
    said = kvmrun("net", "up", "--owner", USER)
    assert (said.code, "kvmrun stop vm1" in said.err) == (6, True), said
    assert kvmrun.rows()["vm1"]["problem"] is None
    kvmrun.ok("kill", "vm1")
    kvmrun.ok("net", "up", "--owner", USER)
