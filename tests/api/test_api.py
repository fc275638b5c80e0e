"""The API from a thread of a program: guests and networks, errors as values, and nothing of the program changed."""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.builders import TCG, guests

import kvmrun
from kvmrun.host.process import process, signals
from kvmrun.model.deadline import Deadline

NETWORK = "[network.lan]\ndhcp = false\ndns = false\n"


def settings() -> dict[str, Any]:
    """What belongs to the whole process, and what to this thread; SIGALRM is the test's own limit."""
    mask = os.umask(0)
    os.umask(mask)
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        "directory": os.getcwd(),
        "umask": mask,
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in limits},
        "handlers": {number: signal.getsignal(number) for number in signal.valid_signals() - {signal.SIGALRM}},
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "environment": {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"},
    }


@pytest.fixture(autouse=True)
def unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A program with settings of its own, which are the same afterwards. No command ran in this process before."""
    monkeypatch.setattr(signals, "_owned", [])
    home, mask, core = os.getcwd(), os.umask(0o022), resource.getrlimit(resource.RLIMIT_CORE)
    os.chdir(tmp_path)
    resource.setrlimit(resource.RLIMIT_CORE, (1000, core[1]))
    before = settings()
    try:
        yield
        assert settings() == before
    finally:
        os.chdir(home)
        os.umask(mask)
        resource.setrlimit(resource.RLIMIT_CORE, core)


def in_threads(*calls: Callable[[], Any], limit: float = 120.0) -> list[Any]:
    """What each call returns, all at once in threads of their own; what one raises is raised here."""
    results: list[Any] = [None] * len(calls)
    settled: list[bool] = []

    def call(number: int) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            results[number] = calls[number]()
        except BaseException as error:
            results[number] = error
        settled.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit)
        assert not thread.is_alive()
    assert settled == [True] * len(calls)
    for one in results:
        if isinstance(one, BaseException) and not isinstance(one, kvmrun.KvmrunError):
            raise one
    return results


def in_a_thread(call: Callable[[], Any]) -> Any:
    [result] = in_threads(call)
    return result


@contextmanager
def opened(directory: Path) -> Iterator[kvmrun.LabHandle]:
    """A lab whose guests are killed, and whose networks are taken down, at the end."""
    lab = kvmrun.open_lab(str(directory))
    try:
        yield lab
    finally:
        kvmrun.kill(lab, None, kvmrun.KillOptions(force=True))
        kvmrun.network_down(lab, force=True)


@pytest.mark.usefixtures("netns", "tun")
def test_guests_are_started_shown_waited_for_and_stopped(lab: Path) -> None:
    guests(lab, "vm1", "vm2")
    (lab / "networks.toml").write_text(NETWORK)
    events: list[kvmrun.Event] = []
    with opened(lab) as opened_lab:
        options = kvmrun.StartOptions(timeout=60)
        started = in_a_thread(lambda: kvmrun.start(opened_lab, ["vm1", "vm2"], options, report=events.append))
        assert [(name, one.state, one.accel) for name, one in started.items()] == [
            ("vm1", "running", "tcg"),
            ("vm2", "running", "tcg"),
        ]
        assert {one.guest for one in events if isinstance(one, kvmrun.Done)} == {"vm1", "vm2"}
        rows = in_a_thread(lambda: kvmrun.status(opened_lab))
        assert [(one.name, one.state, one.pid) for one in rows] == [
            (name, "running", one.pid) for name, one in started.items()
        ]
        again = in_a_thread(lambda: kvmrun.start(opened_lab, ["vm1"]))
        assert again["vm1"].state == "running already"
        met = in_a_thread(lambda: kvmrun.wait(opened_lab, ["vm1", "vm2"], "running", timeout=30))
        assert {one.state for one in met.values()} == {"running"}
        paused = in_a_thread(lambda: kvmrun.pause(opened_lab, ["vm1"]))
        assert f"{paused['vm1']}" == "vm1 is paused"
        stopped = in_a_thread(lambda: kvmrun.stop(opened_lab, ["vm1", "vm2"], kvmrun.StopOptions(force=True)))
        assert {name: one.state for name, one in stopped.items()} == {"vm1": "stopped", "vm2": "stopped"}
        assert [one.state for one in kvmrun.status(opened_lab)] == ["stopped", "stopped"]


@pytest.mark.usefixtures("netns", "tun")
def test_a_qemu_has_nothing_of_the_program(lab: Path, own_directories: Path) -> None:
    guests(lab, "vm1")
    (lab / "networks.toml").write_text(NETWORK)
    with opened(lab) as opened_lab:
        pid = in_a_thread(lambda: kvmrun.start(opened_lab, ["vm1"]))["vm1"].pid
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        assert "Umask:\t0077" in Path(f"/proc/{pid}/status").read_text()
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert next(line.split()[4:6] for line in limits.splitlines() if "core file" in line) == ["0", "0"]
        assert {*Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")} - {b""} == {
            f"{key}={value}".encode() for key, value in process.ENVIRONMENT.items()
        }
        for socket in (own_directories / "run/vm/vm1").glob("[qepc]"):
            assert socket.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("netns", "tun")
def test_nothing_that_has_ended_is_left_in_the_table_of_processes(lab: Path) -> None:
    guests(lab, "vm1")
    (lab / "networks.toml").write_text("[network.lan]\n")
    with opened(lab) as opened_lab:
        in_a_thread(lambda: kvmrun.start(opened_lab, ["vm1"]))
        assert len(process._children) == 4  # QEMU, dnsmasq, and the logger of each
        in_a_thread(lambda: kvmrun.stop(opened_lab, ["vm1"], kvmrun.StopOptions(force=True)))
    deadline = Deadline.begin(10)
    while process._children and not deadline.is_over():  # a logger ends once it has read the last line
        process.forget_ended()
        time.sleep(0.01)
    assert not process._children


@pytest.mark.usefixtures("netns", "tun")
def test_two_threads_start_and_stop_at_once(lab: Path) -> None:
    guests(lab, "vm1", "vm2", "vm3", "vm4")
    (lab / "networks.toml").write_text(NETWORK)
    with opened(lab) as first, opened(lab) as second:
        pairs = ((first, ["vm1", "vm2"]), (second, ["vm3", "vm4"]))
        for results in in_threads(*(lambda one=one: kvmrun.start(*one) for one in pairs)):
            assert [one.state for one in results.values()] == ["running", "running"]
        force = kvmrun.StopOptions(force=True)
        for results in in_threads(*(lambda one=one: kvmrun.stop(*one, force) for one in pairs)):
            assert [one.state for one in results.values()] == ["stopped", "stopped"]


@pytest.mark.usefixtures("netns", "tun")
def test_networks_are_brought_up_shown_repaired_and_taken_down(lab: Path) -> None:
    (lab / "networks.toml").write_text(NETWORK)
    opened_lab = kvmrun.open_lab(str(lab))
    [up] = in_a_thread(lambda: kvmrun.network_up(opened_lab, ["lan"]))
    assert (up.network, up.state, up.already, up.bridge) == ("lan", "up", False, "br0")
    [again] = in_a_thread(lambda: kvmrun.network_up(opened_lab))
    assert again.already
    [shown] = in_a_thread(lambda: kvmrun.network_status(opened_lab)).networks
    assert (shown.name, shown.state) == ("lan", "up")
    assert in_a_thread(lambda: kvmrun.repair(opened_lab, dry_run=True)) == []
    [down] = in_a_thread(lambda: kvmrun.network_down(opened_lab, ["lan"]))
    assert (down.state, down.already) == ("down", False)


def test_errors_are_values(lab: Path) -> None:
    guests(lab, "vm1")
    (lab / "bad.toml").write_text("memory = []\n")
    opened_lab = kvmrun.open_lab(str(lab))
    results = in_a_thread(lambda: kvmrun.start(opened_lab, ["bad", "nosuch"]))
    assert {name: type(error) for name, error in results.items()} == {
        "bad": kvmrun.ConfigError,
        "nosuch": kvmrun.NoSuchGuest,
    }
    stopped = in_a_thread(lambda: kvmrun.stop(opened_lab, ["vm1", "nosuch"]))
    assert stopped["vm1"].state == "not running"
    assert isinstance(stopped["nosuch"], kvmrun.NoSuchGuest)
    paused = in_a_thread(lambda: kvmrun.pause(opened_lab, ["vm1"]))
    assert isinstance(paused["vm1"], kvmrun.NotRunning)
    with pytest.raises(kvmrun.Several):
        kvmrun.status(opened_lab, ["nosuch"])


def test_a_program_keeps_its_signals_while_many_are_at_work(lab: Path) -> None:
    """In the main thread, where a command would have replaced the handlers."""
    guests(lab, "vm1", "vm2")
    seen: list[object] = []
    opened_lab = kvmrun.open_lab(str(lab))
    kvmrun.stop(opened_lab, ["vm1", "vm2"], report=lambda _: seen.append(signal.getsignal(signal.SIGINT)))
    assert seen
    assert {*seen} == {signal.getsignal(signal.SIGINT)}


def test_an_interrupt_of_a_program_ends_what_was_begun(lab: Path) -> None:
    """Ctrl-C in the main thread: nobody is left at work, and who was not done is told."""
    guests(lab, "vm1", "vm2", text=TCG)
    opened_lab = kvmrun.open_lab(str(lab))
    threads = threading.active_count()
    interrupted: list[bool] = []

    def report(event: kvmrun.Event) -> None:
        if isinstance(event, kvmrun.Done) and not interrupted:
            interrupted.append(True)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        kvmrun.stop(opened_lab, ["vm1", "vm2"], report=report)
    assert threading.active_count() == threads


def test_a_report_that_fails_ends_the_use_case(lab: Path) -> None:
    guests(lab, "vm1")

    def report(_: kvmrun.Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        kvmrun.stop(kvmrun.open_lab(str(lab)), ["vm1"], report=report)
