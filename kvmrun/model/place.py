"""The place of one guest on this host: every name and path derived for it."""

from kvmrun.model.frozen import Frozen
from kvmrun.model.nic import Port


class Directories(Frozen):
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

    def log(self, name: str) -> str:
        return f"{self.state}/log/{name}"

    def network(self, name: str) -> str:
        return f"{self.run}/net/{name}"


class Place(Frozen):
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
