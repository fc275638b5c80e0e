"""Performs the steps of a guest's start, each with what takes it back."""

import os
import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import assert_never

from kvmrun.errors import Busy, KvmrunError
from kvmrun.host.execute.firmware_executor import FirmwareExecutor
from kvmrun.host.facts import block_device
from kvmrun.host.files import safe_directory
from kvmrun.host.links import port_settings, tap_device
from kvmrun.host.process import process
from kvmrun.host.rundir import listening_socket, lock, rundir
from kvmrun.model.deadline import NEVER, Deadline
from kvmrun.model.guest.qemu_option import BootFile, Handle, Image, Listener, Log, Tap, argv
from kvmrun.plan.guest.scope_plan import EnterScope
from kvmrun.plan.guest.vnc_port import BindVncPort
from kvmrun.plan.network.nft_guard import LoadGuard
from kvmrun.plan.steps import guest_steps
from kvmrun.plan.steps.firmware_steps import MakeVariables, PinMachine, StartTpm

Undo = Callable[[], None]


class GuestExecutor:
    """Does the steps of one guest. Holds the descriptors between being opened and being handed to QEMU.

    `title` is written to the guest's log before anything else, at most one line.
    """

    def __init__(self, deadline: Deadline = NEVER, *, title: bytes = b"") -> None:
        self.deadline = deadline
        self._title = title
        self.table: dict[Handle, list[int]] = {}
        self.pid = 0
        self._waited = False
        self.pidfd = -1
        self._life = -1
        self._log = -1
        self._logger = -1
        self.listener = -1
        self._guarded: Undo | None = None
        self._scoped: Callable[[], str] | None = None
        self.note = ""
        self.firmware = FirmwareExecutor(deadline, self.table, self._log_pipe)

    def __call__(self, step: guest_steps.GuestStep) -> Undo | None:
        match step:
            case guest_steps.MakeImage() | guest_steps.MakeTemporaryImage():
                return self._make_image(step)
            case guest_steps.WriteSeed():
                return self._write_seed(step)
            case guest_steps.ClaimRunDirectory():
                return self._take_place(step)
            case guest_steps.OpenFile():
                self.table[step.file] = [_open(step.file)]
            case guest_steps.MakeVncDirectory():
                return self._make_vnc_directory(step)
            case guest_steps.RemoveTap() | guest_steps.OpenTap() | guest_steps.PlugTap():
                self._handle_tap(step)
            case guest_steps.ListenOnSocket():
                return self._listen(step.listener)
            case BindVncPort():
                self._take_port(step)
            case guest_steps.StartLogger():
                self._start_logger(step)
            case LoadGuard():
                return self._load_guard(step)
            case EnterScope():
                self._enter_scope(step)
            case guest_steps.WriteRecord():
                return self._write_record(step)
            case PinMachine() | MakeVariables() | StartTpm():
                return self.firmware(step)
            case guest_steps.Launch():
                return self._launch(step)
            case _:
                assert_never(step)
        return None

    def guarded(self) -> None:
        """Wait until the guard is there; before that the guest must not run. Raises what is in its way."""
        if self._guarded is not None:
            self._guarded()

    def scoped(self) -> None:
        """Wait until the guest is in its scope, or note that it is not. Raises when limits would not hold."""
        if self._scoped is not None:
            self.note = self._scoped() or self.note

    def reap(self) -> int | None:
        """The wait status of a QEMU that ended, once its logger has written the last of it; None when not known."""
        self.firmware.end_tpm()  # else it keeps the log open where QEMU has ended before it knew of the TPM
        for pidfd in (self._logger, self.pidfd):  # its sockets close a moment before it counts as ended
            process.wait_exit(pidfd, 2.0)
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return None
        self._waited = pid > 0
        return status if pid else None

    def close(self) -> None:
        """Close our copies of everything handed over: a copy kept would keep images locked and taps alive."""
        for fd in {fd for fds in self.table.values() for fd in fds}:
            os.close(fd)
        self.table.clear()
        for fd in (self._life, self.pidfd, self._log, self._logger, self.listener):
            if fd >= 0:
                os.close(fd)
        self._life = self.pidfd = self._log = self._logger = self.listener = -1
        self.firmware.close()
        if self.pid and not self._waited:
            process.disown(self.pid)

    def release(self) -> None:
        """Close what QEMU has by now, but keep the pidfds that tell of its end."""
        for fd in {fd for fds in self.table.values() for fd in fds}:
            os.close(fd)
        self.table.clear()
        os.close(self._life)
        self._life = -1

    def _make_image(self, step: guest_steps.MakeImage | guest_steps.MakeTemporaryImage) -> Undo | None:
        from kvmrun.host.disk import image_files  # brings subprocess, which an ordinary start does not need

        if isinstance(step, guest_steps.MakeTemporaryImage):
            from kvmrun.host.disk import unnamed_file

            self.table[step.file] = [unnamed_file.make_temporary_image(step, self.deadline)]
            return None
        image_files.make_image(step, self.deadline)
        return lambda: image_files.remove_image(step.path)

    def _write_seed(self, step: guest_steps.WriteSeed) -> Undo:
        from kvmrun.host.seed import seed_files  # only for a guest whose seed is written

        return seed_files.write_seed(step)

    def _take_place(self, step: guest_steps.ClaimRunDirectory) -> Undo:
        life = lock.open_lock(f"{step.directory}/life")
        if not lock.take_lock(life):
            os.close(life)
            raise Busy(f"{step.guest} is running already", "kvmrun --list", reason="another process holds its lock")
        self._life = life
        _unguard(step)
        rundir.remove_leftovers(step.directory)
        return lambda: rundir.remove_leftovers(step.directory)

    def _make_vnc_directory(self, step: guest_steps.MakeVncDirectory) -> Undo:
        path = step.directory.path
        os.mkdir(path, 0o700)
        if step.uid is not None:
            os.chown(path, step.uid, step.uid)
        self.table[step.directory] = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)]
        return lambda: os.rmdir(path)

    def _handle_tap(self, step: guest_steps.RemoveTap | guest_steps.OpenTap | guest_steps.PlugTap) -> None:
        if isinstance(step, guest_steps.RemoveTap):
            port_settings.remove_port(step.tap)
        elif isinstance(step, guest_steps.OpenTap):
            self._open_tap(step.tap, kept=step.kept)
        else:
            port_settings.configure_port(step)

    def _open_tap(self, tap: Tap, *, kept: bool) -> None:
        self.table[tap] = tap_device.open_tap(tap.name, tap.queues, kept=kept)
        if tap.vhost:
            self.table[tap] += [os.open("/dev/vhost-net", os.O_RDWR | os.O_CLOEXEC) for _ in range(tap.queues)]

    def _listen(self, listener: Listener) -> Undo:
        self.table[listener] = [listening_socket.open_listener(listener.path).detach()]
        return lambda: os.unlink(listener.path)

    def _take_port(self, step: BindVncPort) -> None:
        """QEMU does not get it by inheritance, but by its monitor once it answers."""
        from kvmrun.host.facts import tcp_port

        self.listener = tcp_port.bind_port(step.port.number)
        self.table[step.port] = []

    def _load_guard(self, step: LoadGuard) -> Undo:
        from kvmrun.host.firewall import nft  # loaded while QEMU starts

        loading = nft.RulesetLoad(step.part, step.text, step.record, step.digest)
        self._guarded = loading.finish

        def back() -> None:
            with suppress(KvmrunError):
                loading.finish()  # it may still be at work
            nft.drop_ruleset(step.part, step.record)

        return back

    def _start_logger(self, step: guest_steps.StartLogger) -> None:
        from kvmrun.host.process import log_writer  # loaded while QEMU starts

        reader, self._log = self._log, -1
        self._logger = log_writer.start_writer(step.log.path, step.uid, reader)

    def _enter_scope(self, step: EnterScope) -> None:
        from kvmrun.host.process import systemd_scope  # loaded while QEMU starts

        pids = [self.pid, process.pid_of(self._logger), *([self.firmware.tpm.pid] if self.firmware.tpm else [])]
        self._scoped = systemd_scope.ScopeMove(step, pids).finish

    def _write_record(self, step: guest_steps.WriteRecord) -> Undo:
        rundir.write_record(step.path, step.record)
        return lambda: os.unlink(step.path)

    def _log_pipe(self, log: Log) -> tuple[int, int]:
        """The pipe into the guest's log, made when it is needed first."""
        if log not in self.table:
            self._log, writer = process.pipe()
            os.write(writer, self._title)
            self.table[log] = [writer]
        return self._log, self.table[log][0]

    def _launch(self, step: guest_steps.Launch) -> Undo:
        _, writer = self._log_pipe(step.log)
        words = [word for option in argv(step.options, self.table) for word in option]
        command = process.drop_privileges_command([step.qemu, *words, *_split(step.raw)], step.uid, step.group)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            keep = [self._life, *(fd for fds in self.table.values() for fd in fds)]
            self.pid, self.pidfd = process.spawn(command, stdin=null, output=writer, keep=keep, detached=True)
        finally:
            os.close(null)
        self.release()
        return self._end

    def _end(self) -> None:
        """Undo a launch: our own child, known by its pidfd."""
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return
        process.wait_exit(self.pidfd, 10)


