"""What a guest has before its system, under TCG: the version of its machine, its UEFI firmware, its TPM."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.builders import TCG, guests
from support.cli import Cli, Run, has_line
from support.world import until, world, world_after

from kvmrun.host.firmware import descriptor_files, machine_pin
from kvmrun.host.firmware.descriptor_files import read_descriptors
from kvmrun.host.process import process
from kvmrun.host.process.confinement import read_confinement
from kvmrun.model.firmware.descriptor import choose
from kvmrun.model.machine.machine_type import MachineType

pytestmark = pytest.mark.usefixtures("netns", "tun")
NEWEST = re.compile(r"pc-q35-[0-9.]+")


def state(name: str) -> Path:
    return Path(os.environ["KVMRUN_STATE_DIR"]) / "guest" / name


def machine(kvmrun: Cli, name: str) -> str:
    """The machine that QEMU was started with."""
    words = Path(f"/proc/{kvmrun.pid(name)}/cmdline").read_text().split("\0")
    return words[words.index("-machine") + 1].split(",")[0]


class TestMachine:
    def test_the_first_start_fixes_the_version_for_all_later_ones(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        assert "which version of the machine q35" in kvmrun.ok("vm1", "--dry-run").out
        assert not state("vm1").exists()
        kvmrun.ok("vm1")
        pinned = (state("vm1") / "machine").read_text().strip()
        assert NEWEST.fullmatch(pinned)
        assert machine(kvmrun, "vm1") == "q35"
        kvmrun.ok("restart", "vm1", "--force")
        assert machine(kvmrun, "vm1") == pinned
        assert pinned in kvmrun.ok("show", "vm1").out
        told = json.loads(kvmrun.ok("show", "vm1", "-o", "json").out)
        assert (told["machine"], told["definition"]["machine"]) == (pinned, "q35")
        kvmrun.ok("stop", "--force", "vm1")
        assert pinned in kvmrun.ok("vm1", "--dry-run").out

    def test_a_version_in_the_definition_is_used_as_it_is(self, lab: Path, kvmrun: Cli) -> None:
        given = machine_pin.newest_version("/usr/bin/qemu-system-x86_64", MachineType("pc"))
        (lab / "vm1.toml").write_text(f'{TCG}machine = "{given}"\n')
        kvmrun.ok("vm1")
        assert machine(kvmrun, "vm1") == given
        assert not state("vm1").exists()

    def test_a_version_that_qemu_has_no_more_is_refused_with_a_fix_that_works(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        state("vm1").mkdir(parents=True)
        (state("vm1") / "machine").write_text("pc-q35-0.1\n")
        refused = kvmrun("vm1")
        assert refused.code == 1
        fix = re.search(r"fix: (mv \S+ \S+)", refused.err)
        assert fix
        subprocess.run(fix[1].split(), check=True)
        kvmrun.ok("vm1")
        assert NEWEST.fullmatch((state("vm1") / "machine").read_text().strip())

    def test_it_moves_and_goes_with_the_guest(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("vm1")
        kvmrun.ok("stop", "--force", "vm1")
        kvmrun.ok("rename", "vm1", "vm2")
        assert not state("vm1").exists()
        assert (state("vm2") / "machine").exists()
        assert str(state("vm2")) in kvmrun.ok("rm", "vm2", "-y").out
        assert not state("vm2").exists()

    def test_a_place_that_cannot_be_written_stops_no_guest(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        state("vm1").parent.mkdir(parents=True)
        state("vm1").write_text("not a directory")
        assert has_line(kvmrun.ok("vm1").out, "pc-q35", "newer QEMU", str(state("vm1")))
        assert kvmrun.rows()["vm1"]["state"] == "running"

    def test_a_new_definition_has_the_version(self, lab: Path, kvmrun: Cli) -> None:
        kvmrun.ok("new", "vm1")
        assert re.search(r'^machine = "pc-q35-[0-9.]+"', (lab / "vm1.toml").read_text(), re.MULTILINE)
        kvmrun.ok("check")


@pytest.fixture
def ovmf() -> None:
    """Skips where no UEFI firmware is installed."""
    if not all(choose(read_descriptors(root=True)[0], "pc-q35-7.2", secure_boot=wish) for wish in (True, False)):
        pytest.skip("needs ovmf")


@pytest.fixture
def no_firmware(_own_mounts: None) -> Iterator[Path]:
    """An empty directory where packages put descriptors."""
    path = Path("/usr/share/qemu/firmware")
    if not path.is_dir():
        pytest.skip("needs /usr/share/qemu/firmware")
    subprocess.run(["mount", "-t", "tmpfs", "none", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def answer(console: socket.socket, said: str) -> str:
    """What comes on the console after an echoed line, up to `said`."""
    console.settimeout(240)
    found = ""
    while said not in found.partition("\n")[2]:
        found += console.recv(4096).decode(errors="replace")
    return found


UEFI = f'{TCG}nic = []\nfirmware = "uefi"\n'


@pytest.mark.usefixtures("ovmf")
class TestUefi:
    def test_descriptors_are_read_once_and_the_version_of_the_machine_once_for_a_guest(
        self, lab: Path, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        guests(lab, "vm1", "vm2", text=UEFI)
        asked: list[str] = []

        def counted(module: ModuleType, name: str) -> None:
            real = getattr(module, name)
            monkeypatch.setattr(module, name, lambda *given, **named: asked.append(name) or real(*given, **named))

        counted(descriptor_files, "read_descriptors")
        counted(machine_pin, "read_pin")
        run("check")
        assert sorted(asked) == ["read_descriptors", "read_pin", "read_pin"]
        asked.clear()
        run("up", "vm1", "--dry-run")
        assert sorted(asked) == ["read_descriptors", "read_pin"]

    def test_variables_are_the_guests_own_and_stay(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(UEFI)
        assert "make UEFI variables" in kvmrun.ok("vm1", "--dry-run").out
        kvmrun.ok("vm1", "--paused")
        path = state("vm1") / "uefi-variables.qcow2"
        there = path.stat()
        assert (there.st_uid, there.st_mode & 0o777) == (Path(f"/proc/{kvmrun.pid('vm1')}").stat().st_uid, 0o600)
        words = Path(f"/proc/{kvmrun.pid('vm1')}/cmdline").read_text()
        assert ("pflash1=variables" in words, str(path) in words) == (True, False)
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("vm1", "--paused")
        assert path.stat().st_ino == there.st_ino
        kvmrun.ok("kill", "vm1")
        kvmrun.ok("rename", "vm1", "vm2")
        kvmrun.ok("vm2", "--paused")
        moved = (state("vm2") / path.name).stat()
        assert (moved.st_ino, moved.st_uid) == (there.st_ino, Path(f"/proc/{kvmrun.pid('vm2')}").stat().st_uid)
        kvmrun.ok("kill", "vm2")
        kvmrun.ok("rm", "vm2", "-y")
        assert not state("vm2").exists()

    def test_variables_that_were_cut_are_refused_with_a_fix_that_works(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(UEFI)
        kvmrun.ok("vm1", "--paused")
        kvmrun.ok("kill", "vm1")
        path = state("vm1") / "uefi-variables.qcow2"
        os.truncate(path, path.stat().st_size // 2)
        assert "cut short" in kvmrun.ok("check").out
        refused = kvmrun("vm1")
        assert (refused.code, "cut short" in refused.err) == (6, True)
        fix = re.search(r"fix: (mv \S+ \S+)", refused.err)
        assert fix
        subprocess.run(fix[1].split(), check=True)
        kvmrun.ok("vm1", "--paused")

    def test_secure_boot_has_variables_of_its_own(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(f"{UEFI}secure_boot = true\n")
        kvmrun.ok("vm1", "--paused")
        words = Path(f"/proc/{kvmrun.pid('vm1')}/cmdline").read_text()
        assert ("smm=on" in words, "property=secure,value=on" in words) == (True, True)
        assert (state("vm1") / "uefi-variables-secure.qcow2").exists()

    def test_a_throwaway_guest_only_reads_its_variables(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(UEFI)
        kvmrun.ok("vm1", "--paused", "--throwaway")
        path, open_for = state("vm1") / "uefi-variables.qcow2", Path(f"/proc/{kvmrun.pid('vm1')}/fd")
        modes = {link.lstat().st_mode & 0o200 for link in open_for.iterdir() if os.path.realpath(link) == str(path)}
        assert modes == {0}

    def test_a_start_that_fails_leaves_no_variables(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(f'{UEFI}args = ["-device nonsense"]\n')
        assert kvmrun("vm1").code == 1
        assert not list(state("vm1").iterdir())

    def test_without_firmware_the_package_is_named(self, no_firmware: Path, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(UEFI)
        (no_firmware / "50-bad.json").write_text("{")
        refused = kvmrun("vm1")
        assert (refused.code, "apt install ovmf" in refused.err, "50-bad.json" in refused.err) == (69, True, True)
        assert "apt install ovmf" in kvmrun.ok("check").out
        found = [one for one in kvmrun("doctor", "-o", "json").json()["findings"] if one["subject"] == "firmware"]
        assert {one["level"] for one in found} == {"problem", "warning"}
        assert not state("vm1").exists()

    def test_what_cannot_be_is_refused_by_check(self, lab: Path, kvmrun: Cli) -> None:
        for name, text in {
            "a": f'{UEFI}secure_boot = true\nmachine = "pc"\n',
            "b": f"{TCG}secure_boot = true\n",
            "c": f'{UEFI}machine = "microvm"\n',
            "d": f'{UEFI}secure_boot = true\nmachine = "pc-i440fx-7.2"\n',
            "e": f'{UEFI}[boot]\nmenu = true\nkernel = "/bin/true"\n',
        }.items():
            (lab / f"{name}.toml").write_text(text)
        assert kvmrun("check").code == 5
        assert {row["state"] for row in kvmrun.rows().values()} == {"invalid"}

    @pytest.mark.slow
    def test_the_shell_keeps_a_variable_over_a_restart(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(UEFI.replace("32M", "128M"))
        kvmrun.limit = 500
        name = b"setvar kept -guid 11111111-2222-3333-4444-555555555555"
        for typed, said in ((name + b" -bs -nv =4b\r", "Shell>"), (name + b"\r", "4B")):
            kvmrun.ok("vm1", "--wait", "console:Shell>", "--timeout", "450")
            with socket.socket(socket.AF_UNIX) as console:
                console.connect(f"{os.environ['KVMRUN_RUN_DIR']}/vm/vm1/c")
                console.sendall(typed)
                assert said in answer(console, said)
            kvmrun.ok("stop", "--force", "vm1")

    @pytest.mark.slow
    def test_secure_boot_refuses_what_is_not_signed(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(UEFI.replace("32M", "128M") + "secure_boot = true\n")
        kvmrun.limit = 500
        kvmrun.ok("vm1", "--wait", "console:Security Violation", "--timeout", "450")


@pytest.fixture
def swtpm() -> None:
    """Skips where no swtpm is installed."""
    if not process.find_program("swtpm"):
        pytest.skip("needs swtpm")


def tpm_of(name: str) -> int:
    """The pid of the guest's swtpm, 0 when it does not run."""
    return process.holder(str(state(name) / "tpm.lock"))


