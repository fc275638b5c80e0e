"""An image as a lab uses it: where it came from, its digest, and what is known about the system in it."""

from typing import Literal

from kvmrun.model.image.catalogue_entry import Url
from kvmrun.model.image.image_digest import Digest
from kvmrun.model.scalars import OneLine, SafeWord
from kvmrun.model.value import Value

Verified = Literal["signature", "checksum", "digest", "archive", "local", "unverified"]
"""How the digest came to be believed.

signature   the publisher's signature on the checksum file
checksum    the publisher's checksum file, read over HTTPS
digest      given by the user
archive     built from a signed archive of packages
local       a file of this host, imported by the user
unverified  not at all; --unverified was given
"""


class PinnedImage(Value):
    """One image of a lab. `digest` is that of the file as published; the store keeps its content under that name.

    `source` is the address, the archive, or the file. `kernel` says that the image has no boot loader: its kernel and
    initrd are kept beside it.
    """

    source: OneLine
    digest: Digest
    verified: Verified
    build: OneLine | None = None
    user: SafeWord | None = None
    firmware: Literal["bios", "uefi"] = "bios"
    seed: Literal["cloud-init", "ignition", "credentials", "none"] = "cloud-init"
    osinfo: OneLine | None = None
    kernel: bool = False

    @property
    def file(self) -> str:
        """The name of the image in the store."""
        return f"{self.digest.stem}.qcow2"

    def url(self) -> Url | None:
        """The address that it can be downloaded from, None where there is none."""
        return Url(self.source) if self.source.startswith(("http://", "https://")) else None
