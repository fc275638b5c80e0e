"""Who reaches whom: guests, the host they are on, the networks beyond it, and strangers there."""

import errno
import select
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli
from support.hosts import Host, host, inside, served, uplink
from support.lan import forwarding
from support.tally import Tally

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(900)]

BRIDGE, LAN, METADATA, GUEST = "192.168.0.254", "10.1.0.1", "169.254.169.254", "192.168.0.1"
WIRE = '[uplink.wire]\ninterface = "wan2"\ngateway = "10.2.0.1"'


@pytest.fixture
def lan(netns: None) -> Iterator[Host]:
    """A host on a LAN, which knows the way to guests and has the address of a cloud's metadata; a second LAN."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")  # a new namespace inherits what the machine has
    with uplink("wan1", 1) as one, uplink("wan2", 2, metric=200):
        one("ip", "route", "add", "192.168.0.0/24", "via", "10.1.0.2")
        one("ip", "address", "add", f"{METADATA}/32", "dev", "lo")
        yield one


@contextmanager
def guest() -> Iterator[Host]:
    """The far end of a port of br0, with a guest's address and a page."""
    with host("v1", bridge="br0", address=f"{GUEST}/24") as one, served(one):
        one("ip", "route", "add", "default", "via", BRIDGE)
        forwarding("v1")
        yield one


KINDS = {
    "private": ("", "out"),
    "open": ('policy = "open"', "in out"),
    "isolated": ("isolate = true", "out"),
    "by another uplink": (f'nat = ["wire"]\n{WIRE}', ""),
    "without nat": ("nat = false", ""),
}
"""What a network says of itself, and where flows may begin between its guests and the LAN: "in", "out"."""


def test_between_the_lan_and_guests_passes_what_the_network_says(
    lab: Path, kvmrun: Cli, lan: Host, tally: Tally
) -> None:
    what = "LAN to guests, guests to the LAN and to a metadata address beyond it: as each kind of network says"
    row = tally.row("F-11", what, 12)
    guests(lab, "vm1")
    for kind in list(KINDS)[: None if row.full else 2]:
        text, passes = KINDS[kind]
        (lab / "networks.toml").write_text(f"[network.lan]\n{text}\n")
        kvmrun.ok("net", "up")
        with guest() as one:
            with row.case(f"{kind}: from the LAN"):
                assert lan.page(GUEST) if "in" in passes else not lan.reaches(GUEST)
            for where in (LAN, METADATA):
                with row.case(f"{kind}: to {where}"):
                    assert one.page(where) if "out" in passes else not one.reaches(where)
        kvmrun.ok("net", "down")


def test_the_lan_gets_no_answer_of_our_name_server(lab: Path, kvmrun: Cli, lan: Host, tally: Tally) -> None:
    row = tally.row("F-12", "the LAN asks our name server, at the host's address and the bridge's: no answer", 4)
    guests(lab, "vm1")
    kvmrun.ok("net", "up")
    with guest() as one:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            assert asked(one, BRIDGE, kind, limit=20)
            for where in ("10.1.0.2", BRIDGE):
                with row.case(f"{kind.name} at {where}"):
                    assert not asked(lan, where, kind, limit=1)


def asked(one: Host, server: str, kind: socket.SocketKind, limit: float) -> bytes:
    """What a name server there says about vm1; b"" for nothing."""
    question = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + b"\3vm1\0" + struct.pack("!2H", 1, 1)
    with one.socket(kind, limit) as at:
        try:
            at.connect((server, 53))
            at.send(question if kind == socket.SOCK_DGRAM else struct.pack("!H", len(question)) + question)
            return at.recv(4096)
        except OSError:
            return b""


def test_a_guest_that_tries_every_port_of_the_host_finds_names_and_addresses(
    lab: Path, kvmrun: Cli, tally: Tally
) -> None:
    """Beside those two services only what the host itself offers on every address, and nothing that is for itself."""
    row = tally.row("F-10", "a guest tries the ports of the host: 53, 67 and what the host offers to everybody", 66_535)
    guests(lab, "vm1")
    kvmrun.ok("net", "up")
    for name, value in {"icmp_ratelimit": "0", "icmp_msgs_per_sec": "100000", "icmp_msgs_burst": "100000"}.items():
        path = Path(f"/proc/sys/net/ipv4/{name}")
        if path.exists():  # older kernels have but one for all, which is not here
            path.write_text(value)
    tcp = range(1, 65_536) if row.full else [*range(1, 500), 4444, 4445]
    udp = [*range(1, 999), 4444, 4445] if row.full else [*range(40, 80), 4444, 4445]
    with guest() as one, ExitStack() as stack:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for where, port in (("0.0.0.0", 4444), ("127.0.0.1", 4445)):
                at = stack.enter_context(socket.socket(socket.AF_INET, kind))
                at.bind((where, port))
                if kind == socket.SOCK_STREAM:
                    at.listen(100)
        for kind, ports, wanted in ((socket.SOCK_STREAM, tcp, {53, 4444}), (socket.SOCK_DGRAM, udp, {53, 67, 4444})):
            row.cases += len(ports)
            found = open_ports(one, kind, ports)
            row.failures += [f"{kind.name}: {sorted(found)}"] * (found != wanted)


def open_ports(one: Host, kind: socket.SocketKind, ports: Iterable[int]) -> set[int]:
    """The ports of the host of which a guest is not told, in three tries, that nobody is there."""
    size = 200 if kind == socket.SOCK_STREAM else 40  # older kernels say so of 50 at a time
    for _ in range(3):
        every = sorted(ports)
        some = [every[start : start + size] for start in range(0, len(every), size)]
        ports = inside(one.fd, lambda some=some: {port for few in some for port in _open(kind, few)})
    return set(ports)


def _open(kind: socket.SocketKind, ports: list[int]) -> set[int]:
    with ExitStack() as stack, closing(select.epoll()) as poll:
        tried = {}
        for port in ports:
            at = stack.enter_context(socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK))
            tried[at.fileno()] = (port, at)
            poll.register(at, select.EPOLLOUT if kind == socket.SOCK_STREAM else select.EPOLLIN)
            if at.connect_ex((BRIDGE, port)) == errno.ECONNREFUSED:
                del tried[at.fileno()]
            elif kind == socket.SOCK_DGRAM:
                at.send(b"hello")
        found = set()
        while tried and (ready := poll.poll(0.7)):
            for fd, _ in ready:
                port, at = tried.pop(fd)
                poll.unregister(fd)
                if at.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != errno.ECONNREFUSED:
                    found.add(port)
        return found | {port for port, _ in tried.values()}
