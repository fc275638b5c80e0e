"""dnsmasq, one a network, as an account of its own: by that account it is known, whatever a record says."""

import os
import signal
import time
from collections.abc import Callable, Collection

from kvmrun.errors import KvmrunError, Unresponsive
from kvmrun.host.files import atomic_write, ownership, safe_directory, small_files
from kvmrun.host.process import log_reader, log_writer, process
from kvmrun.model.deadline import remaining
from kvmrun.plan.steps.network_steps import StartDnsmasq, WriteDnsmasqFiles

_READY, _ENDING = 5.0, 2.0
_CAPABILITIES = "+net_bind_service,+net_admin,+net_raw"
_BYTES = r"[0-9a-f]{2}(?::[0-9a-f]{2}){0,99}"
_LEASE = (
    rf"[0-9]{{1,12}} [0-9a-f]{{2}}(?::[0-9a-f]{{2}}){{5}} [0-9.]{{7,15}} [A-Za-z0-9*._-]{{1,64}} (?:\*|{_BYTES})"
    rf"|duid {_BYTES}"
    rf"|[0-9]{{1,12}} T?[0-9]{{1,12}} [0-9a-f:.]{{2,45}} [A-Za-z0-9*._-]{{1,64}} (?:\*|{_BYTES})"
)


def running_pid(uid: int, config: str, hint: str) -> int:
    """The pid of the dnsmasq of account `uid` with the configuration `config`, 0 when there is none.

    `hint` is where its pid is noted. The account is nobody else's, so nobody else can look like it.
    """
    noted = noted_pid(hint)
    if noted and _is_ours(noted, uid, config):
        return noted
    return next((int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _is_ours(int(pid), uid, config)), 0)


def noted_pid(hint: str) -> int:
    """The pid in a note of ours, 0 when there is none."""
    text = small_files.read_bounded(hint, 20) or b""
    return int(text) if text.isdigit() else 0


def _is_ours(pid: int, uid: int, config: str) -> bool:
    """Whether that is who `pid` is, in our network namespace: another one has networks of its own."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != uid:
            return False
        if not os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.stat("/proc/self/ns/net")):
            return False
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).split(b"\0")
    except OSError:
        return False
    used = process.process_usage(pid)
    return f"--conf-file={config}".encode() in words and used is not None and not used.zombie


def write_files(step: WriteDnsmasqFiles) -> Callable[[], None]:
    """Write one file for the account to read, in one move; the undo writes the earlier text, or removes it."""
    _directory(os.path.dirname(step.path), step.uid)
    before = read_file(step.path)
    _replace(step.path, step.text, step.uid)
    return lambda: _replace(step.path, before, step.uid) if before is not None else os.unlink(step.path)


def read_file(path: str) -> str | None:
    return small_files.read_text(path)


def start_dnsmasq(step: StartDnsmasq, hint: str) -> Callable[[], None]:
    """Start dnsmasq in place of one that runs, and wait until it serves. Raises with its own words when it ends."""
    _check(step)
    stop_dnsmasq(step.uid, step.config, hint)
    ownership.begin_leases(step.leases, step.network, step.lab)
    _prune_leases(step.leases, step.uid, step.drop)
    said = log_reader.end_offset(step.log)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        command = [*_confined(step.uid), process.require_program("dnsmasq"), f"--conf-file={step.config}"]
        pid, pidfd = process.spawn(command, stdin=null, output=writer, detached=True)
    finally:
        os.close(writer)
        os.close(null)
    try:
        log = log_writer.start_writer(step.log, step.log_uid, reader)
        try:
            _await(pid, pidfd, step, lambda: (process.wait_exit(log, 1.0), log_reader.lines_since(step.log, said))[1])
        finally:
            os.close(log)
        small_files.replace_atomically(hint, f"{pid}".encode())
    except BaseException:
        process.kill(pidfd)
        raise
    finally:
        os.close(pidfd)
        process.disown(pid)
    return lambda: stop_dnsmasq(step.uid, step.config, hint)


def _check(step: StartDnsmasq) -> None:
    """Have it read its configuration first: for one it refuses, the one that runs is not stopped."""
    import subprocess

    command = [process.require_program("dnsmasq"), "--test", f"--conf-file={step.config}"]
    limit = remaining(_READY)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise _silent(step, limit, []) from None
    if done.returncode:
        raise _refused(step, done.stderr.splitlines())


def _refused(step: StartDnsmasq, said: list[str]) -> KvmrunError:
    lines = tuple(line for line in said if line.strip())[-4:]
    return KvmrunError(f"dnsmasq did not start on {step.bridge}", "its messages below say why", lines=lines)


def _silent(step: StartDnsmasq, limit: float, said: list[str]) -> Unresponsive:
    message = f"dnsmasq did not serve on {step.bridge} within {limit:.1f} s"
    return Unresponsive(message, "try again; --timeout SECONDS waits longer", lines=tuple(said[-4:]))


def _confined(uid: int) -> list[str]:
    """The words that leave it three capabilities: low ports, its DHCP answers, and raw packets for them."""
    return [
        process.require_program("setpriv"),
        *(f"--{kind}={uid}" for kind in ("reuid", "regid")),
        "--clear-groups",
        "--no-new-privs",
        *(f"--{kind}=-all,{_CAPABILITIES}" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
        "--",
    ]


def _await(pid: int, pidfd: int, step: StartDnsmasq, said: Callable[[], list[str]]) -> None:
    """Until the process has its sockets: it makes them after it has read everything and before it serves."""
    limit = remaining(_READY)
    deadline = time.monotonic() + limit
    while not _serves(pid):
        if process.wait_exit(pidfd, 0.01):
            raise _refused(step, said())
        if time.monotonic() > deadline:
            raise _silent(step, limit, said())


def _serves(pid: int) -> bool:
    """Whether it is dnsmasq by now and has dropped its standard streams, its last act before serving."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip() == "dnsmasq" and os.readlink(f"/proc/{pid}/fd/1") == "/dev/null"
    except OSError:
        return False


