"""What was done for a network is undone whole or not at all, depending on whether somebody else uses it by then."""

import os
from pathlib import Path

import pytest

from kvmrun.api.network import network_use
from kvmrun.host.rundir import lock


@pytest.mark.parametrize(("leaves", "alone"), [(True, True), (False, False)])
def test_who_has_it_for_a_moment_is_waited_for(
    own_directories: Path, monkeypatch: pytest.MonkeyPatch, leaves: bool, alone: bool
) -> None:
    path = str(own_directories / "op")
    mine, other = lock.open_lock(path), lock.open_lock(path)
    assert lock.take_lock(mine, shared=True)
    assert lock.take_lock(other, shared=True)
    now = iter(range(1000))
    monkeypatch.setattr(lock.time, "monotonic", lambda: next(now) / 10)
    monkeypatch.setattr(lock.time, "sleep", lambda _: os.close(other) if leaves else None)
    assert network_use._is_alone(mine) is alone
    for fd in (mine, *(() if leaves else (other,))):
        os.close(fd)
