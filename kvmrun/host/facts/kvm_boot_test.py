"""Whether KVM really runs a guest: one sector that says so by ending QEMU with a code of its own."""

import json
import os
import signal
import subprocess
import time

from kvmrun.host.process import process
from kvmrun.model.guest.guest import SANDBOX
from kvmrun.model.printable import printable
from kvmrun.plan.doctor.doctor_facts_model import BootTest

_SECTOR = bytes.fromhex("ba f400 b0 2a ee fa f4 eb fd")
"""mov dx,0xf4; mov al,42; out dx,al; cli; hlt; again. QEMU's isa-debug-exit ends with twice that and one."""
_ALIVE = 2 * 42 + 1
_IMAGE = (_SECTOR.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0")


def run_boot_test(qemu: str, cpu: str, account: tuple[int | None, int | None], limit: float) -> BootTest:
    """Boot the sector with `cpu` as `account` (uid and group, None for the caller's own), for `limit` seconds."""
    image = _image()
    begin = time.monotonic()
    try:
        reason = _boot(process.drop_privileges_command([qemu, *_words(cpu, image)], *account), image, limit)
    finally:
        os.close(image)
    return BootTest(cpu=cpu, worked=not reason, seconds=time.monotonic() - begin, reason=reason)


def _image() -> int:
    """The sector in memory, open for reading: QEMU takes a descriptor only for what it was opened for."""
    writer = os.memfd_create("sector", os.MFD_CLOEXEC)
    try:
        os.write(writer, _IMAGE)
        return os.open(f"/proc/self/fd/{writer}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writer)


def _words(cpu: str, image: int) -> list[str]:
    drive = {"driver": "raw", "node-name": "d0", "read-only": True}
    file = {"driver": "file", "read-only": True, "filename": f"/dev/fdset/{image}"}
    return [
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", SANDBOX),
        *("-machine", "q35", "-accel", "kvm", "-cpu", cpu, "-m", "size=16384k"),
        *("-add-fd", f"fd={image},set={image}", "-blockdev", json.dumps({**drive, "file": file})),
        *("-device", json.dumps({"driver": "virtio-blk-pci", "drive": "d0", "bootindex": 0})),
        *("-device", json.dumps({"driver": "isa-debug-exit", "iobase": 0xF4, "iosize": 4})),
    ]


def _boot(command: list[str], image: int, limit: float) -> str:
    """Why the guest did not run, "" when it did."""
    limited = [
        process.require_program("prlimit"),
        "--core=0:0",
        "--",
        *command,
    ]  # QEMU aborts where the processor cannot be given
    try:
        done = subprocess.run(
            limited,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            check=False,
            cwd="/",
            pass_fds=[image],
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return f"no sign of life within {limit:g} s"
    except OSError as error:
        return printable(os.strerror(error.errno or 0))
    if done.returncode == _ALIVE:
        return ""
    said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    how = f"QEMU died of {_signal(-done.returncode)}" if done.returncode < 0 else f"QEMU ended with {done.returncode}"
    return printable(f"{how}: {said[0]}" if said else how, 200)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
