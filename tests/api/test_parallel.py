"""The time of one call: that of the thread that makes it and of those that work for it, and of no other."""

import threading
from pathlib import Path

import pytest
from support.builders import guests

import kvmrun
from kvmrun.api.parallel import each
from kvmrun.host.rundir import rundir
from kvmrun.model.deadline import NEVER, Deadline, current, remaining, within

OVER = Deadline(limit=1.0, began=0.0)
NAMES = ["vm1", "vm2", "vm3"]


def test_a_thread_has_the_limit_of_its_own_call() -> None:
    before = current()
    found: list[float] = []
    with within(OVER):
        other = threading.Thread(target=lambda: found.append(remaining(5)))
        other.start()
        other.join()
        assert remaining(5) == 0
    assert found == [5]
    assert current() == before


def test_what_has_no_limit_leaves_the_one_there_is() -> None:
    with within(OVER), within(NEVER):
        assert remaining(5) == 0
    assert remaining(5) == 5


def test_those_who_work_for_a_call_have_its_limit() -> None:
    found: list[float] = []
    with within(OVER):
        each(NAMES, lambda _: found.append(remaining(5)))
    each(NAMES, lambda _: found.append(remaining(5)))
    assert found == [0, 0, 0, 5, 5, 5]


@pytest.mark.usefixtures("netns")
def test_networks_and_repair_wait_no_longer_than_they_are_told(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command holds the network all the time, and without a limit of the call it would be waited for."""
    monkeypatch.setattr(rundir, "OP_LIMIT", 3600.0)
    (lab / "networks.toml").write_text("[network.lan]\ndhcp = false\ndns = false\n")
    handle = kvmrun.open_lab(str(lab))
    kvmrun.network_up(handle, ["lan"], timeout=60)
    try:
        with rundir.locked(handle.paths.network("lan"), "network lan"):
            for call in (kvmrun.network_up, kvmrun.network_down, kvmrun.network_restart):
                with pytest.raises(kvmrun.KvmrunError):
                    call(handle, ["lan"], timeout=0.1)
            assert kvmrun.network_status(handle, timeout=60).networks[0].state == "up"
            [late] = {one.state for one in kvmrun.repair(handle, timeout=0)}
            assert late == "not repaired"
        assert kvmrun.repair(handle, timeout=60) == []
    finally:
        kvmrun.network_down(handle, timeout=60)


def test_a_status_has_a_limit_too(lab: Path) -> None:
    guests(lab, "vm1")
    [row] = kvmrun.status(kvmrun.open_lab(str(lab)), options=kvmrun.StatusOptions(timeout=0))
    assert row.state == "stopped"
