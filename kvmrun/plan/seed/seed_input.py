"""What a seed is made from: the definition, the network, and the contents of the files that the definition names."""

from collections.abc import Mapping

from kvmrun.model.seed.seed import Seed
from kvmrun.model.value import EMPTY, Value
from kvmrun.plan.seed.network_config import NicConfig


class SeedInput(Value):
    """`keys` are the public keys that the account gets; `files` the contents of the host's files by path."""

    name: str
    uuid: str
    seed: Seed
    nics: tuple[NicConfig, ...]
    keys: tuple[str, ...] = ()
    files: Mapping[str, bytes] = EMPTY

    def contents(self) -> tuple[bytes, ...]:
        """The contents of the seed's files, in their order."""
        return tuple(self.files[one.source] if one.source else (one.content or "").encode() for one in self.seed.files)

    def script(self) -> str:
        """The lines of `run` as a script that ends with the first one that fails."""
        return "".join(f"{line}\n" for line in ("#!/bin/sh", "set -e", *self.seed.run))


def commands_unit(script: str, done: str, *, after: str = "") -> str:
    """A systemd service that runs `script` once the network is there, and once for all: `done` is made when it has."""
    return f"""[Unit]
Description=Commands of the seed
Wants=network-online.target
After=network-online.target{after and f" {after}"}
ConditionPathExists=!{done}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {script}
ExecStartPost=/bin/touch {done}
"""


Documents = Mapping[str, bytes]
"""What the system reads: contents by name."""
