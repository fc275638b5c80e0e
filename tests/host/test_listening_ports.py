"""Who listens on ports of this host, by real sockets."""

import os
import socket
from pathlib import Path

import pytest

from kvmrun.host.facts import listening_ports
from kvmrun.plan.host_facts import PortOwner, Protocol

pytestmark = pytest.mark.usefixtures("netns")


def test_nobody() -> None:
    assert listening_ports.port_owners({53, 67}) == ()


@pytest.mark.parametrize(
    ("kind", "family", "address", "port"),
    [
        (socket.SOCK_DGRAM, socket.AF_INET, "0.0.0.0", 53),
        (socket.SOCK_STREAM, socket.AF_INET, "0.0.0.0", 53),
        (socket.SOCK_DGRAM, socket.AF_INET6, "::", 53),
        (socket.SOCK_DGRAM, socket.AF_INET, "127.0.0.53", 53),
        (socket.SOCK_DGRAM, socket.AF_INET, "0.0.0.0", 67),
    ],
)
def test_its_address_and_its_name_are_told(
    kind: socket.SocketKind, family: socket.AddressFamily, address: str, port: int
) -> None:
    with socket.socket(family, kind) as other:
        other.bind((address, port))
        if kind == socket.SOCK_STREAM:
            other.listen()
        comm = Path("/proc/self/comm").read_text().strip()
        protocol: Protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
        process = f"{comm} (pid {os.getpid()})"
        wanted = PortOwner(protocol=protocol, port=port, address=address, process=process)
        assert listening_ports.port_owners({53, 67}) == (wanted,)
        assert listening_ports.port_owners({53, 67}, {os.getpid()}) == ()


def test_one_bound_to_a_link_is_told_with_it() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        other.bind(("0.0.0.0", 67))
        assert [(one.address, one.link) for one in listening_ports.port_owners({53, 67})] == [("0.0.0.0", "lo")]


def test_other_ports_and_connections_are_no_matter() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, socket.socket() as other:
        other.bind(("127.0.0.1", 5353))
        other.listen()
        client.connect(("127.0.0.1", 53))
        assert listening_ports.port_owners({53, 67}) == ()
