"""Short questions to guests that answer, and to peers that misbehave on purpose."""

import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.builders import own_socket
from support.qemu import needs_qemu, qemu
from support.qmp import GREETING, WAYS, Peer, serve

from kvmrun.errors import Unresponsive
from kvmrun.monitor.console.console_relay import connect_console
from kvmrun.monitor.qmp import query_many
from kvmrun.monitor.qmp.fd_passing import open_connection
from kvmrun.monitor.qmp.query_many import Reply, query

UUID = "6f2a0a5e-0000-5000-8000-000000000001"


@pytest.fixture
def path(own_directories: Path) -> str:
    return str(own_directories / "q")


def opening(data: bytes) -> Callable[[Peer], None]:
    """`data` at once, whatever is asked, then silence."""

    def way(peer: Peer) -> None:
        peer.send(data)
        peer.wait()

    return way


def said(*lines: str) -> bytes:
    return (
        b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}}}\n'
        + "".join(f"{line}\n" for line in lines).encode()
    )


def flood(peer: Peer) -> None:
    peer.say(GREETING)
    block = b'{"event": "FLOOD", "data": {"x": "%s"}}\n' % (b"y" * 100) * 1000
    while not peer.done.is_set():
        peer.send(block)


def endless(peer: Peer) -> None:
    while not peer.done.is_set():
        peer.send(b"x" * 65536)


@contextmanager
def bounded(seconds: float, size: int) -> Iterator[None]:
    """The block takes at most so long and at most so much memory at once."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        assert time.monotonic() - began < seconds
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@needs_qemu
def test_a_guest_answers_everything_in_one_go(path: str) -> None:
    with qemu(path, "-uuid", UUID):
        answer = query(own_socket(path), "query-status", "query-uuid", "no-such-thing", limit=20)
    assert answer.silence == ""
    assert answer.replies["query-uuid"] == {"UUID": UUID}
    assert answer.replies["query-status"]["status"] == "prelaunch"
    assert "no-such-thing" in answer.errors["no-such-thing"]
    assert answer.version >= (7, 2)


@needs_qemu
def test_a_monitor_that_another_client_has_is_silent(path: str) -> None:
    with qemu(path), socket.socket(socket.AF_UNIX) as other:
        other.connect(path)
        assert other.recv(1000)
        assert query(own_socket(path), "query-status", limit=0.3) == Reply(silence="silent")


@needs_qemu
def test_many_who_ask_at_once_wait_for_each_other(path: str) -> None:
    answers: list[Reply] = []

    def one() -> None:
        answers.append(query(own_socket(path), "query-status", limit=20))

    with qemu(path):
        threads = [threading.Thread(target=one) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [answer.silence for answer in answers] == [""] * 20


def test_one_that_another_of_us_is_asking_is_busy(path: str) -> None:
    with serve(path, WAYS["silent"]):
        first = threading.Thread(target=query, args=(own_socket(path), "query-status"), kwargs={"limit": 1.0})
        question = query_many._PendingQuery(own_socket(path), ())
        assert question.send()
        first.start()
        assert query(own_socket(path), "query-status", limit=0.2) == Reply(silence="busy")
        question.close()
        first.join()


def test_nobody_there_is_gone(path: str) -> None:
    with bounded(seconds=10, size=1 << 20):
        assert query(own_socket(path), "query-status", limit=60).silence == "gone"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        assert query(own_socket(path), "query-status", limit=60).silence == "gone"
    assert query_many.query_many({}, ("query-status",), limit=5) == {}


@pytest.mark.parametrize(
    ("way", "silence"),
    [
        (WAYS["silent"], "silent"),
        (WAYS["half-a-greeting"], "gone"),
        (WAYS["greeting-then-silence"], "silent"),
        (WAYS["one-byte-per-second"], "silent"),
        (WAYS["close-at-once"], "gone"),
        (WAYS["random-bytes"], "garbled"),
        (WAYS["greeting-is-not-one"], "garbled"),
        (WAYS["greeting-is-a-list"], "garbled"),
        (WAYS["greeting-too-deep"], "garbled"),
        (flood, "garbled"),
        (endless, "garbled"),
        (opening(b"\0" * 4096 + b"\n"), "garbled"),
        (opening(b'{"return": "\xff\xfe"}\n'), "garbled"),
        (opening(said('{"return": {}}', '{"return": ' + "9" * 5000 + "}")), "garbled"),
        (opening(said('{"return": {}}', '{"return": ' + "[" * 100_000 + "]" * 100_000 + "}")), "garbled"),
        (opening(said('{"return": {}}', '{"neither": 1}')), "garbled"),
        (opening(said('{"return": {}}', '{"event": "A"}', '{"event": "B"}')), "silent"),
    ],
)
def test_a_peer_that_misbehaves_costs_a_bounded_time_and_memory(
    path: str, way: Callable[[Peer], None], silence: str
) -> None:
    with serve(path, way), bounded(seconds=20, size=4 << 20):
        limit = 0.3 if silence == "silent" else 15  # what else is wrong comes first
        answer = query(own_socket(path), "query-status", limit=limit)
    assert answer.silence == silence
    assert answer.replies == {}


@pytest.mark.parametrize(
    "result", ['{"error": 5}', '{"error": {}}', '{"error": {"desc": [1]}}', '{"error": "x"}', '{"return": null}']
)
def test_an_answer_of_an_odd_shape_is_no_crash(path: str, result: str) -> None:
    with serve(path, opening(said('{"return": {}}', result))):
        answer = query(own_socket(path), "query-status", limit=30)
    assert answer.silence in {"", "garbled"}
    assert all(type(text) is str for text in answer.errors.values())


def test_events_between_the_answers_are_passed_over(path: str) -> None:
    data = said('{"event": "RESUME"}', '{"return": {}}', '{"event": "STOP"}', '{"return": {"status": "running"}}')
    with serve(path, opening(data)):
        answer = query(own_socket(path), "query-status", limit=30)
    assert (answer.silence, answer.replies["query-status"]) == ("", {"status": "running"})


@needs_qemu
def test_one_that_is_silent_costs_only_its_own_answer(own_directories: Path) -> None:
    paths = {name: str(own_directories / name / "q") for name in ("well", "silent", "mad")}
    for name in paths:
        (own_directories / name).mkdir()
    with ExitStack() as stack:
        stack.enter_context(serve(paths["silent"], WAYS["silent"]))
        stack.enter_context(serve(paths["mad"], flood))
        stack.enter_context(qemu(paths["well"]))
        answers = query_many.query_many(
            {name: own_socket(path, name) for name, path in paths.items()}, ("query-status",), limit=2.0
        )
    assert {name: one.silence for name, one in answers.items()} == {"well": "", "silent": "silent", "mad": "garbled"}
    assert answers["well"].replies["query-status"]["running"] is False


@contextmanager
def crowded(path: str) -> Iterator[None]:
    """A monitor that lets nobody in, and before it as many as it lets wait."""
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(path)
        listener.listen(1)
        while _waits(stack.enter_context(socket.socket(socket.AF_UNIX)), path):
            pass
        yield


def _waits(one: socket.socket, path: str) -> bool:
    one.setblocking(False)
    try:
        one.connect(path)
    except BlockingIOError:
        return False
    return True


def test_a_monitor_that_lets_nobody_in_any_more_is_silent_not_busy(path: str) -> None:
    with crowded(path):
        assert query(own_socket(path), "query-status", limit=0.2).silence == "silent"
        with pytest.raises(Unresponsive), open_connection(own_socket(path), 0.2):
            pass
        with pytest.raises(Unresponsive):
            connect_console(own_socket(path))
