"""What a guest has before its system, for real under TCG: the version of its machine."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from support.cli import TCG, Cli, guests

from kvmrun.host.firmware import machine_pin
from kvmrun.model.firmware.machine_type import MachineType

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
        assert "another machine" in kvmrun.ok("vm1").out
        assert kvmrun.rows()["vm1"]["state"] == "running"

    def test_a_new_definition_has_the_version(self, lab: Path, kvmrun: Cli) -> None:
        kvmrun.ok("new", "vm1")
        assert re.search(r'^machine = "pc-q35-[0-9.]+"', (lab / "vm1.toml").read_text(), re.MULTILINE)
        kvmrun.ok("check")