def reload_dnsmasq(uid: int, config: str, hint: str) -> None:
    if pid := running_pid(uid, config, hint):
        os.kill(pid, signal.SIGHUP)


def stop_dnsmasq(uid: int, config: str, hint: str) -> None:
    """End the dnsmasq of that account and configuration, if it runs; one that ends by itself is waited for."""
    deadline = time.monotonic() + _ENDING
    while process.is_ending(noted_pid(hint)) and time.monotonic() < deadline:
        time.sleep(0.001)
    if pid := running_pid(uid, config, hint):
        pidfd = os.pidfd_open(pid)
        try:
            if _is_ours(pid, uid, config):
                signal.pidfd_send_signal(pidfd, signal.SIGTERM)
                if not process.wait_exit(pidfd, 2.0):
                    process.kill(pidfd)
        finally:
            os.close(pidfd)
            process.forget_ended()
    atomic_write.remove(hint)
    atomic_write.remove(f"{hint}.new")  # left by a start that was killed


def _prune_leases(path: str, uid: int, drop: Collection[tuple[str, str]]) -> None:
    """Keep only the lines of the lease file that make sense: dnsmasq aborts on an address that is not hexadecimal.

    It writes the file from its memory, so that leases can be dropped only while it does not run.
    """
    _directory(os.path.dirname(path), uid)
    import re  # 5 ms: only where dnsmasq is started

    lease = re.compile(_LEASE)
    lines = [line for line in (read_file(path) or "").splitlines() if lease.fullmatch(line)]
    lines = [line for line in lines if tuple(line.split()[2:0:-1]) not in drop]
    _replace(path, "".join(f"{line}\n" for line in lines), uid)
    os.chown(path, uid, uid)


def _directory(path: str, uid: int) -> None:
    with safe_directory.opened(path, make=0o711) as directory:
        for parent in (os.path.dirname(os.path.dirname(path)), os.path.dirname(path)):
            os.chmod(parent, os.stat(parent).st_mode | 0o711)  # noqa: S103 - to pass through to what is its own
        os.fchown(directory.fd, 0, uid)
        os.fchmod(directory.fd, 0o750)


def _replace(path: str, text: str, uid: int) -> None:
    with (
        safe_directory.holding(path) as (parent, name),
        atomic_write.replacing(name, f".{name}.new", dir_fd=parent.fd) as fd,
    ):
        atomic_write.fill(fd, text.encode(), 0o640, (0, uid), durable=False)
