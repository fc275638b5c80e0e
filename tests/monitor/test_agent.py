"""The agent's conversation: in time, in bounds, and nothing leaves it but what it should."""

import json
import socket
import threading
import time
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.agent import ANSWERS, GREETINGS, STALE, agent, says, stale, twice
from support.builders import own_socket
from support.qmp import Peer

from kvmrun.errors import Busy, KvmrunError, NotRunning, Unresponsive
from kvmrun.monitor.agent import agent_commands
from kvmrun.monitor.agent.agent_client import BUDGET, LIMIT, AgentError, Garbled, connect

SILENT = ("silent", "random-bytes", "no-marker", "half-an-answer", "another-number", "true-for-a-number")
SILENT += ("only-markers", "too-deep", "an-error", "one-byte-per-second")
UNGREETED = dict.fromkeys(SILENT, Unresponsive) | {
    "close-at-once": NotRunning,
    "line-without-end": Garbled,
    "flood-of-markers": Garbled,
}
UNANSWERED = {
    "no-answer": Unresponsive,
    "hangs-up": NotRunning,
    "half-an-answer": NotRunning,
    "error-without-words": AgentError,
    "error-with-escapes": AgentError,
}


def asked(path: str, limit: float = 0.5, command: str = "guest-ping") -> object:
    with connect(own_socket(path), limit=limit) as one:
        return one.ask(command, limit=limit)


def harmless(error: KvmrunError) -> bool:
    return "vm2" in error.message and all(text.isprintable() for text in (error.message, error.fix, error.reason))


def test_every_way_to_misbehave_has_a_wanted_end() -> None:
    assert set(UNGREETED) == set(GREETINGS)
    assert set(UNANSWERED) <= set(ANSWERS)
    assert (LIMIT, BUDGET) == (3.0, 1 << 20)


@pytest.mark.parametrize("way", GREETINGS)
def test_what_is_no_agent_is_told_in_time(way: str, tmp_path: Path) -> None:
    limit = 20.0 if UNGREETED[way] is Garbled else 0.3  # the budget must run out first, also under load
    with agent(tmp_path, GREETINGS[way]) as path:
        begun = time.monotonic()
        with pytest.raises(UNGREETED[way]) as caught:
            asked(path, limit)
        assert time.monotonic() - begun < 20
    assert harmless(caught.value)


@pytest.mark.parametrize("way", ANSWERS)
def test_an_answer_that_is_none_is_told_in_time(way: str, tmp_path: Path) -> None:
    with agent(tmp_path, ANSWERS[way]) as path:
        begun = time.monotonic()
        with pytest.raises(UNANSWERED.get(way, Garbled)) as caught, connect(own_socket(path), limit=20) as one:
            one.ask("guest-ping", limit=0.3 if way == "no-answer" else 20)
        assert time.monotonic() - begun < 20
    assert harmless(caught.value)


@pytest.mark.parametrize("left", STALE)
def test_what_is_still_on_the_line_does_no_harm(left: str, tmp_path: Path) -> None:
    with agent(tmp_path, stale(STALE[left])) as path:
        assert asked(path, 20) == 5


def test_no_more_is_read_than_was_agreed(tmp_path: Path) -> None:
    sent = []

    def way(peer: Peer) -> None:
        with suppress(OSError):
            while not peer.done.is_set():
                sent.append(peer.sock.send(b"x" * 65536))

    with agent(tmp_path, way) as path, pytest.raises(Garbled):
        asked(path, 20)
    assert sum(sent) < BUDGET + (1 << 20)  # what the kernel keeps for a reader comes on top


def test_an_answer_that_came_too_late_is_not_taken_for_the_next(tmp_path: Path) -> None:
    with agent(tmp_path, twice) as path, connect(own_socket(path), limit=20) as one:
        with pytest.raises(KvmrunError):
            one.ask("guest-ping", limit=0.2)
        assert one.broken


def test_no_agent_no_guest_and_no_turn(tmp_path: Path) -> None:
    with pytest.raises(NotRunning):
        asked(f"{tmp_path}/a")
    (tmp_path / "life").touch()
    with pytest.raises(NotRunning):
        asked(f"{tmp_path}/a")
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
        full.bind(f"{tmp_path}/a")
        full.listen(0)
        first.connect(f"{tmp_path}/a")
        with pytest.raises(Unresponsive):
            asked(f"{tmp_path}/a")


