"""A QEMU that misbehaves on its monitors, under every command that speaks to it: in time, in bounds, and alone."""

import asyncio
import json
import random
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import hostile, qmp
from support.builders import ALONE, guests, own_socket
from support.cli import Cli
from support.pretender import Pretender
from support.tally import Row, Tally

from kvmrun.api.guest import pause_resume_reset
from kvmrun.api.status import live_status
from kvmrun.errors import KvmrunError
from kvmrun.model.guest.guest_state import guest_state
from kvmrun.monitor.qmp import qmp_client, query_many, startup_check
from kvmrun.monitor.qmp.qmp_socket import QmpSocket

WAYS = {**qmp.WAYS, **qmp.MORE}
MORE_MEMORY = 32 << 10


class Bench:
    """One command after the other on guests whose QEMU pretends, each measured against an honest one's."""

    def __init__(self, kvmrun: Cli, pretender: Pretender, note: Path, spare: float) -> None:
        self.kvmrun, self.pretender, self.note, self.spare = kvmrun, pretender, str(note), spare
        self.honest = self.run("monitor", "honest", "-c", "query-status").rss

    def run(self, *words: str) -> hostile.Cost:
        return hostile.measured([*self.kvmrun.words, *words], self.note, KVMRUN_QEMU=str(self.pretender.program))

    def within(self, cost: hostile.Cost, limit: float, *codes: int) -> None:
        """It ended in time, in memory, with one of the codes, and as an error of ours."""
        assert "Traceback" not in cost.err
        assert cost.code in codes, f"exit {cost.code}: {cost.out}{cost.err}"
        assert cost.seconds < limit + self.spare, f"{cost.seconds:.1f} s"
        assert cost.rss < self.honest + MORE_MEMORY, f"{cost.rss >> 10} MiB, honest {self.honest >> 10}"
        assert not hostile.harm(cost.out + cost.err), hostile.harm(cost.out + cost.err)
        assert cost.code == 0 or cost.err.startswith("kvmrun: "), cost.err


@pytest.fixture
def pretender(own_directories: Path) -> Pretender:
    return Pretender(own_directories / "pretender")


def _named(way: str) -> str:
    return f"w-{way}"[:32].strip("-")


@pytest.mark.usefixtures("netns")
@pytest.mark.timeout(1800)
def test_twenty_ways_to_misbehave_under_five_commands(
    lab: Path, kvmrun: Cli, own_directories: Path, pretender: Pretender, tally: Tally
) -> None:
    quick = [
        "random-bytes",
        "too-deep",
        "huge-reply",
        "half-a-reply",
        "event-flood",
        "invalid-utf8",
        "wrong-id",
        "silent",
    ]
    ways = list(WAYS) if tally.full else quick
    rows = {
        command: tally.row(f"Q-{command}", f"hostile monitors under {command}", 20)
        for command in ("start", "list", "monitor", "stop", "kill")
    }
    guests(lab, "honest", *map(_named, ways), text=ALONE)
    environ = {"KVMRUN_QEMU": str(pretender.program)}
    kvmrun.ok("honest", **environ)
    bench = Bench(kvmrun, pretender, own_directories / "note", 3.0 if tally.full else 20.0)
    _start(bench, rows["start"], ways if tally.full else [way for way in ways if way not in {"silent", "wrong-id"}])
    for way in ways:
        pretender.be(_named(way), "honest")
    kvmrun.ok("honest", *map(_named, ways), **environ)
    for way in ways:
        pretender.be(_named(way), way)
    _list(bench, rows["list"], ways)
    _monitor(bench, rows["monitor"], ways)
    _list(bench, rows["list"], ways)
    half = ways[::2]
    _end(bench, rows["kill"], [way for way in ways if way not in half], ("kill",), 5.0)
    _end(bench, rows["stop"], half, ("stop", "--timeout", "1"), 1 + 2 + 10 + 5)
    if tally.full:  # and the other way round
        for way in ways:
            pretender.be(_named(way), "honest")
        kvmrun.ok(*map(_named, ways), **environ)
        for way in ways:
            pretender.be(_named(way), way)
        _end(bench, rows["stop"], [way for way in ways if way not in half], ("stop", "--timeout", "1"), 1 + 2 + 10 + 5)
        _end(bench, rows["kill"], half, ("kill",), 5.0)
    assert {name for name, row in kvmrun.rows().items() if row["state"] == "running"} == {"honest"}


