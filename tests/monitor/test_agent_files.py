"""Files by the agent's word: no more than was announced, whole or not at all, and nothing left behind."""

import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmrun.errors import KvmrunError, Unresponsive
from kvmrun.model.deadline import NEVER, Deadline
from kvmrun.monitor.agent import agent_files
from kvmrun.monitor.agent.agent_client import AgentError


class Guest:
    """An agent with one file: it says `size`, and gives `pieces`. What was run is kept, as are files written."""

    name = "vm2"

    def __init__(self, pieces: Iterator[bytes] | None = None, size: int | None = None, refuses: str = "") -> None:
        self.pieces = pieces or iter(())
        self.size = size
        self.refuses = refuses
        self.ran: list[list[str]] = []
        self.written = b""
        self.tar: int | BaseException = 0
        self.open = 0

    def __call__(self) -> Any:
        return self

    def ask(self, command: str, arguments: dict[str, Any], **_: object) -> Any:
        if command == self.refuses:
            raise AgentError("the agent of vm2 says no")
        return getattr(self, command.replace("-", "_"))(arguments)

    def guest_file_open(self, _: object) -> int:
        self.open += 1
        return 7

    def guest_file_close(self, _: object) -> dict[str, object]:
        self.open -= 1
        return {}

    def guest_file_seek(self, _: object) -> dict[str, object]:
        if self.size is None:
            raise AgentError("the agent of vm2 says no", reason="it cannot be sought")
        return {"position": self.size, "eof": False}

    def guest_file_read(self, _: object) -> dict[str, object]:
        data = next(self.pieces, b"")
        return {"count": len(data), "buf-b64": b64encode(data).decode(), "eof": not data}

    def guest_file_write(self, asked: dict[str, str]) -> dict[str, object]:
        data = b64decode(asked["buf-b64"])[:100_000]
        self.written += data
        return {"count": len(data), "eof": False}

    def guest_exec(self, asked: dict[str, Any]) -> dict[str, object]:
        if asked["path"] == "tar" and isinstance(self.tar, AgentError):
            raise self.tar
        self.ran.append([asked["path"], *asked["arg"]])
        return {"pid": 1}

    def guest_exec_status(self, _: object) -> dict[str, object]:
        if self.ran[-1][0] == "tar" and isinstance(self.tar, BaseException):
            raise self.tar
        if self.ran[-1][0] == "tar" and self.tar:
            return {"exited": self.tar > 0, "exitcode": self.tar, "err-data": b64encode(b"said\n").decode()}
        failed = self.ran[-1][0] == self.refuses
        return {"exited": True, "exitcode": int(failed), "err-data": b64encode(b"no room\n").decode() if failed else ""}


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


def fetched(guest: Guest, path: Path) -> bytes:
    with path.open("wb", buffering=0) as file:
        agent_files.download(guest, "/x", file.fileno(), lambda _: None)
    return path.read_bytes()


def test_a_file_that_goes_on_is_cut_at_the_size_it_said(tmp_path: Path) -> None:
    guest = Guest(endless(b"abcd"), size=10)
    assert fetched(guest, tmp_path / "x") == b"abcdabcdab"
    assert guest.open == 0


def test_a_file_without_a_size_ends_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched(Guest(iter((b"Linux ", b"6.1")), size=None), tmp_path / "x") == b"Linux 6.1"
    monkeypatch.setattr(agent_files, "_UNSIZED", 1000)
    for size in (None, 0):
        guest = Guest(endless(b"x" * 300), size=size)
        with pytest.raises(KvmrunError, match="has no end"):
            fetched(guest, tmp_path / "x")
        assert (guest.open, (tmp_path / "x").stat().st_size) == (0, 1000)


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    with pytest.raises(KvmrunError, match="cut short"):
        fetched(Guest(iter((b"abc",)), size=10), tmp_path / "x")


def sent(guest: Guest, path: Path) -> None:
    with path.open("rb") as file:
        agent_files.upload(guest, file.fileno(), 0o750, "/root/x", lambda _: None)


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    data = os.urandom(500_000)
    (tmp_path / "x").write_bytes(data)
    guest = Guest()
    sent(guest, tmp_path / "x")
    assert guest.written == data
    chmod, move = guest.ran
    assert (chmod[:3], move[:4]) == (["chmod", "750", "--"], ["mv", "-f", "-T", "--"])
    assert move[4:] == [chmod[3], "/root/x"]
    assert chmod[3].startswith("/root/.kvmrun-")


@pytest.mark.parametrize("refuses", ["guest-file-write", "guest-file-close", "chmod", "mv"])
def test_one_that_fails_is_removed(refuses: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    guest = Guest(refuses=refuses)
    with pytest.raises(KvmrunError):
        sent(guest, tmp_path / "x")
    assert guest.ran[-1][:3] == ["rm", "-f", "--"]
    assert guest.ran[-1][3].startswith("/root/.kvmrun-")


def packed(guest: Guest, deadline: Deadline = NEVER) -> None:
    last = Guest()
    last.ran = guest.ran
    try:
        with agent_files.workspace(guest, "/tmp", last) as there:
            agent_files.pack(guest, "/srv/x", f"{there}/archive", deadline, last)
    finally:
        assert guest.ran[0][:4] == ["mkdir", "-m", "700", "--"]
        assert guest.ran[-1] == ["rm", "-rf", "--", guest.ran[0][4]]


def test_the_archive_is_made_where_only_root_enters_and_removed() -> None:
    guest = Guest()
    packed(guest)
    assert guest.ran[1:-1] == [["tar", "-C", "/srv/x", "-cf", f"{guest.ran[0][4]}/archive", "."]]


@pytest.mark.parametrize(
    ("tar", "said"),
    [
        (127, "has no tar"),
        (AgentError("no", reason="Failed to execute child process (No such file or directory)"), "has no tar"),
        (2, "tar in the guest failed"),
    ],
)
def test_a_tar_that_fails_is_told_and_the_archive_is_removed(tar: int | BaseException, said: str) -> None:
    guest = Guest()
    guest.tar = tar
    with pytest.raises(KvmrunError, match=said):
        packed(guest)


def test_a_tar_that_goes_on_is_ended_when_the_time_is_over_or_the_user_interrupts() -> None:
    for tar, error in ((-1, Unresponsive), (KeyboardInterrupt(), KeyboardInterrupt)):
        guest = Guest()
        guest.tar = tar
        with pytest.raises(error):
            packed(guest, Deadline.begin(0.1))
        assert guest.ran[-2] == ["kill", "1"]


def test_the_tree_takes_its_name_when_it_is_whole() -> None:
    guest = Guest()
    agent_files.unpack(guest, "/srv/.kvmrun-1/archive", "/srv/x", NEVER, guest)
    assert guest.ran[-2:] == [
        ["tar", "-C", "/srv/.kvmrun-1/tree", "-xf", "/srv/.kvmrun-1/archive"],
        ["mv", "-T", "--", "/srv/.kvmrun-1/tree", "/srv/x"],
    ]
    guest = Guest()
    guest.tar = 1
    with pytest.raises(KvmrunError, match="tar in the guest failed"):
        agent_files.unpack(guest, "/srv/.kvmrun-1/archive", "/srv/x", NEVER, guest)
    assert guest.ran[-1][0] == "tar"
