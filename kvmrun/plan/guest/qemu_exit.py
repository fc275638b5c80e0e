"""A QEMU that ended during its start: what it said, how it ended, and the fix where the cause is known."""

import os
import re

from kvmrun.errors import KvmrunError
from kvmrun.model.printable import quoted

_CAUSES = (
    (r"Could not access KVM kernel module: No such file", "modprobe kvm_intel (or kvm_amd), or --accel tcg"),
    (r"Could not access KVM kernel module: Permission", "groupadd -rf kvm; chgrp kvm /dev/kvm; chmod 660 /dev/kvm"),
    (r"options are incompatible", 'leave the accelerator to accel = "tcg" or --accel tcg'),
    (r"failed to initialize kvm|kvm version too old", "kvmrun doctor examines KVM here; or --accel tcg to emulate"),
    (
        r"failed to set MSR|host doesn't support requested feature|unable to find CPU model",
        'choose another model: cpu = "qemu64"',
    ),
    (
        r"Failed to get .*lock|Is another process using the image",
        "stop whoever uses the image, or give the guest an overlay",
    ),
    (r"Cannot allocate memory|cannot set up guest memory", "lower memory, or stop another guest"),
    (r"Address already in use|Failed to find an available port", "another guest has that port: correct args"),
    (r"io_uring|linux.AIO|aio context", 'choose another way for its drives: aio = "threads"'),
    (r"Only one balloon device", "free_page_reporting = false, or raw arguments without a balloon"),
    (r"Image is not in qcow2 format", 'correct the format of the drive (format = "raw"?)'),
    (r"failed to find romfile", "apt install ipxe-qemu, which has the boot ROMs of NICs"),
    (
        r"tpm-emulator: ",
        "its TPM did not begin: what swtpm says is below; the state of the TPM may be damaged, see kvmrun help guests",
    ),
    (
        r"is not a valid (device model|machine type)|unsupported machine type",
        "this QEMU has no such device: correct args or machine",
    ),
    (
        r"linux kernel too old to load a ram disk|could not load kernel|invalid kernel header",
        "name a Linux kernel (bzImage) in boot.kernel",
    ),
)


class StartFailed(KvmrunError):
    """QEMU started and gave up."""


def explain_exit(guest: str, status: int | None, said: list[str], pin: str = "") -> StartFailed:
    """The error for `guest` whose QEMU ended with wait status `status` (None: not known), having said `said`.

    `pin` is the file that gives its machine the version it has.
    """
    text = "\n".join(said)
    if pin and re.search(r"unsupported machine type", text, re.IGNORECASE):
        moved = f"mv {quoted(pin)} {quoted(pin)}.old"
        fix = f"{moved} has the next start choose the newest version, in which the guest finds other hardware"
        reason = "this QEMU does not have the version of the machine that the guest was first started with"
        return StartFailed(f"{guest} did not start", fix, reason=reason, lines=tuple(said[-8:]))
    fix = next((fix for pattern, fix in _CAUSES if re.search(pattern, text, re.IGNORECASE)), f"kvmrun show {guest}")
    return StartFailed(f"{guest} did not start", fix, reason=f"QEMU {_ending(status)}", lines=tuple(said[-8:]))


def _ending(status: int | None) -> str:
    if status is None:
        return "ended before it answered"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with exit status {code}"
    import signal

    known = {one.value: one.name for one in signal.Signals}
    return f"was ended by {known.get(-code, f'signal {-code}')}"
