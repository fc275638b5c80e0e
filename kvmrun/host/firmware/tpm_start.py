"""The TPM of a guest: one swtpm beside its QEMU, as the same account, which ends with it.

swtpm is given its socket, the directory of its state and a lock by descriptor. It ends when QEMU closes its connection,
however QEMU ends. The kernel's lock tells whether it runs: swtpm holds it by inheritance.
"""

import os
import socket
import time
from contextlib import ExitStack

from kvmrun.errors import KvmrunError, Unresponsive
from kvmrun.host.files import safe_directory
from kvmrun.host.firmware.running_tpm import ENDING, RunningTpm, end_tpm
from kvmrun.host.process import account_directory, process
from kvmrun.host.rundir import lock
from kvmrun.model.deadline import Deadline
from kvmrun.model.printable import printable
from kvmrun.plan.steps.firmware_steps import StartTpm

_READY = 10.0
_GET_CAPABILITY, _ANSWER = b"\0\0\0\1", 8
"""The first command of its control channel, and the length of the answer: tpm_ioctl.h of swtpm."""
_PROFILE = "/etc/apparmor.d/usr.bin.swtpm"


def start_tpm(step: StartTpm, output: tuple[int, int], deadline: Deadline) -> RunningTpm:
    """Start swtpm in the place of one that is left; its words go to `output`, a pipe that nobody reads yet.

    Raises: HostLacks where it is not installed, KvmrunError where it ends, Unresponsive where it says nothing.
    """
    program = process.require_program("swtpm")
    end_tpm(step.lock)
    ours, theirs = socket.socketpair()
    try:
        pid, pidfd = _spawn(program, step, theirs, output[1])
    except BaseException:
        ours.close()
        raise
    try:
        _await(ours, step, deadline.left(_READY))
    except BaseException as error:
        process.kill(pidfd)
        os.close(pidfd)
        process.disown(pid)
        ours.close()
        if isinstance(error, KvmrunError):
            error.lines = _words_of(output[0])
        raise
    return RunningTpm(pid, pidfd, ours.detach())


def _spawn(program: str, step: StartTpm, control: socket.socket, output: int) -> tuple[int, int]:
    """Start it with its end of the channel, which is closed here, its state and its lock."""
    with ExitStack() as files:
        files.enter_context(control)
        state = account_directory.made(step.directory, step.uid, passage=False)
        files.callback(os.close, state)
        held = _locked(step)
        files.callback(os.close, held)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        files.callback(os.close, null)
        command = process.drop_privileges_command([program, *_words(state, control.fileno())], step.uid, None)
        keep = (control.fileno(), state, held)
        return process.spawn(command, stdin=null, output=output, keep=keep, detached=True)


def _words(state: int, control: int) -> list[str]:
    return [
        *("socket", "--tpm2", "--tpmstate", f"dir=/proc/self/fd/{state},mode=0600"),
        *("--ctrl", f"type=unixio,clientfd={control}", "--terminate", "--seccomp", "action=kill"),
    ]


def _locked(step: StartTpm) -> int:
    """A descriptor with the lock, which swtpm inherits. Raises Busy."""
    with safe_directory.opened(os.path.dirname(step.lock)):
        fd = lock.open_lock(step.lock)
    try:
        lock.wait_for_lock(fd, f"the TPM of {step.guest}", limit=ENDING)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _await(control: socket.socket, step: StartTpm, limit: float) -> None:
    """Ask what swtpm can do: it answers once it has read its state and is confined."""
    until = time.monotonic() + limit
    answer = b""
    try:
        control.sendall(_GET_CAPABILITY)
        while len(answer) < _ANSWER:
            control.settimeout(max(0.001, until - time.monotonic()))
            if not (piece := control.recv(_ANSWER - len(answer))):
                raise _ended(step)
            answer += piece
    except TimeoutError:
        message = f"the TPM of {step.guest} did not answer within {limit:.1f} s"
        raise Unresponsive(message, "try again when the host is less busy") from None
    except OSError:
        raise _ended(step) from None
    control.settimeout(None)


def _words_of(reader: int) -> tuple[str, ...]:
    """What it has said so far, at most a few lines."""
    os.set_blocking(reader, False)
    try:
        said = os.read(reader, 4096).decode(errors="replace")
    except OSError:
        return ()
    finally:
        os.set_blocking(reader, True)
    return tuple(printable(line, 200) for line in said.splitlines()[-3:])


def _ended(step: StartTpm) -> KvmrunError:
    fix = "correct what swtpm says below, then try again"
    if os.path.exists(_PROFILE):
        fix = f"{fix}; its AppArmor profile {_PROFILE} may not permit {step.directory}"
    return KvmrunError(f"the TPM of {step.guest} did not start", fix, reason="swtpm ended")
