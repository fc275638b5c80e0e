"""An /etc of the test's own, over the real one: what is written there is gone with the block."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_etc(root: Path) -> Iterator[Path]:
    """Needs a mount namespace of the run's own; `root` is an empty place for what is written."""
    for name in ("upper", "work"):
        (root / name).mkdir()
    layers = f"lowerdir=/etc,upperdir={root / 'upper'},workdir={root / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, "/etc"], check=True)
    try:
        yield Path("/etc")
    finally:
        subprocess.run(["umount", "--lazy", "/etc"], check=True)


def name_servers(*addresses: str) -> None:
    """What the host's /etc/resolv.conf says from now on, put there in one move as others do."""
    new = Path("/etc/resolv.conf.new")
    new.write_text("".join(f"nameserver {address}\n" for address in addresses))
    new.chmod(0o644)
    new.rename("/etc/resolv.conf")