def _start(bench: Bench, row: Row, ways: list[str]) -> None:
    """Eight at a time: each is refused, and nothing of it is left."""
    for part in (ways[place : place + 8] for place in range(0, len(ways), 8)):
        for way in part:
            bench.pretender.be(_named(way), way)
        names = list(map(_named, part))
        cost = bench.run(*names)
        left = bench.kvmrun.rows()
        for way, name in zip(part, names, strict=True):
            with row.case(way):
                bench.within(cost, startup_check.LIMIT + 2.0, 1, 6, 7, 69)
                assert name in cost.err or "QEMU" in cost.err
                assert f"{name} is running" not in cost.out
                assert left[name]["state"] == "stopped"
    with row.case("the honest one is untouched"):
        assert bench.kvmrun.rows()["honest"]["state"] == "running"


def _list(bench: Bench, row: Row, ways: list[str]) -> None:
    """All of them at once: each costs its own row."""
    cost = bench.run("list", "-o", "json")
    found = {one["name"]: one for one in json.loads(cost.out)["guests"]}
    for way in ways:
        with row.case(way):
            bench.within(cost, live_status.LIMIT + 0.5, 0)
            state, problem = found[_named(way)]["state"], found[_named(way)]["problem"]
            if way in {"ends-itself", "stops-itself"}:
                assert state in {"unresponsive", "stopped", "stale"}, state
            else:
                assert problem, f"{state}, and nothing is wrong with it"
            assert found["honest"]["state"] == "running"


def _monitor(bench: Bench, row: Row, ways: list[str]) -> None:
    for way in ways:
        with row.case(way):
            cost = bench.run("monitor", _named(way), "-c", "query-status", "--timeout", "1")
            bench.within(cost, 1.0 + 0.5, 1, 3, 6, 7)


def _end(bench: Bench, row: Row, ways: list[str], words: tuple[str, ...], limit: float) -> None:
    """All at once, as --all does; none is left, and one that misbehaves does not keep the next."""
    for part in (ways[place : place + 8] for place in range(0, len(ways), 8)):
        cost = bench.run(words[0], *map(_named, part), *words[1:])
        left = bench.kvmrun.rows()
        for way in part:
            with row.case(way):
                bench.within(cost, limit + 0.5, 0)
                assert f"{_named(way)} is stopped" in cost.out
                assert left[_named(way)]["state"] == "stopped"


@pytest.mark.usefixtures("netns")
@pytest.mark.timeout(900)
def test_a_client_that_holds_the_monitor_for_ever(lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally) -> None:
    row = tally.row("Q-22", "another client holds the monitor for ever: list and stop", 20)
    note = str(own_directories / "note")
    guests(lab, "vm1", "vm2", text=ALONE)
    for number in range(row.count(1)):
        kvmrun.ok("vm1", "vm2")
        with row.case(number), ExitStack() as stack:
            for name in ("q", "p"):
                other = stack.enter_context(socket.socket(socket.AF_UNIX))
                other.connect(str(own_directories / f"run/vm/vm1/{name}"))
                assert other.recv(1000)
            found = hostile.measured([*kvmrun.words, "list", "-o", "json"], note)
            states = {one["name"]: one["state"] for one in json.loads(found.out)["guests"]}
            assert (states, found.code) == ({"vm1": "unresponsive", "vm2": "running"}, 0)
            spare = 3.0 if tally.full else 20.0
            assert found.seconds < 2.5 + spare
            held = hostile.measured([*kvmrun.words, "monitor", "vm1", "-c", "query-status", "--timeout", "1"], note)
            assert (held.code, held.seconds < 1.5 + spare) == (7, True)
            ended = hostile.measured([*kvmrun.words, "stop", "vm1", "--timeout", "1"], note)
            assert (ended.code, ended.seconds < 3.5 + spare) == (0, True)
            assert "killed" in ended.out
            assert kvmrun.rows()["vm1"]["state"] == "stopped"


