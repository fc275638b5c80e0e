"""The place of one guest on this host: every name and path derived for it."""

from dataclasses import dataclass

from kvmrun.model.nic import Port


@dataclass(frozen=True, kw_only=True)
class Directories:
    """Where things are kept: definitions, run state, lasting state. `root` says whether we are."""

    vms: str
    run: str
    state: str
    root: bool

    @property
    def images(self) -> str:
        return f"{self.state}/images"

    def guest(self, name: str) -> str:
        return f"{self.run}/vm/{name}"

    def network(self, name: str) -> str:
        return f"{self.run}/net/{name}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Names and paths of one guest.

    `uid` and `log_uid` are the accounts QEMU and its logger run as, None when they run as the caller.
    """

    guest: str
    uuid: str
    directory: str
    log: str
    ports: tuple[Port, ...]
    uid: int | None = None
    log_uid: int | None = None

    def socket(self, name: str) -> str:
        return f"{self.directory}/{name}"

    @property
    def vnc(self) -> str:
        return f"{self.directory}/vnc"
