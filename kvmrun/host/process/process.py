"""Processes: started with exactly the descriptors they need, signalled through a verified pidfd."""

import fcntl
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from kvmrun.errors import HostLacks
from kvmrun.host.rundir import lock
from kvmrun.model.value import Value

_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
ENVIRONMENT = {"PATH": ":".join(_PATH), "LANG": "C"}
_PACKAGES = {
    "s6-log": "s6",
    "capsh": "libcap2-bin",
    "setpriv": "util-linux",
    "prlimit": "util-linux",
    "qemu-img": "qemu-utils",
    "swtpm": "swtpm",
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
}
_ROOM = 1 << 20
_DETACH = 'cd / && unset PWD OLDPWD && umask 077 && ulimit -c 0 && exec "$0" "$@" 2>&1'
"""What the child does before it is the program. posix_spawn(3) can do none of it, what is done before it would change
the whole process of the caller, and a fork is not safe in one with threads. Nothing is ever put into this text. Until
the end nothing is printed: a shell says it where its directory was removed.
"""
_EXITING, _OVER = 0x4, {b"Z", b"X"}
_found: dict[str, str] = {}
"""Programs that were found; one that was not may be installed while the caller runs."""
_children: set[int] = set()
"""Children that nobody waits for: until one is taken from the table of processes, its number means nobody else."""
TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def find_program(name: str) -> str:
    """The absolute path of a program, or "" - never looked for in the caller's PATH."""
    if name in _found:
        return _found[name]
    if path := next((path for place in _PATH if os.access(path := f"{place}/{name}", os.X_OK)), ""):
        _found[name] = path
    return path


def require_program(name: str) -> str:
    """The absolute path of a program we need. Raises HostLacks with the package that has it."""
    if path := find_program(name):
        return path
    raise HostLacks(f"{name} is not installed", f"apt install {_PACKAGES.get(name, name)}")


def drop_privileges_command(command: list[str], uid: int | None, group: int | None) -> list[str]:
    """The command with every privilege taken from it; as `uid`, or as the caller when None.

    By capsh, which takes an account by number: setpriv would first look for one of that name, wherever the host's
    accounts are, and that takes longer than all the rest, or for ever.
    """
    program, *words = command
    account = (f"--groups={'' if group is None else group}", f"--gid={uid}", f"--uid={uid}")
    own = () if uid is None else ("--drop=all", *account)
    return [
        require_program("capsh"),
        "--quiet",
        "--no-new-privs",
        "--noamb",
        "--inh=",
        *own,
        f"--shell={program}",
        "--",
        *words,
    ]


def pipe() -> tuple[int, int]:
    """A pipe for a log, with room for a while in which the logger does not read."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):  # a user may have no more of it
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _ROOM)
    return reader, writer


def spawn(
    argv: list[str], *, stdin: int, output: int, keep: Iterable[int] = (), detached: bool = False
) -> tuple[int, int]:
    """Start `argv` in a session of its own, with exactly these descriptors: (pid, pidfd).

    With `detached` it lives longer than we do, and has nothing of ours: it is in /, its files are for its account
    alone, and it leaves no core dump, which would hold the memory of a guest.

    Our own descriptors are all close-on-exec; duplicating one onto itself in the child is what lets it through, so a
    child started by another thread at the same moment never gets it.
    """
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0) if detached else (os.POSIX_SPAWN_DUP2, output, 2),
        *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in keep),
    ]
    argv = ["/bin/sh", "-c", _DETACH, *argv] if detached else argv
    plain = [signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ]
    pid = os.posix_spawn(argv[0], argv, ENVIRONMENT, file_actions=actions, setsid=True, setsigmask=[], setsigdef=plain)
    try:
        return pid, os.pidfd_open(pid)
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # our own child, not waited for yet: the number is still its own
        os.waitpid(pid, 0)
        raise


def disown(pid: int) -> None:
    """Detach a child process: its exit status is not needed any more."""
    _children.add(pid)
    forget_ended()


def forget_ended() -> None:
    """Take children that were left, and have ended since, from the kernel's table of processes.

    A command ends soon, and init does it then; a program that starts guests would gather them.
    """
    for pid in tuple(_children):
        with suppress(ChildProcessError):  # the program has asked for all its children itself
            if not os.waitpid(pid, os.WNOHANG)[0]:
                continue
        _children.discard(pid)


class Usage(Value):
    """A process as the kernel counts it: start in ticks since boot, CPU in ticks, memory in bytes."""

    pid: int
    started: int
    cpu: int
    rss: int
    zombie: bool


def process_usage(pid: int) -> Usage | None:
    """What /proc says of `pid`, or None when there is no such process."""
    if not (fields := _stat(pid)):
        return None
    return Usage(
        pid=pid,
        started=int(fields[19]),
        cpu=int(fields[11]) + int(fields[12]),
        rss=int(fields[21]) * _PAGE,
        zombie=fields[0] in _OVER,
    )


def is_ending(pid: int) -> bool:
    """Whether `pid` is exiting: its command line and its account are gone, its sockets are still open."""
    fields = _stat(pid)
    return bool(fields) and bool(int(fields[6]) & _EXITING) and fields[0] not in _OVER


def is_stopped(pid: int) -> bool:
    """Whether `pid` was stopped by a signal, or by who traces it: it does nothing until it is continued."""
    fields = _stat(pid)
    return bool(fields) and fields[0] in {b"T", b"t"}


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on (proc(5)), none when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read(1024).rpartition(b")")[2].split()
    except OSError:
        return []


def uid_of(pid: int) -> int:
    """The uid that `pid` runs as, -1 when it has ended."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def pid_of(pidfd: int) -> int:
    """The pid behind a pidfd of ours."""
    with open(f"/proc/self/fdinfo/{pidfd}", "rb", buffering=0) as file:
        return int(file.read(1024).split(b"\nPid:")[1].split()[0])


