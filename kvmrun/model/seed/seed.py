"""The seed of a guest: what its system is given at its first boot, and which back end can give it."""

from collections.abc import Iterator
from typing import Literal

from kvmrun.model.scalars import LETTERS, OneLine, consists_of
from kvmrun.model.seed.seed_values import (
    AccountName,
    FileMode,
    FileOwner,
    GuestPath,
    LabFile,
    LocaleName,
    PackageName,
    PublicKey,
    ShellCommand,
    Text,
    TimeZone,
)
from kvmrun.model.value import Value

_BEYOND = {
    "ignition": {"packages": "it installs no packages"},
    "credentials": {
        "packages": "they install no packages",
        "user_data": "there is no document that they could be given as",
    },
}
"""The keys that a back end cannot do, and why."""
_ALONE = ("user", "ssh_keys", "password_hash", "packages", "run", "files", "timezone", "locale")
"""The keys that a document of the user's own takes the place of."""


class SeedFile(Value):
    """A file that the guest is given: its content, or the file of the host that has it."""

    path: GuestPath
    content: Text | None = None
    source: LabFile | None = None
    mode: FileMode = FileMode("0644")
    owner: FileOwner = FileOwner("root:root")


class Seed(Value):
    """The table `[seed]`. `backend` and `user` are those of the image where they are not given."""

    backend: Literal["cloud-init", "ignition", "credentials"] | None = None
    user: AccountName | None = None
    ssh_keys: tuple[PublicKey, ...] | None = None
    password_hash: OneLine | None = None
    packages: tuple[PackageName, ...] = ()
    run: tuple[ShellCommand, ...] = ()
    files: tuple[SeedFile, ...] = ()
    timezone: TimeZone | None = None
    locale: LocaleName | None = None
    user_data: LabFile | None = None

    def problems(self, machine: str) -> Iterator[tuple[str, str, str]]:
        """What is wrong across the keys of this seed, as (key, found, wanted)."""
        for key, reason in _BEYOND.get(f"{self.backend}", {}).items():
            if getattr(self, key):
                yield key, "", f'no value, because the back end is "{self.backend}": {reason}'
        if self.backend == "credentials" and machine == "microvm":
            yield "backend", self.backend, "another one, because microvm has no SMBIOS tables"
        if self.user_data:
            for key in _ALONE:
                if getattr(self, key) not in {None, ()}:
                    yield key, "", "no value, because user_data is the whole document"
        if self.password_hash is not None and not _is_hash(self.password_hash):
            yield "password_hash", "", "the hash of a password, as openssl passwd -6 prints it"  # never what was found
        if self.password_hash and not self.user:
            yield "user", "", "the account whose password it is"
        for number, file in enumerate(self.files):
            if (file.content is None) == (file.source is None):
                yield f"files[{number}]", "", "either content or source"
            if [other.path for other in self.files].index(file.path) != number:
                yield f"files[{number}].path", file.path, "a path that no other file of this seed has"

    def account(self) -> AccountName:
        """The account that keys and password are for; root where none is known."""
        return self.user or AccountName("root")


def _is_hash(text: str) -> bool:
    """Whether it is a hash in the form of crypt(5): $id$salt$hash."""
    return consists_of(text, LETTERS | frozenset("$./=,-_*"), 256) and text.startswith("$") and text.count("$") >= 3
