"""The place of one guest on this host: every name and path derived for it."""

import os

from kvmrun.model.guest.nic import Port
from kvmrun.model.value import Value


def store_beside(images: str) -> str:
    """The directory of the images of operating systems, by digest: beside that of the images of guests."""
    return f"{os.path.dirname(images)}/store"


def uefi_variables(state: str, *, secure_boot: bool) -> str:
    """The UEFI variables of a guest, in the directory of what it keeps: those of Secure Boot have other keys."""
    return f"{state}/uefi-variables{'-secure' if secure_boot else ''}.qcow2"


def tpm_lock(state: str) -> str:
    """The lock of the TPM, in the directory of what a guest keeps."""
    return f"{state}/tpm.lock"


class Paths(Value):
    """Where things are kept: definitions, run state, lasting state. `root` says whether we are.

    `lab` is the directory of definitions with every link resolved: by it the lab is known on this host.
    """

    vms: str
    run: str
    state: str
    root: bool
    lab: str = ""

    @property
    def images(self) -> str:
        return f"{self.state}/images"

    @property
    def store(self) -> str:
        return store_beside(self.images)

    def guest(self, name: str) -> str:
        return f"{self.run}/vm/{name}"

    def log(self, name: str) -> str:
        return f"{self.state}/log/{name}"

    def guest_state(self, name: str) -> str:
        return f"{self.state}/guest/{name}"

    def network(self, name: str) -> str:
        return f"{self.run}/net/{name}"

    def network_record(self, name: str) -> str:
        return f"{self.run}/net/{name}/record"


class GuestRuntime(Value):
    """Names and paths of one guest.

    `uid` and `log_uid` are the accounts QEMU and its logger run as, None when they run as the caller. `lab` is the
    directory of its lab with every link resolved. `state` is the directory of what the guest keeps besides its images.
    """

    guest: str
    uuid: str
    directory: str
    log: str
    ports: tuple[Port, ...]
    uid: int | None = None
    log_uid: int | None = None
    lab: str = ""
    state: str = ""

    def socket(self, name: str) -> str:
        return f"{self.directory}/{name}"

    @property
    def machine_pin(self) -> str:
        """The file with the version that its machine has had since the first start."""
        return f"{self.state}/machine"

    def uefi_variables(self, *, secure_boot: bool) -> str:
        return uefi_variables(self.state, secure_boot=secure_boot)

    @property
    def tpm(self) -> str:
        """The directory with the state of its TPM."""
        return f"{self.state}/tpm"

    @property
    def tpm_lock(self) -> str:
        """The lock that its TPM holds as long as it runs."""
        return tpm_lock(self.state)

    @property
    def seed(self) -> str:
        return f"{self.state}/seed"

    @property
    def vnc(self) -> str:
        return f"{self.directory}/vnc"
