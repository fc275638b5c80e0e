"""What is known of one guest right now: a row of the list."""

from typing import Any

from kvmrun.model.value import Value


class NicStatus(Value):
    """A NIC of a guest, and its address.

    `address_source` says how the address is known: "reservation" for the one that its network gives it, "neighbour"
    where the host has spoken with it, "agent" where only the guest says so.
    """

    name: str
    network: str
    tap: str
    mac: str
    address: str | None
    address_source: str | None = None


class Confinement(Value):
    """How a QEMU is held, read from the kernel. `capabilities` is a mask of all it has, 0 for none.

    `guard` is the weakest of its NICs' guards while the rules stand as they were loaded, "gone" when they do not.
    """

    uid: int | None = None
    seccomp: bool | None = None
    capabilities: int | None = None
    no_new_privs: bool | None = None
    kvm: bool | None = None
    guard: str | None = None


class AgentInterface(Value):
    """An interface as the agent inside the guest tells it, which nobody has checked. Addresses are "IP/PREFIX"."""

    name: str
    mac: str
    addresses: tuple[str, ...]

    def routable(self) -> tuple[str, ...]:
        """The addresses without their prefixes, less those that are valid on their link alone."""
        return tuple(one.partition("/")[0] for one in self.addresses if not one.startswith("fe80:"))


class Status(Value):
    """One guest. None is "unknown"; bytes and seconds are whole; `cpu_percent` is the mean since start, 100 a core.

    `display` is where a VNC viewer finds one that runs, and `lab` the directory of its lab. With
    `throwaway` nothing is written to the images of one that runs.
    """

    name: str
    state: str
    accel: str | None = None
    pid: int | None = None
    uptime_s: int | None = None
    cpus: int | None = None
    cpu_percent: float | None = None
    memory_bytes: int | None = None
    rss_bytes: int | None = None
    uuid: str | None = None
    nics: tuple[NicStatus, ...] = ()
    display: str | None = None
    raw_args: bool = False
    throwaway: bool = False
    problem: str | None = None
    confinement: Confinement | None = None
    agent: tuple[AgentInterface, ...] | None = None
    lab: str | None = None

    def to_json(self) -> dict[str, Any]:
        return self.as_dict()
