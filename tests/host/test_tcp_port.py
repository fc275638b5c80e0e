"""A TCP port for a display: taken as soon as whoever has it lets go, and refused in words when nobody does."""

import socket
import threading

import pytest

from kvmrun.errors import KvmrunError
from kvmrun.host.facts import tcp_port

pytestmark = pytest.mark.usefixtures("netns")


def test_a_child_that_holds_it_for_a_moment_is_no_reason() -> None:
    server = socket.create_server(("127.0.0.1", 5907))
    threading.Timer(0.1, server.close).start()
    with socket.socket(fileno=tcp_port.bind_port(5907)) as taken:
        assert taken.getsockname() == ("127.0.0.1", 5907)


def test_one_that_stays_is_named() -> None:
    with socket.create_server(("0.0.0.0", 5907)), pytest.raises(KvmrunError, match="5907") as refused:
        tcp_port.bind_port(5907)
    assert (refused.value.reason, refused.value.fix) == ("Address already in use", "name another port in display")
