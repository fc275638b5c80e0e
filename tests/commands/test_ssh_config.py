"""The guests of a lab as ssh itself reads them."""

import shutil
import subprocess
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs ssh")


def read_by_ssh(file: Path, name: str) -> dict[str, str]:
    """What ssh would do for `name`, by its own keys."""
    done = subprocess.run(["ssh", "-G", "-F", file, name], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)


@pytest.fixture
def defined(lab: Path) -> None:
    guests(lab, "vm1", text=f'{TCG}ssh_user = "me"\nnic = [{{ address = "192.168.0.77" }}]\n')
    guests(lab, "vm2", text=f"{TCG}nic = []\n")
    guests(lab, "vm3", text=f'{TCG}nic = [{{ address = "192.168.0.79" }}]\n')


@pytest.mark.usefixtures("defined")
def test_ssh_takes_the_file_for_guests_that_run_or_not(kvmrun: Cli, own_directories: Path) -> None:
    target = own_directories / "config"
    target.write_text("Host old\n")
    assert kvmrun.ok("ssh-config", str(target)).out == ""
    keys = own_directories / "state/ssh"
    found = read_by_ssh(target, "vm1")
    wanted = {"hostname": "192.168.0.77", "user": "me", "hostkeyalias": "vm1", "stricthostkeychecking": "accept-new"}
    assert wanted.items() <= found.items()
    assert found["userknownhostsfile"] == f"{keys}/known_hosts"
    assert read_by_ssh(target, "vm3")["hostname"] == "192.168.0.79"
    assert read_by_ssh(target, "vm2")["hostname"] == "vm2"  # it has no address, and ssh asks for its name
    assert "# vm2" in target.read_text()
    assert keys.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("defined")
def test_a_key_of_the_lab_is_offered_and_any_path_is_one_word(
    kvmrun: Cli, own_directories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = own_directories / "a b %d"
    (state / "ssh").mkdir(parents=True, mode=0o700)
    (state / "ssh/id_ed25519").write_text("")
    monkeypatch.setenv("KVMRUN_STATE_DIR", str(state))
    target = own_directories / "config"
    target.write_text(kvmrun.ok("ssh-config").out)
    found = read_by_ssh(target, "vm1")
    assert found["identityfile"] == f"{state}/ssh/id_ed25519".replace("%", "%%")
    assert found["userknownhostsfile"] == f"{state}/ssh/known_hosts"


@pytest.mark.usefixtures("netns", "tun", "defined")
def test_a_guest_that_runs_stands_there_as_it_was_started(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    kvmrun.ok("vm1")
    guests(lab, "vm1", text=f'{TCG}nic = [{{ address = "192.168.0.78" }}]\n')
    target = own_directories / "config"
    kvmrun.ok("ssh-config", str(target))
    assert read_by_ssh(target, "vm1")["hostname"] == "192.168.0.77"
    kvmrun.ok("kill", "vm1")
    kvmrun.ok("ssh-config", str(target))
    assert read_by_ssh(target, "vm1")["hostname"] == "192.168.0.78"