ODD: list[object] = [
    None, True, 0, -1, 1 << 70, 1.5, float("inf"), float("nan"), "", "x", "running", "\x1b[31m", "\ud800", [], [[]], {},
    {"status": []}, {"QMP": 1}, {"return": 1}, {"error": {"desc": {}}}, [[[[[[[]]]]]]], {"": {}}, "9" * 400,
]  # fmt: skip
SAID: list[object] = [
    qmp.GREETING,
    {"return": {}},
    {"return": {"status": "running", "running": True, "singlestep": False}},
    {"return": {"UUID": qmp.UUID}},
    {"return": {"enabled": False, "present": True}},
    {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}},
    {"error": {"class": "GenericError", "desc": "no"}},
]


def _changed(chance: random.Random, value: object) -> object:
    """`value` with one thing in it exchanged for something odd."""
    if chance.random() < 0.3 or not value or not isinstance(value, dict | list):
        return chance.choice(ODD)
    if isinstance(value, list):
        place = chance.randrange(len(value))
        return [*value[:place], _changed(chance, value[place]), *value[place + 1 :]]
    key = chance.choice(list(value))
    return {**value, key: _changed(chance, value[key])} if chance.random() < 0.9 else {**value, "x": value.pop(key)}


def conversation(chance: random.Random) -> bytes:
    """What a peer may say: the right words in the right order, some of them odd, or some bytes of them."""
    said = [SAID[0], SAID[1], *(chance.choice(SAID) for _ in range(chance.randrange(5)))]
    for _ in range(chance.randrange(3)):
        place = chance.randrange(len(said))
        said[place] = _changed(chance, json.loads(json.dumps(said[place])))
    data = bytearray("".join(json.dumps(one) + "\n" for one in said).encode())
    for _ in range(chance.randrange(3)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data)) if chance.random() < 0.2 else None])


def _answer(data: bytes) -> query_many.Reply:
    """What the probe makes of it."""
    question = query_many._PendingQuery(own_socket(""), ("query-status", "query-uuid", "query-kvm"))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        question._qmp = QmpSocket(ours)
        theirs.sendall(data)
        theirs.close()
        for _ in range(100):
            question.read()
            if question.silence is not None:
                return question.answer()
    raise AssertionError("it never ends")


def _ours(do: Callable[[], object]) -> None:
    """Whatever it says, it says it with an error of ours, and nothing in it does harm."""
    try:
        said = do()
    except KvmrunError as error:
        said = (error.message, error.fix, error.reason)
    for word in said if isinstance(said, tuple) else (said,):
        assert not hostile.harm(str(word)), said


async def _understood(data: bytes) -> None:
    """What the client makes of every line; only what it declares leaves it."""
    line = qmp_client._Line("vm1", events=True)
    for one in data.splitlines(keepends=True):
        try:
            message = line._understand(one)
            await line._on_message(message)
        except (EOFError, KvmrunError):
            continue


def test_no_words_of_a_peer_are_a_bug(tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    row = tally.row("Q-23", "generated replies through the probe, the handshake, the list and the client", 20_000)
    given: dict[str, query_many.Reply] = {}
    for module in (startup_check, pause_resume_reset):
        monkeypatch.setattr(module, "query", lambda *_, **__: given[""])
    for seed in range(row.count(2000)):
        data = conversation(random.Random(seed))
        with row.case(f"{seed}: {data!r:.200}"):
            given[""] = _answer(data)
            _ours(lambda: startup_check.verify_started(own_socket(""), uuid=qmp.UUID, accel="tcg"))
            _ours(lambda: startup_check.resume(own_socket("")))
            _ours(lambda: guest_state("vm1", given[""].silence, given[""].replies, None, limit=2))
            _ours(lambda: pause_resume_reset._state("vm1", given[""]))
            asyncio.run(_understood(data))