def boot_id() -> str:
    """The kernel's name for this boot: start times of another boot mean nothing."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()


def uptime() -> float:
    """Seconds since boot, on the clock that start times are counted on."""
    with open("/proc/uptime", encoding="utf-8") as file:
        return float(file.read().split()[0])


def describe(pid: int) -> str:
    """A short description of a process for people; 0 is a process that we may not see."""
    if not pid:
        return "another process"
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read(32).strip()} (pid {pid})"
    except OSError:
        return f"pid {pid}"


def holds_lock(pid: int, path: str, *, inherited: bool | None = True) -> bool:
    """Whether `pid` holds the lock at `path` by inheritance: what makes a QEMU the guest's.

    Our own commands have lock files open too, to take them or to look. They do so close-on-exec, and are not the guest;
    with `inherited` false it is they who are looked for, with None it is anybody.
    """
    try:
        wanted = os.stat(path)
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for number in numbers:
        try:
            if os.path.samestat(wanted, os.stat(f"/proc/{pid}/fd/{number}")) and _locks(pid, number, inherited):
                return True
        except (OSError, ValueError, IndexError):
            continue
    return False


def _locks(pid: int, number: str, inherited: bool | None) -> bool:
    """A lock handed to a running QEMU is close-on-exec there, too, but open for writing only: ours never are."""
    with open(f"/proc/{pid}/fdinfo/{number}", "rb", buffering=0) as file:
        text = file.read(4096)
    flags = int(text.split(b"flags:")[1].split()[0], 8)
    given = not flags & os.O_CLOEXEC or flags & os.O_ACCMODE == os.O_WRONLY
    return (inherited is None or given is inherited) and b"\nlock:" in text


def holder(path: str, hint: int = 0, *, inherited: bool | None = True) -> int:
    """The pid of the process that holds the lock at `path`, `hint` tried first; 0 when there is none we may see."""
    if hint and holds_lock(hint, path, inherited=inherited):
        return hint
    others = (int(pid) for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid())
    return next((pid for pid in others if holds_lock(pid, path, inherited=inherited)), 0)


@contextmanager
def pidfd_of_lock_holder(path: str, hint: int = 0, *, inherited: bool | None = True) -> Iterator[int | None]:
    """A pidfd on the process that holds the lock at `path`, verified once it is open; None when there is none."""
    pidfd = _open_holder(path, hint, inherited)
    try:
        yield pidfd
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _open_holder(path: str, hint: int, inherited: bool | None) -> int | None:
    def is_meant(pid: int) -> bool:
        return holds_lock(pid, path, inherited=inherited)

    pidfd = open_pidfd_if(hint, is_meant)
    if pidfd is not None or not lock.is_held(path):
        return pidfd
    return open_pidfd_if(holder(path, inherited=inherited), is_meant)


def open_pidfd_if(pid: int, is_meant: Callable[[int], bool]) -> int | None:
    """A pidfd on `pid` if that is who was meant: opened first, it means whoever is found to be it and has not ended."""
    if not pid:
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if is_meant(pid) and not wait_exit(pidfd, 0):
        return pidfd
    os.close(pidfd)
    return None


def kill(pidfd: int, limit: float = 5.0) -> bool:
    """Kill the process of `pidfd` and wait for its end; False when it does not come within `limit` seconds."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return True
    return wait_exit(pidfd, limit)


def wait_exit(pidfd: int, limit: float) -> bool:
    """Wait at most `limit` seconds for the process of `pidfd` to end."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(limit * 1000))
