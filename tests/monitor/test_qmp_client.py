import asyncio
import resource
import socket
import time

import pytest
from support.builders import own_socket
from support.qemu import needs_qemu, qemu
from support.qmp import UUID, WAYS, serve, stranger

from kvmrun.errors import KvmrunError, NotRunning, Refused, Unresponsive, UsageError
from kvmrun.monitor.qmp.qmp_client import EVENTS, Garbled, Monitor, MonitorError, connect

WANTED = {
    "silent": Unresponsive,
    "close-at-once": NotRunning,
    "half-a-greeting": NotRunning,
    "random-bytes": Garbled,
    "greeting-is-not-one": Garbled,
    "greeting-is-a-list": Garbled,
    "greeting-too-deep": Garbled,
    "greeting-then-silence": Unresponsive,
    "one-byte-per-second": Unresponsive,
    "accepts-then-silent": Unresponsive,
    "half-a-reply": NotRunning,
    "line-without-end": Garbled,
    "huge-reply": Garbled,
    "too-deep": Garbled,
    "long-integer": Garbled,
    "infinity": Garbled,
    "invalid-utf8": Garbled,
    "nuls": Garbled,
    "wrong-id": Unresponsive,
    "id-is-a-list": Unresponsive,
    "unsolicited-reply": Unresponsive,
    "unsolicited-error": Garbled,
    "error-without-class": Garbled,
    "error-is-a-number": Garbled,
    "neither-return-nor-error": Garbled,
    "event-flood": Garbled,
    "reply-flood": Unresponsive,
}


async def ask(path: str, command: str = "query-status", *, limit: float = 1.0, events: bool = True) -> object:
    async with connect(own_socket(path), limit=limit, events=events) as monitor:
        return await monitor.execute(command)


async def events_until_the_end(monitor: Monitor) -> list[object]:
    names: list[object] = []
    try:
        while True:
            names.append((await monitor.event())["event"])
    except NotRunning:
        return names


def test_every_way_to_misbehave_has_a_wanted_end() -> None:
    assert set(WANTED) == set(WAYS)


@pytest.mark.parametrize("way", WAYS)
def test_misbehaviour_ends_in_time_with_one_of_our_errors(way: str, tmp_path) -> None:
    path = f"{tmp_path}/p"
    with serve(path, WAYS[way]):
        start = time.monotonic()
        with pytest.raises(KvmrunError) as caught:
            asyncio.run(ask(path, limit=0.5 if WANTED[way] is Unresponsive else 20))  # what else is wrong comes first
        assert time.monotonic() - start < 30
    error = caught.value
    assert type(error) is WANTED[way]
    assert "vm2" in error.message or "QEMU" in error.message
    assert all(text.isprintable() for text in (error.message, error.fix, error.reason))


def test_an_event_flood_takes_little_memory(tmp_path) -> None:
    path = f"{tmp_path}/p"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serve(path, WAYS["event-flood"]), pytest.raises(Garbled):
        asyncio.run(ask(path, limit=30))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_flood_of_events_nobody_wants_is_dropped_until_the_limit(tmp_path) -> None:
    path = f"{tmp_path}/p"
    with serve(path, WAYS["event-flood"]), pytest.raises(Unresponsive):
        asyncio.run(ask(path, events=False))


def test_events_before_the_end_are_kept_and_then_the_end_is_told(tmp_path) -> None:
    def few_events(peer) -> None:
        peer.greet()
        for number in range(3):
            peer.say({"event": f"E{number}"})

    async def listen(path: str) -> list[object]:
        async with connect(own_socket(path), limit=30, events=True) as monitor:
            with pytest.raises(NotRunning):
                await monitor.execute("query-status")
            return await events_until_the_end(monitor)

    path = f"{tmp_path}/p"
    with serve(path, few_events):
        assert asyncio.run(listen(path)) == ["E0", "E1", "E2"]
    assert EVENTS == 10_000


def test_nobody_there(tmp_path) -> None:
    with pytest.raises(NotRunning, match="vm2 is not running"):
        asyncio.run(ask(f"{tmp_path}/absent"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/dead")
    with pytest.raises(NotRunning):
        asyncio.run(ask(f"{tmp_path}/dead"))
    with pytest.raises(KvmrunError):
        asyncio.run(ask(f"{tmp_path}/{'x' * 200}"))


def test_a_full_backlog_is_not_taken_for_a_connection(tmp_path) -> None:
    path = f"{tmp_path}/p"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(path)
            with pytest.raises(Unresponsive, match="does not answer") as caught:
                asyncio.run(ask(path))
    assert "kvmrun monitor vm2" in caught.value.fix


def test_a_stranger_is_refused(tmp_path) -> None:
    async def meet(uuid: str) -> None:
        async with connect(own_socket(path), uuid=uuid):
            pass

    path = f"{tmp_path}/p"
    with serve(path, stranger):
        asyncio.run(meet(UUID))
        with pytest.raises(Refused, match="another guest"):
            asyncio.run(meet("00000000-0000-0000-0000-000000000000"))


@needs_qemu
def test_a_real_conversation(tmp_path) -> None:
    async def talk(monitor: Monitor) -> None:
        status = await monitor.execute("query-status")
        assert isinstance(status, dict)
        assert status["running"] is False
        with pytest.raises(MonitorError, match="has not been found") as caught:
            await monitor.execute("quer\x1b-status")
        assert caught.value.error_class == "CommandNotFound"
        assert caught.value.message.isprintable()
        for bad in (float("nan"), "\ud800", {1, 2}):
            with pytest.raises(UsageError):
                await monitor.execute("qom-set", {"value": bad})
        await monitor.execute("quit")
        assert await events_until_the_end(monitor) == ["SHUTDOWN"]

    async def main() -> None:
        async with connect(own_socket(path), uuid="00000000-0000-0000-0000-000000000000", events=True) as monitor:
            assert monitor.version.count(".") == 2
            await talk(monitor)

    path = f"{tmp_path}/p"
    with qemu(path):
        asyncio.run(main())


@needs_qemu
def test_the_second_client_is_told_why_it_waits_and_the_first_goes_on(tmp_path) -> None:
    async def main() -> None:
        async with connect(own_socket(path)) as first:
            with pytest.raises(Unresponsive, match="vm2 does not answer"):
                await ask(path, limit=0.2)
            assert await first.execute("query-name") == {}
        assert await ask(path, "query-name", limit=30) == {}

    path = f"{tmp_path}/p"
    with qemu(path):
        asyncio.run(main())
