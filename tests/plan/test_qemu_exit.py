"""A QEMU that gave up: its own words, how it ended, and the fix where the cause is known."""

import signal

import pytest

from kvmrun.plan.guest.qemu_exit import explain_exit


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("Could not access KVM kernel module: No such file or directory", "modprobe"),
        ("Could not access KVM kernel module: Permission denied", "chgrp kvm /dev/kvm"),
        ("error: failed to set MSR 0x48f to 0x7fffff00036dfb", "choose another model"),
        ("warning: host doesn't support requested feature: CPUID.01H:ECX.vmx", "choose another model"),
        ("unable to find CPU model 'zen9'", "choose another model"),
        ('Failed to get "write" lock', "overlay"),
        ("Is another process using the image [/a.qcow2]?", "overlay"),
        ("cannot set up guest memory 'pc.ram': Cannot allocate memory", "lower memory"),
        ("Could not set up host forwarding rule: Address already in use", "correct args"),
        ("Failed to find an available port: Address already in use", "correct args"),
        ("Image is not in qcow2 format", "correct the format"),
        ("-device nosuch: 'nosuch' is not a valid device model name", "no such device"),
        ("unsupported machine type", "no such device"),
        ("qemu: linux kernel too old to load a ram disk", "bzImage"),
        ("could not load kernel '/proc/self/fd/9'", "bzImage"),
        ("something nobody has seen before", "kvmrun show"),
    ],
)
def test_a_known_cause_has_its_mend(said: str, fix: str) -> None:
    error = explain_exit("vm1", 1 << 8, ["first", f"qemu-system-x86_64: {said}"])
    assert fix in error.fix
    assert error.lines == ("first", f"qemu-system-x86_64: {said}")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (None, "QEMU ended before it answered"),
        (0, "QEMU ended with exit status 0"),
        (1 << 8, "QEMU ended with exit status 1"),
        (signal.SIGSYS, "QEMU was ended by SIGSYS"),
        (signal.SIGSEGV | 0x80, "QEMU was ended by SIGSEGV"),
        (40, "QEMU was ended by signal 40"),
    ],
)
def test_its_end_is_told(status: int | None, reason: str) -> None:
    assert explain_exit("vm1", status, []).reason == reason


def test_only_its_last_words_are_kept() -> None:
    error = explain_exit("vm1", None, [f"line {number}" for number in range(100)])
    assert error.lines == tuple(f"line {number}" for number in range(92, 100))
    assert error.message == "vm1 did not start"
    assert error.code == 1
