"""Who listens on a guest's socket: another account than the guest's is sent nothing, whatever opens the connection."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kvmrun.errors import KvmrunError
from kvmrun.monitor.agent import agent_client
from kvmrun.monitor.console.console_relay import connect_console
from kvmrun.monitor.guest_socket import GuestSocket, WrongPeer, dial
from kvmrun.monitor.qmp import qmp_client
from kvmrun.monitor.qmp.fd_passing import open_connection
from kvmrun.monitor.qmp.query_many import query

THEIRS = 65533
LISTENS = """
import os, socket, sys
at = socket.socket(socket.AF_UNIX)
at.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
at.listen(4)
print("up", flush=True)
while True:
    print(len(at.accept()[0].recv(100)), flush=True)
"""


@pytest.fixture
def listener(own_directories: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of another account that listens on `a` in the directory, and prints how many bytes each client sent."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another account")
    (own_directories / "life").touch()
    os.chown(own_directories, THEIRS, THEIRS)
    words = ["/usr/bin/python3", "-I", "-c", LISTENS, str(own_directories / "a")]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, user=THEIRS, group=THEIRS, extra_groups=[]
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == "up\n"
        yield child
        child.kill()
    os.chown(own_directories, 0, 0)


def target(own_directories: Path, *accounts: int) -> GuestSocket:
    return GuestSocket(path=str(own_directories / "a"), guest="vm2", accounts=lambda: accounts)


async def _converse(one: GuestSocket) -> None:
    async with qmp_client.connect(one, limit=5):
        pass


def _open(one: GuestSocket) -> None:
    with open_connection(one, 5):
        pass


def _agent(one: GuestSocket) -> None:
    with agent_client.connect(one, limit=5):
        pass


OPENERS: dict[str, Callable[[GuestSocket], object]] = {
    "dial": lambda one: dial(one).close(),
    "synchronous QMP": _open,
    "asynchronous QMP": lambda one: asyncio.run(_converse(one)),
    "agent": _agent,
    "console": lambda one: connect_console(one).close(),
}


@pytest.mark.parametrize("opener", OPENERS)
def test_another_account_is_refused_before_a_byte_is_sent(
    opener: str, listener: subprocess.Popen[str], own_directories: Path
) -> None:
    with pytest.raises(WrongPeer, match="another account answers on the agent of vm2") as caught:
        OPENERS[opener](target(own_directories, 4711))
    assert f"{THEIRS}" in caught.value.reason
    assert listener.stdout
    assert listener.stdout.readline() == "0\n"


def test_a_query_of_another_account_is_a_reply_that_says_so(
    listener: subprocess.Popen[str], own_directories: Path
) -> None:
    assert query(target(own_directories), "query-status", limit=5).silence == "stranger"
    assert listener.stdout
    assert listener.stdout.readline() == "0\n"


def test_the_account_of_the_guest_is_spoken_to(listener: subprocess.Popen[str], own_directories: Path) -> None:
    with closing(dial(target(own_directories, 4711, THEIRS))) as at:
        at.send(b"hello")
    assert listener.stdout
    assert listener.stdout.readline() == "5\n"


def test_our_own_account_needs_no_look_at_qemu(own_directories: Path) -> None:
    """kvmrun listens before QEMU does: the account of a process that is just being started is not asked for."""

    def unexpected() -> tuple[int, ...]:
        raise AssertionError("asked for")

    path = str(own_directories / "q")
    with socket.socket(socket.AF_UNIX) as at:
        at.bind(path)
        at.listen(1)
        dial(GuestSocket(path=path, guest="vm2", accounts=unexpected)).close()
    with pytest.raises(ConnectionRefusedError):
        dial(GuestSocket(path=path, guest="vm2", accounts=unexpected))
    with pytest.raises(KvmrunError):
        connect_console(GuestSocket(path=path, guest="vm2", accounts=unexpected))
