"""The day of running guests: paused, resumed, reset, restarted, waited for, in groups and in their order."""

import os
import re
import time
from pathlib import Path

import pytest
from support.builders import ALONE, TCG, guests
from support.cli import Cli
from support.sector import PANIC, pause, sector
from support.world import until

from kvmrun.model.guest.guest_state import HALTED, guest_state

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="QEMU as another user needs root")
pytestmark = needs_root


def states(kvmrun: Cli) -> dict[str, str]:
    return {name: row["state"] for name, row in kvmrun.rows().items()}


class TestTelling:
    def test_pause_and_resume_are_told_once_and_again(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", "vm2", text=ALONE)
        kvmrun.ok("vm1", "vm2")
        for words, state in (
            (("pause", "vm1", "vm2"), "paused"),
            (("pause", "vm1"), "paused"),
            (("resume", "--all"), "running"),
            (("resume", "vm1"), "running"),
        ):
            told = kvmrun.ok(*words).out.splitlines()
            assert len(told) == (2 if "vm2" in words or "--all" in words else 1)
            assert set(states(kvmrun).values()) == {state}

    def test_a_guest_that_was_started_paused(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=ALONE)
        kvmrun.ok("up", "vm1", "--paused")
        kvmrun.ok("pause", "vm1")
        assert states(kvmrun) == {"vm1": "paused"}
        kvmrun.ok("resume", "vm1")
        assert states(kvmrun) == {"vm1": "running"}

    @pytest.mark.parametrize("verb", ["pause", "resume", "reset"])
    def test_what_does_not_run_is_told_apart(self, lab: Path, kvmrun: Cli, verb: str) -> None:
        guests(lab, "vm1", text=ALONE)
        assert kvmrun(verb, "vm1").code == 3
        assert kvmrun(verb, "vm2").code == 4
        assert kvmrun(verb).code == 2
        assert kvmrun(verb, "--all").code == 0

    def test_one_that_does_not_run_does_not_keep_the_others(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", "vm2", text=ALONE)
        kvmrun.ok("vm2")
        assert kvmrun("pause", "vm1", "vm2").code == 3
        assert states(kvmrun) == {"vm1": "stopped", "vm2": "paused"}

    def test_reset_begins_anew_with_the_same_qemu(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", b"hello\r\n")
        kvmrun.ok("vm1", "--wait=console:hello")
        pid = kvmrun.pid("vm1")
        kvmrun.ok("reset", "vm1")
        until(lambda: kvmrun.ok("log", "vm1").out.count("hello") == 2)
        assert kvmrun.pid("vm1") == pid

    def test_restart_takes_the_definition_as_it_is_now(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=ALONE)
        kvmrun.ok("vm1")
        pid = kvmrun.pid("vm1")
        guests(lab, "vm1", text=ALONE.replace("32M", "48M"))
        kvmrun.ok("restart", "vm1", "-f")
        row = kvmrun.rows()["vm1"]
        assert (row["state"], row["memory_bytes"], row["pid"] == pid) == ("running", 48 << 20, False)

    def test_restart_stops_nothing_that_could_not_be_started(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=ALONE)
        kvmrun.ok("vm1")
        guests(lab, "vm1", text="memory = 7\n")
        assert kvmrun("restart", "vm1").code == 5
        assert states(kvmrun) == {"vm1": "running"}

    def test_a_guest_that_crashes_or_reboots_does_as_asked(self, lab: Path, kvmrun: Cli) -> None:
        more = 'on_reboot = "shutdown"\non_crash = "pause"\nwatchdog = "poweroff"\n'
        sector(lab, "vm1", b"hello\r\n", more=more)
        kvmrun.ok("vm1", "--wait=console:hello")
        kvmrun.ok("monitor", "vm1", "-c", "qom-get path=/machine/peripheral/watchdog0 property=type")
        done = kvmrun("reset", "vm1")
        assert (done.code, "on_reboot" in done.err) == (3, True)
        kvmrun.ok("vm1", "--wait=console:hello")
        with kvmrun.begun("wait", "vm1", "--for", "stopped") as waiting:
            assert kvmrun.typed("console", "vm1", text="\x12").code == 0
            assert waiting.wait(20) == 0

    def test_a_guest_that_panics_does_as_asked(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", b"", more='on_crash = "pause"\n', first=PANIC)
        sector(lab, "vm2", b"", more='on_crash = "shutdown"\n', first=PANIC)
        kvmrun.ok("vm1", "vm2")
        until(lambda: states(kvmrun) == {"vm1": "guest-panicked", "vm2": "stopped"})


class TestProtection:
    def test_only_force_ends_a_protected_guest(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text="protect = true\n" + ALONE)
        guests(lab, "vm2", text=ALONE)
        kvmrun.ok("vm1", "vm2")
        for verb in ("stop", "kill", "reset", "restart"):
            done = kvmrun(verb, "vm1")
            assert (done.code, "protect = false" in done.err) == (6, True)
        kvmrun.ok("pause", "vm1")
        assert kvmrun("kill", "--all").code == 6
        assert states(kvmrun) == {"vm1": "paused", "vm2": "stopped"}
        (lab / "vm1.toml").unlink()
        assert kvmrun("kill", "vm1").code == 6
        kvmrun.ok("reset", "--force", "vm1")
        kvmrun.ok("stop", "--force", "vm1")
        assert states(kvmrun) == {"vm2": "stopped"}

    def test_the_definition_of_now_counts(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text="protect = true\n" + ALONE)
        kvmrun.ok("vm1")
        guests(lab, "vm1", text=ALONE)
        kvmrun.ok("kill", "vm1")
        assert states(kvmrun) == {"vm1": "stopped"}


class TestGroups:
    def test_a_group_is_named_wherever_guests_are(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", "vm2", text='groups = ["lab", "all"]\n' + ALONE)
        guests(lab, "vm3", text='groups = ["all"]\nautostart = true\n' + ALONE)
        kvmrun.ok("@lab")
        assert states(kvmrun) == {"vm1": "running", "vm2": "running", "vm3": "stopped"}
        kvmrun.ok("up", "--autostart")
        kvmrun.ok("pause", "@lab", "vm3")
        assert set(states(kvmrun).values()) == {"paused"}
        kvmrun.ok("resume", "@all")
        kvmrun.ok("reset", "@all")
        kvmrun.ok("wait", "@all", "--for", "running")
        kvmrun.ok("restart", "@lab", "--force")
        kvmrun.ok("stop", "@lab", "--force")
        assert states(kvmrun) == {"vm1": "stopped", "vm2": "stopped", "vm3": "running"}
        kvmrun.ok("kill", "@all")

    @pytest.mark.parametrize("verb", ["up", "stop", "kill", "pause", "resume", "reset", "restart", "wait"])
    def test_an_unknown_group(self, lab: Path, kvmrun: Cli, verb: str) -> None:
        guests(lab, "vm1", text='groups = ["lab"]\n' + ALONE)
        done = kvmrun(verb, "@lob")
        assert (done.code, "@lab?" in done.err) == (4, True), done.err


class TestWaiting:
    def test_running_and_stopped(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=ALONE)
        kvmrun.ok("wait", "vm1", "--for", "stopped")
        late = kvmrun("wait", "vm1", "--timeout", "0.3")
        assert (late.code, "kvmrun vm1 starts it" in late.err) == (7, True)
        with kvmrun.begun("wait", "vm1") as waiting:
            kvmrun.ok("vm1")
            assert waiting.wait(20) == 0
        assert kvmrun("wait", "vm1", "--for", "stopped", "--timeout", "0.3").code == 7
        with kvmrun.begun("wait", "vm1", "--for", "stopped") as waiting:
            kvmrun.ok("kill", "vm1")
            assert waiting.wait(20) == 0

    def test_what_nobody_starts_is_not_waited_for(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=ALONE)
        assert kvmrun("wait", "vm1").code == 3

    def test_for_what_the_console_says_now_or_said_since_the_start(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", b"hello\r\nprompt> ")
        kvmrun.ok("vm1", "--wait=console:prompt>")
        kvmrun.ok("wait", "vm1", "--for", "console:hello")
        assert kvmrun("wait", "vm1", "--for", "console:bye", "--timeout", "0.5").code == 7
        kvmrun.ok("kill", "vm1")
        sector(lab, "vm1", b"other\r\n")
        kvmrun.ok("vm1")
        assert kvmrun("wait", "vm1", "--for", "console:hello", "--timeout", "1").code == 7

    def test_a_disk_that_does_not_boot_is_told_by_what_the_firmware_says(
        self, lab: Path, images: Path, kvmrun: Cli
    ) -> None:
        (images / "empty.raw").write_bytes(bytes(1 << 20))
        (lab / "vm1.toml").write_text(f'{ALONE}[[drive]]\nimage = "empty.raw"\n')
        kvmrun.ok("vm1", "--wait=console:No bootable device")
        late = kvmrun("wait", "vm1", "--for", "console:login", "--timeout", "0.5")
        assert late.code == 7
        for told in ("login", "0.5 s", "| console: No bootable device", "kvmrun show vm1"):
            assert told in late.err, late.err

    @pytest.mark.usefixtures("netns", "tun")
    def test_what_was_seen_instead_is_told_and_no_accelerator_to_those_who_emulate(
        self, lab: Path, kvmrun: Cli
    ) -> None:
        guests(lab, "vm1", text=TCG + 'display = "vnc"\n')
        kvmrun.ok("vm1")
        told = {
            "port:81": ("81", "192.168.0."),
            "address": ("ARP",),
            "agent": ("agent",),
        }
        for word, parts in told.items():
            late = kvmrun("wait", "vm1", "--for", word, "--timeout", "0.3")
            assert late.code == 7
            for part in (*parts, "0.3 s", "kvmrun console vm1"):
                assert part in late.err, late.err
            assert "--accel tcg" not in late.err

    @pytest.mark.parametrize("word", ["address:", "port", "port:0", "port:x", "console:", "agent?", "stopped:x"])
    def test_what_nobody_can_wait_for(self, lab: Path, kvmrun: Cli, word: str) -> None:
        guests(lab, "vm1", text=ALONE)
        assert kvmrun("wait", "vm1", "--for", word).code == 2

    def test_for_a_guest_that_does_not_run(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text=TCG)
        assert kvmrun("wait", "vm1", "--for", "port:22").code == 3
        assert kvmrun("wait", "vm2").code == 4
        assert kvmrun("wait").code == 2


class TestOrder:
    def test_each_starts_when_those_before_it_are_ready(self, lab: Path, kvmrun: Cli) -> None:
        """The last line of each log is of its own start: the order of the logs is that of the starts."""
        ready = 'ready = "console:done"\n'
        sector(lab, "vm4", b"done\r\n", more=ready)
        sector(lab, "vm3", b"done\r\n", more=ready + 'after = ["vm4"]\n')
        sector(lab, "vm2", b"done\r\n", more=ready + 'after = ["vm4"]\n')
        sector(lab, "vm1", b"done\r\n", more='after = ["vm2", "vm3", "vm9"]\n')
        sector(lab, "vm9", b"")
        kvmrun.ok("up", "vm1", "vm2", "vm3", "vm4")
        begun = {name: started(kvmrun.pid(name)) for name in ("vm1", "vm2", "vm3", "vm4")}
        assert begun["vm4"] < min(begun["vm2"], begun["vm3"])
        assert max(begun["vm2"], begun["vm3"]) < begun["vm1"]
        out = kvmrun.ok("stop", "--all", "--timeout", "0.2").out
        ends = [line.split()[0] for line in out.splitlines() if " is stopped " in line]
        assert (ends[0], set(ends[1:3]), ends[3]) == ("vm1", {"vm2", "vm3"}, "vm4")

    def test_a_start_takes_as_long_as_the_longest_chain(self, lab: Path, kvmrun: Cli) -> None:
        """vm4 waits for vm2 and vm3, which wait for vm1: what is ready, and when, tells the order of the starts."""
        ready = 'ready = "console:done"\n'
        sector(lab, "vm1", b"done\r\n", more=ready)
        for name in ("vm2", "vm3"):
            sector(lab, name, b"done\r\n", more=ready + 'after = ["vm1"]\n', first=pause(4))
        guests(lab, "vm4", text='after = ["vm3", "vm2"]\n' + ALONE)
        kvmrun.ok("up", "--all")
        boot = time.time() - float(Path("/proc/uptime").read_text().split()[0])
        logs = lab.parent / "state/log"
        begun = {name: boot + started(kvmrun.pid(name)) / os.sysconf("SC_CLK_TCK") for name in states(kvmrun)}
        shown = {name: (logs / name / "current").stat().st_mtime for name in ("vm1", "vm2", "vm3")}
        assert shown["vm1"] < min(begun["vm2"], begun["vm3"]) + 0.1
        assert max(shown["vm2"], shown["vm3"]) < begun["vm4"] + 0.1
        assert max(begun["vm2"], begun["vm3"]) < min(shown["vm2"], shown["vm3"]), "side by side"
        took = {name: shown[name] - begun[name] for name in shown}
        chain = took["vm1"] + max(took["vm2"], took["vm3"])
        assert begun["vm4"] - begun["vm1"] < chain + min(took["vm2"], took["vm3"]), "less than one more would take"

    def test_what_fails_holds_up_those_after_it_and_no_others(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", b"", more='ready = "console:never"\n')
        guests(lab, "vm2", text='after = ["vm1"]\n' + ALONE)
        guests(lab, "vm3", text='after = ["vm2"]\n' + ALONE)
        guests(lab, "vm4", text=ALONE)
        done = kvmrun("up", "--all", "--timeout", "4")
        assert done.code == 7
        assert re.findall(r"kvmrun: (vm[23]) .*\n.* after (vm\d)", done.err) == [("vm2", "vm1"), ("vm3", "vm2")]
        assert states(kvmrun) == {"vm1": "running", "vm2": "stopped", "vm3": "stopped", "vm4": "running"}
        kvmrun.ok("vm2")

    def test_an_invalid_guest_holds_up_those_after_it(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1", text="memory = 1\n")
        guests(lab, "vm2", text='after = ["vm1"]\n' + ALONE)
        done = kvmrun("up", "vm2", "vm1")
        assert (done.code, "after vm1" in done.err) == (5, True)
        kvmrun.ok("vm2")

    def test_an_interrupt_ends_the_waiting(self, lab: Path, kvmrun: Cli) -> None:
        sector(lab, "vm1", b"", more='ready = "console:never"\n')
        guests(lab, "vm2", text='after = ["vm1"]\n' + ALONE)
        with kvmrun.begun("up", "--all") as start:
            until(lambda: states(kvmrun)["vm1"] == "running")
            time.sleep(0.5)
            start.send_signal(2)
            assert start.wait(10) == 130
        assert states(kvmrun) == {"vm1": "running", "vm2": "stopped"}


def started(pid: int) -> int:
    """When a process began, in clock ticks."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@pytest.mark.slow
@pytest.mark.usefixtures("netns", "tun")
def test_a_real_guest_is_waited_for_by_address_and_port(lab: Path, kvmrun: Cli, demo: str) -> None:
    boot = f'[boot]\nkernel = "{demo}/demo-vmlinuz"\ninitrd = "{demo}/demo-initrd"\ncmdline = "%s"\n'
    (lab / "vm1.toml").write_text(
        'accel = "tcg"\nmemory = "256M"\nready = "port:80"\n'
        + boot % "console=ttyS0 quiet ip=192.168.0.1::192.168.0.254:255.255.255.0:vm1:eth0:off"
        + '[[nic]]\naddress = "192.168.0.1"\n'
    )
    guests(lab, "vm2", text='after = ["vm1"]\n' + ALONE)
    kvmrun.ok("up", "--all")
    assert started(kvmrun.pid("vm2")) > started(kvmrun.pid("vm1")) + 50
    kvmrun.ok("wait", "vm1", "--for", "port:80", "--timeout", "5")
    kvmrun.ok("wait", "vm1", "--for", "address", "--timeout", "5")
    assert kvmrun("wait", "vm1", "--for", "port:81", "--timeout", "1").code == 7
    kvmrun.ok("stop", "--all", "--timeout", "20")


def test_a_guest_whose_processor_is_halted_is_reported_and_not_called_running(lab: Path, kvmrun: Cli) -> None:
    sector(lab, "vm1", b"", more='on_crash = "pause"\n', first=PANIC)
    kvmrun.ok("vm1")
    until(lambda: kvmrun.rows()["vm1"]["state"] == "guest-panicked")
    assert "kvmrun reset vm1" in kvmrun.rows()["vm1"]["problem"]
    again = kvmrun("vm1")
    assert (again.code, "kvmrun reset vm1" in again.err) == (6, True), again


@pytest.mark.parametrize("state", HALTED)
def test_every_state_without_a_running_processor_has_a_reason_and_a_fix(state: str) -> None:
    found, problem = guest_state("vm1", "", {"query-status": {"status": state}}, None, limit=2)
    assert found == state
    assert problem
    assert "kvmrun" in problem
