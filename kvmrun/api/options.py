"""How a use case is to be carried out: one frozen value each. Every time is in seconds, None for the usual one."""

from typing import Literal

from kvmrun.model.value import Value


class StartOptions(Value):
    """How guests are started.

    With `throwaway` nothing is written to their images: what they write is lost when QEMU ends.
    `cdrom` is a file that is in the first CD-ROM drive, or in one of its own, and is booted before all else.
    `wait` is "qmp", "running", "address", "agent", "seed", "port:NUMBER" or "console:TEXT". `timeout` limits the whole
    start; without it QEMU may take 30 s to answer, another command 10 s, and what `wait` names 60 s, or 600 s for the
    seed. `raw` are arguments for QEMU as they are, for a single guest.
    """

    paused: bool = False
    throwaway: bool = False
    accel: Literal["kvm", "tcg"] | None = None
    cdrom: str | None = None
    wait: str = "qmp"
    timeout: float | None = None
    raw: tuple[str, ...] = ()


class StopOptions(Value):
    """How guests are stopped: `force` ends QEMU without asking the guest, and also a protected one.

    A guest has `timeout` seconds, or 60, to power down; its agent is asked after half of that. QEMU then has 10 s to
    quit, or 2 s where `timeout` is given, before it is killed.
    """

    force: bool = False
    timeout: float | None = None


class KillOptions(Value):
    """How guests are killed: `force` also kills protected ones. Another command is waited for `timeout` or 10 s."""

    force: bool = False
    timeout: float | None = None


class CloneOptions(Value):
    """How a guest is cloned: with `full` its images need no base; all of it takes `timeout` seconds at most."""

    full: bool = False
    timeout: float | None = None


class StatusOptions(Value):
    """What is looked at beside the state of guests.

    `all_labs` adds the guests of every other lab on this host, `confinement` how each QEMU is confined, `agents` the
    addresses that the guests' own agents report. A guest that does not answer within `timeout` seconds, at least 0.2,
    or 2 is "unresponsive".
    """

    all_labs: bool = False
    confinement: bool = False
    agents: bool = False
    timeout: float | None = None
