"""Moving a guest into its scope: systemd is asked while QEMU starts, and what it did is read back from the kernel."""

import os
import time

from kvmrun.errors import KvmrunError
from kvmrun.host.process import process
from kvmrun.model.deadline import remaining
from kvmrun.plan.guest.scope_plan import EnterScope, call

_CGROUPS = "/sys/fs/cgroup"
_LIMIT = 5.0
_PAUSE = 0.02
_SAID = 2000


class ScopeMove:
    """One move, begun when this is made."""

    def __init__(self, step: EnterScope, pids: list[int]) -> None:
        self._step = step
        self._pids = pids
        self._began = time.monotonic()
        self._ask()

    def finish(self) -> str:
        """Wait until it is done; what is to be told when it could not be. Raises KvmrunError for limits not kept."""
        try:
            while not self._end():
                time.sleep(_PAUSE)  # the scope of a guest of this name that has just ended is still there
                self._ask()
            while not (path := _place(self._pids[0], self._step.unit)):
                if self._late():
                    raise OSError("it was not moved in time")
                time.sleep(_PAUSE)
            _check(path, self._step)
        except OSError as error:
            if self._step.limited:
                fix = f"systemctl status {self._step.unit}; or take [limits] out of {self._step.guest}.toml"
                raise KvmrunError(f"the limits of {self._step.guest} do not hold", fix, reason=f"{error}") from None
            return f"{self._step.guest} has no scope of its own, and may end with this login: {error}"
        return ""

    def _ask(self) -> None:
        self._said = os.memfd_create("said", os.MFD_CLOEXEC)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            words = [process.require_program("busctl"), "--quiet", *_bus(), *call(self._step, self._pids)]
            self._pid, self._pidfd = process.spawn(words, stdin=null, output=self._said)
        finally:
            os.close(null)

    def _end(self) -> bool:
        """Wait for busctl; False when it is worth asking again. Raises OSError with what it said."""
        try:
            if not process.wait_exit(self._pidfd, remaining(_LIMIT)):
                process.kill(self._pidfd)
                raise OSError("systemd does not answer")
            status = os.waitpid(self._pid, 0)[1]
            said = os.pread(self._said, _SAID, 0).decode(errors="replace").strip()
        finally:
            os.close(self._pidfd)
            os.close(self._said)
        if status == 0:
            return True
        if "already" in said and not self._late():
            return False
        raise OSError(said.splitlines()[-1] if said else f"busctl failed ({status})")

    def _late(self) -> bool:
        return time.monotonic() > self._began + remaining(_LIMIT)


def _bus() -> list[str]:
    """The system's bus for root, else the user's own, by its path: our children have no environment to find it by."""
    return [] if os.geteuid() == 0 else [f"--address=unix:path={os.environ['XDG_RUNTIME_DIR']}/bus"]


def _place(pid: int, unit: str) -> str:
    """The control group of the process below the mount, once it is in the unit."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        paths = [line.rstrip("\n").split(":", 2)[2] for line in file if line.startswith("0::")]
    return next((path for path in paths if path.endswith(f"/{unit}")), "")


def _check(path: str, step: EnterScope) -> None:
    """Raises OSError where the kernel does not hold a limit: a controller may not be there, or not ours to use."""
    for name, wanted in (("memory.max", step.memory), ("cpu.max", step.cpu)):
        if wanted and _read(f"{_CGROUPS}{path}/{name}").startswith("max"):
            raise OSError(f"{name} is not set, though systemd was asked for it")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise OSError(f"there is no {path}: cgroup v2 with that controller is wanted") from None
