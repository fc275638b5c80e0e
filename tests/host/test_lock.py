"""Locks between processes: exclusive, shared, inherited, asked about without being taken."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.world import until

from kvmrun.errors import Busy
from kvmrun.host.process import process
from kvmrun.host.rundir import lock, rundir


@pytest.fixture
def path(own_directories: Path) -> str:
    return str(own_directories / "life")


@contextmanager
def child(do: Callable[[], None]) -> Iterator[int]:
    """Another process that has done `do` when the block begins and is killed at its end."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            do()
            os.write(tell, b"x")
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert os.read(told, 1) == b"x"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(told)
        os.close(tell)


def taking(path: str, *, shared: bool = False) -> Callable[[], None]:
    def do() -> None:
        assert lock.take_lock(lock.open_lock(path), shared=shared)

    return do


def test_one_process_keeps_the_others_out_until_it_ends(path: str) -> None:
    mine = lock.open_lock(path)
    with child(taking(path)):
        assert lock.is_held(path)
        assert not lock.take_lock(mine)
        assert not lock.take_lock(mine, shared=True)
        with pytest.raises(Busy, match="vm1 is busy"):
            lock.wait_for_lock(mine, "vm1", limit=0.05)
    assert not lock.is_held(path)
    lock.wait_for_lock(mine, "vm1", limit=0)
    os.close(mine)


def test_two_descriptors_of_one_process_exclude_each_other(path: str) -> None:
    one, other = lock.open_lock(path), lock.open_lock(path)
    assert lock.take_lock(one)
    assert not lock.take_lock(other)
    os.close(one)
    assert lock.take_lock(other)
    os.close(other)


def test_shared_ones_live_together_and_are_converted_alone(path: str) -> None:
    mine = lock.open_lock(path)
    assert lock.take_lock(mine, shared=True)
    with child(taking(path, shared=True)):
        assert not lock.take_lock(mine)
        assert lock.is_held(path)
    assert lock.take_lock(mine)
    with child(lambda: None):
        assert lock.take_lock(mine, shared=True)
    assert lock.take_lock(mine)
    os.close(mine)


def test_asking_does_not_take(path: str) -> None:
    assert not lock.is_held(path)
    assert not os.path.exists(path)
    mine = lock.open_lock(path)
    assert not lock.is_held(path)
    assert lock.take_lock(mine)
    assert lock.is_held(path)
    assert lock.is_held(path)
    os.close(mine)
    assert not lock.is_held(path)


def test_an_inherited_lock_lives_as_long_as_its_last_holder(path: str) -> None:
    mine = lock.open_lock(path)
    assert lock.take_lock(mine)
    with child(lambda: None):
        os.close(mine)
        assert lock.is_held(path)
    assert not lock.is_held(path)


def test_a_lock_file_is_private_and_no_link_is_followed(path: str, own_directories: Path) -> None:
    os.close(lock.open_lock(path))
    assert os.stat(path).st_mode & 0o777 == 0o600
    (own_directories / "link").symlink_to(own_directories / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        lock.open_lock(str(own_directories / "link"))
    assert not (own_directories / "elsewhere").exists()


def test_the_holder_is_the_one_that_inherited_it(path: str) -> None:
    mine = lock.open_lock(path)
    assert lock.take_lock(mine)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    with child(lambda: None), child(lambda: os.close(lock.open_lock(path))):
        assert process.holder(path) == 0
        pid, _ = process.spawn([process.require_program("sleep"), "60"], stdin=null, output=null, keep=[mine])
        os.close(mine)
        try:
            assert until(lambda: process.holder(path)) == pid
            assert process.holder(path, hint=os.getppid()) == pid
            with process.pidfd_of_lock_holder(path) as pidfd:
                assert pidfd is not None
                assert process.kill(pidfd)
        finally:
            os.waitpid(pid, 0)
    with process.pidfd_of_lock_holder(path) as pidfd:
        assert pidfd is None
    os.close(null)


@pytest.mark.parametrize(("part", "before"), [("_hold", False), ("_leave", True), ("_leave", False)])
def test_a_signal_at_any_moment_leaves_no_lock_behind(
    own_directories: Path, monkeypatch: pytest.MonkeyPatch, part: str, before: bool
) -> None:
    """What was done under the lock is undone next, and has to find that nobody else holds it."""
    directory = str(own_directories / "run/net/lan")
    do = getattr(rundir, part)

    def interrupted(*words: object, **more: object) -> None:
        if before:
            raise KeyboardInterrupt
        do(*words, **more)
        raise KeyboardInterrupt

    with rundir.locked(directory, "it", shared=True), monkeypatch.context() as patch:
        patch.setattr(rundir, part, interrupted)
        with pytest.raises(KeyboardInterrupt), rundir.locked(directory, "it", shared=True):
            pass
    with rundir.locked(directory, "it", limit=1):
        pass


def test_a_lock_that_cannot_be_asked_for_when_it_is_left_is_no_error(
    own_directories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be done under it is done."""

    def refused(_: str) -> bool:
        raise PermissionError

    monkeypatch.setattr(lock, "is_held", refused)
    with rundir.locked(str(own_directories / "run/net/lan"), "it"):
        pass