def _unguard(step: guest_steps.ClaimRunDirectory) -> None:
    """Remove a guard left by a crash: its rules are of another time, and would find the new tap by its name."""
    if os.path.lexists(f"{step.directory}/guard"):
        from kvmrun.host.firewall import port_guard

        port_guard.remove_guard(step.directory, step.guest)


def _open(file: Image | BootFile) -> int:
    """A descriptor on a file of the guest, judged on the way there as it was when the start was planned.

    A link is followed where root or the user made it. A disk that the host itself uses is refused by the kernel.
    """
    readonly = isinstance(file, BootFile) or file.readonly
    try:
        at = safe_directory.located(file.path)
        try:
            fd = block_device.claim_exclusively(at, file.path, readonly=readonly)
        finally:
            os.close(at)
    except OSError as error:
        raise KvmrunError(f"cannot open {file.path}", reason=os.strerror(error.errno or 0)) from None
    if isinstance(file, BootFile) and not os.fstat(fd).st_mode & stat.S_IROTH and os.geteuid() == 0:
        return _sealed_copy(fd)
    return fd


def _sealed_copy(fd: int) -> int:
    """QEMU opens its kernel by path, with its own uid: one that only root may read goes through memory."""
    copy = os.memfd_create("kernel", os.MFD_CLOEXEC)
    size = os.fstat(fd).st_size
    while size > 0 and (sent := os.sendfile(copy, fd, None, size)):
        size -= sent
    os.close(fd)
    return copy


def _split(raw: tuple[str, ...]) -> list[str]:
    """Raw arguments are written as on a command line: one string may be "-device virtio-balloon"."""
    if not raw:
        return []
    import shlex

    return [word for text in raw for word in shlex.split(text)]
