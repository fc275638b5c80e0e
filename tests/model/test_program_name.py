"""Fixes as the reader can paste them."""

import pytest

from kvmrun.errors import AS_ROOT
from kvmrun.model.program_name import Caller, rendered

USER = Caller(root=False, program="./k", by_root="/opt/venv/bin/kvmrun", root_lab="-C /lab", words="up a")
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


@pytest.mark.parametrize("root", [False, True])
def test_a_fix_means_the_same_lab(root: bool) -> None:
    caller = Caller(root=root, lab="-C 'my lab'", root_lab="-C 'my lab'", words="-C 'my lab' stop a", names_lab=True)
    sudo = "" if root else "sudo "
    for fix, shown in {
        "kvmrun kill a; or sudo kvmrun a": f"kvmrun -C 'my lab' kill a; or {sudo}kvmrun -C 'my lab' a",
        "kvmrun --list shows its state": "kvmrun -C 'my lab' --list shows its state",
        "kvmrun -C /other stop a": "kvmrun -C /other stop a",
        "kvmrun -C '/an other' stop a, or kvmrun list": "kvmrun -C '/an other' stop a, or kvmrun -C 'my lab' list",
        "sudo kvmrun -C 'my lab' stop a": f"{sudo}kvmrun -C 'my lab' stop a",
        AS_ROOT: "give root the capabilities that it lacks here"
        if root
        else "run it as root: sudo kvmrun -C 'my lab' stop a",
    }.items():
        assert rendered(fix, caller) == shown