@pytest.mark.usefixtures("swtpm")
class TestTpm:
    text = f"{TCG}nic = []\ntpm = true\n"

    def test_it_is_the_guests_own_is_confined_and_ends_with_it(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(self.text)
        assert "start its TPM" in kvmrun.ok("vm1", "--dry-run").out
        before = world()
        kvmrun.ok("vm1")
        pid, qemu = tpm_of("vm1"), kvmrun.pid("vm1")
        held, beside = read_confinement(pid), read_confinement(qemu)
        assert (held.uid, held.seccomp, held.capabilities, held.no_new_privs) == (beside.uid, True, 0, True)
        assert held.uid != 0
        kvmrun.ok("stop", "--force", "vm1")
        assert tpm_of("vm1") == 0
        assert world_after(before) == before
        kept = state("vm1") / "tpm/tpm2-00.permall"
        assert (kept.stat().st_uid, kept.stat().st_mode & 0o777) == (held.uid, 0o600)

    def test_nothing_is_left_of_it_when_qemu_is_killed(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(self.text)
        kvmrun.ok("vm1")
        assert tpm_of("vm1")
        os.kill(kvmrun.pid("vm1"), signal.SIGKILL)
        until(lambda: not tpm_of("vm1"))
        assert kvmrun.rows()["vm1"]["state"] == "stopped"

    def test_its_end_is_told_and_a_restart_mends_it(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(self.text)
        kvmrun.ok("vm1")
        os.kill(tpm_of("vm1"), signal.SIGKILL)
        until(lambda: not tpm_of("vm1"))
        row = kvmrun.rows()["vm1"]
        assert (row["state"], "TPM" in row["problem"]) == ("degraded", True)
        repaired = kvmrun("repair")
        assert (repaired.code, "its TPM has ended" in repaired.out) == (1, True)
        kvmrun.ok("restart", "vm1", "--force")
        assert kvmrun.rows()["vm1"]["state"] == "running"
        assert tpm_of("vm1")

    def test_one_that_hangs_or_is_left_stops_nobody(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(self.text)
        kvmrun.ok("vm1")
        os.kill(tpm_of("vm1"), signal.SIGSTOP)
        kvmrun.ok("kill", "vm1")
        assert tpm_of("vm1") == 0
        kvmrun.ok("vm1")
        assert tpm_of("vm1")

    @pytest.mark.parametrize("program", ["exit 1", "echo no TPM today >&2; exit 1", "exec sleep 100"])
    def test_one_that_does_not_begin_fails_the_start(
        self, lab: Path, kvmrun: Cli, own_directories: Path, program: str
    ) -> None:
        fake = own_directories / "swtpm"
        fake.write_text(f"#!/bin/sh\n{program}\n")
        fake.chmod(0o755)
        real = process.find_program("swtpm")
        (lab / "vm1.toml").write_text(self.text)
        before = world()
        subprocess.run(["mount", "--bind", str(fake), real], check=True)
        try:
            failed = kvmrun("vm1", "--timeout", "2")
        finally:
            subprocess.run(["umount", real], check=True)
        assert failed.code != 0
        assert ("no TPM today" in failed.err) == ("today" in program)
        assert world_after(before) == before
        assert tpm_of("vm1") == 0
        kvmrun.ok("vm1")

    def test_a_damaged_state_is_told_and_left_as_it_is(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(self.text)
        kvmrun.ok("vm1")
        kvmrun.ok("stop", "--force", "vm1")
        kept = state("vm1") / "tpm/tpm2-00.permall"
        kept.write_bytes(b"junk")
        failed = kvmrun("vm1")
        assert (failed.code, "TPM" in failed.err) == (1, True)
        assert kept.read_bytes() == b"junk"
        assert tpm_of("vm1") == 0

    def test_without_swtpm_the_package_is_named(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(self.text)
        real = process.find_program("swtpm")
        subprocess.run(["mount", "--bind", "/dev/null", real], check=True)
        try:
            refused, checked = kvmrun("vm1"), kvmrun.ok("check")
            doctored = kvmrun("doctor", "-o", "json").json()["findings"]
        finally:
            subprocess.run(["umount", real], check=True)
        assert (refused.code, "apt install swtpm" in refused.err) == (69, True)
        assert "apt install swtpm" in checked.out
        assert "apt install swtpm" in {one["fix"] for one in doctored}
        assert not state("vm1").exists()

    def test_microvm_has_no_place_for_one(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "vm1.toml").write_text(f'{self.text}machine = "microvm"\n')
        assert kvmrun("check").code == 5

    @pytest.mark.slow
    @pytest.mark.usefixtures("ovmf")
    def test_linux_finds_uefi_and_the_tpm(self, lab: Path, kvmrun: Cli, demo: str) -> None:
        boot = f'[boot]\nkernel = "{demo}/demo-vmlinuz"\ninitrd = "{demo}/demo-initrd"\ncmdline = "console=ttyS0"\n'
        (lab / "vm1.toml").write_text(f'{self.text.replace("32M", "256M")}firmware = "uefi"\n{boot}')
        kvmrun.limit = 500
        kvmrun.ok("vm1", "--wait", "console:built-in shell", "--timeout", "450")
        with socket.socket(socket.AF_UNIX) as console:
            console.connect(f"{os.environ['KVMRUN_RUN_DIR']}/vm/vm1/c")
            console.sendall(b"cat /sys/class/tpm/tpm0/tpm_version_major; ls /sys/firmware; echo do'ne'\r")
            found = answer(console, "done").split()
        assert {"2", "efi"} <= set(found)