def test_two_take_turns(tmp_path: Path) -> None:
    found: list[object] = []
    with agent(tmp_path, says({"return": {}})) as path:
        other = threading.Thread(target=lambda: found.append(asked(path, 20)))
        with connect(own_socket(path), limit=20) as one:
            with pytest.raises(Busy):
                asked(path, 0.1)
            other.start()
            assert one.ask("guest-ping", limit=20) == {}
            assert found == []
        other.join()
    assert found == [{}]


class Told:
    """An agent that answers everything with one value."""

    name = "vm2"

    def __init__(self, value: object) -> None:
        self.value = value

    def ask(self, *_: object, **__: object) -> Any:
        return self.value


QUESTIONS = {
    "begin": lambda one: agent_commands.start_command(one, ["true"], b""),
    "ended": lambda one: agent_commands.poll_exit(one, 1),
    "open": lambda one: agent_commands.open_file(one, "/x", "rb"),
    "size": lambda one: agent_commands.size_of(one, 1),
    "read": lambda one: agent_commands.read_file(one, 1),
    "write": lambda one: agent_commands.write_file(one, 1, b"abc"),
    "interfaces": agent_commands.interfaces,
    "freeze": lambda one: agent_commands.freeze(one, limit=1),
    "frozen": agent_commands.is_frozen,
}
WORDS = ("pid", "exited", "exitcode", "signal", "out-data", "count", "buf-b64", "position", "name", "ip-addresses")
plain = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats() | st.just("AAAA")
values = st.recursive(
    plain, lambda some: st.lists(some, max_size=3) | st.dictionaries(st.sampled_from(WORDS), some, max_size=6)
)


@given(value=values)
def test_any_answer_is_taken_as_what_it_is_or_told(value: object) -> None:
    for question in QUESTIONS.values():
        with suppress(Garbled):
            found = question(Told(value))
            assert type(found) in {int, bool, bytes, tuple, type(None), agent_commands.CommandResult}


def test_how_a_command_ended() -> None:
    told = {"exited": True, "exitcode": 3, "out-data": b64encode(b"out").decode(), "err-truncated": True}
    assert agent_commands.poll_exit(Told(told), 1) == agent_commands.CommandResult(
        code=3, out=b"out", err=b"", cut=("err",)
    )
    assert agent_commands.poll_exit(Told({"exited": False}), 1) is None
    killed = agent_commands.poll_exit(Told({"exited": True, "signal": 9}), 1)
    assert killed
    assert killed.code == 137
    with pytest.raises(Garbled):
        agent_commands.poll_exit(Told({"exited": True, "out-data": "%%"}), 1)


def test_cards_are_only_what_looks_like_them_and_printable() -> None:
    good = {"ip-address": "192.168.0.2", "prefix": 24, "ip-address-type": "ipv4"}
    cards = [
        {"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": [good]},
        {
            "name": "eth0\x1b[31m",
            "hardware-address": "52:54:00:00:00:01",
            "ip-addresses": [good, {"ip-address": "; rm"}],
        },
        {"name": "tun0"},
        7,
    ]
    found = agent_commands.interfaces(Told(cards + [cards[1]] * 200))
    assert [one.addresses for one in found[:2]] == [("192.168.0.2/24",), ()]
    assert len(found) <= 64
    assert all(one.name.isprintable() for one in found)


def test_a_piece_of_a_file_has_the_size_it_says() -> None:
    assert agent_commands.read_file(Told({"count": 3, "buf-b64": b64encode(b"abc").decode()}), 1) == b"abc"
    with pytest.raises(Garbled):
        agent_commands.read_file(Told({"count": 4, "buf-b64": b64encode(b"abc").decode()}), 1)
    with pytest.raises(Garbled):
        agent_commands.write_file(Told({"count": 9}), 1, b"abc")
    with pytest.raises(Garbled):
        agent_commands.write_file(Told({"count": 0}), 1, b"abc")
    assert json.dumps(agent_commands.CHUNK * 4 // 3 + 100 < BUDGET) == "true"
