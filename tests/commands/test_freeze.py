"""Freeze and thaw, with an agent that stands in for one: a freeze that is not answered is taken back."""

import errno
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.agent import agent, hear, synced
from support.qmp import Peer

from kvmrun.api.conversation import freeze
from kvmrun.api.conversation.freeze import FileSystems
from kvmrun.errors import KvmrunError, NotRunning, Unresponsive
from kvmrun.host.rundir import frozen_mark
from kvmrun.model.deadline import Deadline
from kvmrun.monitor.agent import agent_commands


class Inside:
    """What the agent is asked; an answer of None is none."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers
        self.heard: list[str] = []

    def __call__(self, peer: Peer) -> None:
        while True:
            question = hear(peer)
            name = str(question["execute"]).removeprefix("guest-fsfreeze-")
            if name == "guest-sync-delimited":
                peer.send(synced(question))
                continue
            self.heard.append(name)
            if (answer := self.answers.get(name)) is not None:
                peer.say({"return": answer})


def at_once(do: Callable[[str, str, Deadline, ExitStack], FileSystems], directory: Path, limit: float) -> FileSystems:
    """What the command does with one guest, with so many seconds for all of it."""
    with ExitStack() as calm:
        return do("vm2", str(directory), Deadline.begin(limit), calm)


def test_a_guest_is_frozen_and_thawed(tmp_path: Path) -> None:
    inside = Inside(status="thawed", freeze=2, thaw=2)
    with agent(tmp_path, inside):
        assert at_once(freeze._freeze, tmp_path, 20) == FileSystems(guest="vm2", state="frozen", count=2)
        assert (tmp_path / "frozen").exists()
        assert at_once(freeze._thaw, tmp_path, 20) == FileSystems(guest="vm2", state="thawed", count=2)
    assert not (tmp_path / "frozen").exists()
    assert inside.heard == ["status", "freeze", "thaw"]


def test_one_that_is_frozen_is_left_so(tmp_path: Path) -> None:
    inside = Inside(status="frozen")
    with agent(tmp_path, inside):
        assert at_once(freeze._freeze, tmp_path, 20).already
    assert inside.heard == ["status"]


def test_a_freeze_that_is_not_answered_is_taken_back(tmp_path: Path) -> None:
    inside = Inside(status="thawed", thaw=1)
    with agent(tmp_path, inside), pytest.raises(Unresponsive):
        at_once(freeze._freeze, tmp_path, 0.3)
    assert inside.heard == ["status", "freeze", "thaw"]
    assert not (tmp_path / "frozen").exists()


def test_a_guest_without_such_file_systems(tmp_path: Path) -> None:
    with agent(tmp_path, Inside(status="thawed", freeze=0)), pytest.raises(KvmrunError) as caught:
        at_once(freeze._freeze, tmp_path, 20)
    assert caught.type is KvmrunError


def test_a_thaw_does_no_harm(tmp_path: Path) -> None:
    with agent(tmp_path, Inside(thaw=0)):
        assert at_once(freeze._thaw, tmp_path, 20).already


def test_a_freeze_whose_answer_is_lost_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, do = Inside(status="thawed", freeze=2, thaw=2), agent_commands.freeze

    def lost(*words: Any, **more: Any) -> int:
        do(*words, **more)
        raise NotRunning("vm2 has ended")

    monkeypatch.setattr(agent_commands, "freeze", lost)
    with agent(tmp_path, inside), pytest.raises(NotRunning):
        at_once(freeze._freeze, tmp_path, 20)
    assert inside.heard == ["status", "freeze", "thaw"]


def test_a_mark_that_stays_does_not_make_a_thaw_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: str) -> None:
        raise OSError(errno.EMFILE, "")

    monkeypatch.setattr(frozen_mark, "clear_mark", full)
    with agent(tmp_path, Inside(thaw=2)):
        assert at_once(freeze._thaw, tmp_path, 20).count == 2
