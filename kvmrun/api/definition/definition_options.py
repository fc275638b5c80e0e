"""How definitions are made: one frozen value for each use case."""

from typing import Literal

from kvmrun.model.value import Value


class NewGuestOptions(Value):
    """What a new guest is made from: at most one of `image`, `base`, `cdrom` and `copy`.

    `image` is a file that it writes to, or a system from elsewhere: debian:13, apt:bookworm, URL#sha256=DIGEST; the
    latter also where it cannot be verified, with `unverified`. `base` is a file that a new image lies over, `cdrom` an
    ISO file to install from, `copy` the name of a guest. `size` of the new image and `memory` are sizes such as "20G";
    `format` is that of the file, where its suffix does not say. `os` is the system by its ID in osinfo-db; without it
    that of the image, or the one which the ISO file installs.
    """

    image: str | None = None
    unverified: bool = False
    base: str | None = None
    cdrom: str | None = None
    copy: str | None = None
    size: str | None = None
    memory: str | None = None
    cpus: int | None = None
    os: str | None = None
    format: Literal["qcow2", "raw"] | None = None

    def sizes(self) -> dict[str, object]:
        """The keys of a definition that are given as they are."""
        asked = {"cpus": self.cpus, "memory": self.memory, "os": self.os if self.copy else None}
        return {key: value for key, value in asked.items() if value is not None}
