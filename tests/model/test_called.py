"""Fixes as the reader can paste them."""

import pytest

from kvmrun.errors import AS_ROOT
from kvmrun.model.called import Caller, rendered

USER = Caller(
    root=False, program="./k", by_root="/opt/venv/bin/kvmrun -C /lab", line="/opt/venv/bin/kvmrun -C /lab up a"
)
ROOT = Caller(root=True, program="/opt/venv/bin/kvmrun")


@pytest.mark.parametrize(
    ("fix", "user", "root"),
    [
        ("kvmrun kill a", "./k kill a", "/opt/venv/bin/kvmrun kill a"),
        ("kvmrun stop a, or kvmrun kill a", "./k stop a, or ./k kill a", None),
        ("kvmrun --list shows its state", "./k --list shows its state", None),
        ("kvmrun up @lab", "./k up @lab", None),
        ("sudo kvmrun a", "sudo /opt/venv/bin/kvmrun -C /lab a", "/opt/venv/bin/kvmrun a"),
        ("sudo chmod 666 /dev/net/tun", "sudo chmod 666 /dev/net/tun", "chmod 666 /dev/net/tun"),
        ("sudo sh -c 'x' && sudo usermod y", "sudo sh -c 'x' && sudo usermod y", "sh -c 'x' && usermod y"),
        (AS_ROOT, "run it as root: sudo /opt/venv/bin/kvmrun -C /lab up a", "give root the capabilities"),
        (f"{AS_ROOT}; or kvmrun check", "run it as root: sudo /opt/venv/bin/kvmrun -C /lab up a; or ./k check", None),
        (
            "set it in /etc/kvmrun/vms.d/a.toml",
            "set it in /etc/kvmrun/vms.d/a.toml",
            "set it in /etc/kvmrun/vms.d/a.toml",
        ),
        ("ip link delete kvmrun0", "ip link delete kvmrun0", "ip link delete kvmrun0"),
    ],
)
def test_the_program_is_named_as_it_was_called(fix: str, user: str, root: str | None) -> None:
    assert rendered(fix, USER) == user
    assert "sudo" not in rendered(fix, ROOT)
    assert root is None or rendered(fix, ROOT).startswith(root)
