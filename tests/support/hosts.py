"""Other hosts as this process sees them: network namespaces without a name, gone with their last descriptor."""

import ctypes
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from support.world import ip, until

_CLONE_NEWNET = 0x40000000
_LEASE_SCRIPT = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address replace "$ip/$mask" dev "$interface"
ip route replace default via "$router"
printf '%s\\n' "ip=$ip" "mask=$mask" "router=$router" "dns=$dns" "domain=$domain" "search=$search" \
    "hostname=$hostname" "mtu=$mtu" "lease=$lease" "opt19=$opt19"
"""
_libc = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")


@dataclass(frozen=True)
class Host:
    """A host of its own. `link` is this side of the wire to it; the other side is its eth0."""

    fd: int
    link: str

    def __call__(self, *words: str) -> str:
        """Runs a command there; what it printed."""
        there = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.fd}", "--", *words]
        return subprocess.run(there, capture_output=True, text=True, check=True, timeout=30).stdout

    def socket(self, kind: socket.SocketKind = socket.SOCK_STREAM, limit: float = 5.0) -> socket.socket:
        """An IPv4 socket of that host; nothing on it waits longer than `limit` seconds."""
        made = inside(self.fd, lambda: socket.socket(socket.AF_INET, kind))
        made.settimeout(limit)
        return made

    def page(self, address: str, port: int = 80) -> str:
        """What the page at `address` tells this host; "" when it cannot be had."""
        with self.socket() as at:
            return fetch(at, address, port)

    def reaches(self, address: str, port: int = 80) -> bool:
        """Whether there is a page; asked for with little patience, by those who expect none."""
        with self.socket(limit=1.0) as at:
            return fetch(at, address, port) != ""

    def echoes(self, address: str) -> bool:
        """Whether an IPv6 address answers its pings; asked with little patience."""
        with inside(self.fd, lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)) as at:
            at.settimeout(1.0)
            try:
                at.sendto(bytes([128, 0, 0, 0, 7, 7, 0, 1]), (address, 0))
                while at.recvfrom(4096)[1][0] != address:
                    pass
            except OSError:
                return False
        return True

    def join(self, link: str, bridge: str, mac: str, address: str) -> str:
        """Another card, eth1, on the wire `link` in a bridge; the name of the wire."""
        there = f"/proc/{os.getpid()}/fd/{self.fd}"
        ip("link", "add", link, "type", "veth", "peer", "name", "eth1", "netns", there)
        self("ip", "link", "set", "eth1", "address", mac, "up")
        self("ip", "address", "add", address, "dev", "eth1")
        ip("link", "set", link, "up", "master", bridge)
        return link

    def addresses(self, family: str = "-4") -> list[str]:
        """The addresses of its eth0 as "IP/PREFIX", without those the kernel gives by itself."""
        rows = self("ip", "-o", family, "address", "show", "eth0", "scope", "global").splitlines()
        return [row.split()[3] for row in rows if "tentative" not in row]

    def lease(self, *words: str) -> dict[str, str]:
        """Asks DHCP for an address, takes it, and returns what came with it."""
        script = Path(os.environ["KVMRUN_RUN_DIR"]).parent / "lease"
        script.write_text(_LEASE_SCRIPT)
        script.chmod(0o755)
        options = [word for name in ("search", "hostname", "mtu", "19") for word in ("-O", name)]
        out = self("busybox", "udhcpc", "-i", "eth0", "-nqf", "-T1", "-t5", "-s", str(script), *options, *words)
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)


@contextmanager
def host(link: str, *, mac: str = "", bridge: str = "", address: str = "") -> Iterator[Host]:
    """A host at the other end of the wire `link`, which may be plugged into a bridge."""
    with _namespace() as fd:
        there = f"/proc/{os.getpid()}/fd/{fd}"
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", there)
        one = Host(fd, link)
        if mac:
            one("ip", "link", "set", "eth0", "address", mac)
        one("ip", "link", "set", "lo", "up")
        one("ip", "link", "set", "eth0", "up")
        if address:
            one("ip", "address", "add", address, "dev", "eth0")
        Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6").write_text("1")  # it would be long about its addresses
        ip("link", "set", link, "up", *(("master", bridge) if bridge else ()))
        try:
            yield one
        finally:
            with suppress(subprocess.CalledProcessError):
                ip("link", "delete", link)


@contextmanager
def guest_host(number: int = 1, bridge: str = "br0", subnet: str = "192.168.0") -> Iterator[Host]:
    """The far end of a port of a bridge, with the address of a guest and its default route."""
    with host(f"port{number}", bridge=bridge, address=f"{subnet}.{number}/24") as one:
        one("ip", "route", "add", "default", "via", f"{subnet}.254")
        yield one


@contextmanager
def uplink(link: str, number: int, metric: int = 100) -> Iterator[Host]:
    """A way out: 10.NUMBER.0.1 over there, with a page that says who asks; a default route goes through it.

    Behind every one of them is 203.0.113.9, an address of the world beyond.
    """
    with host(link, address=f"10.{number}.0.1/24") as one, served(one):
        ip("address", "add", f"10.{number}.0.2/24", "dev", link)
        ip("route", "add", "default", "via", f"10.{number}.0.1", "metric", f"{metric}")
        one("ip", "address", "add", "203.0.113.9/32", "dev", "lo")
        yield one


@contextmanager
def served(one: Host, port: int = 80) -> Iterator[None]:
    """A page there that says "you are PEER at WIRE"."""
    listener = one.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.settimeout(None)
    listener.bind(("0.0.0.0", port))
    listener.listen()
    thread = threading.Thread(target=_serve, args=(listener, one.link), daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


@contextmanager
def name_server(one: Host, address: str, answer: str, *, everything: bool = False) -> Iterator[None]:
    """A name server there at `address` that knows outside.example, or any name there is, as `answer`."""
    there = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{one.fd}", "--", "dnsmasq", "--keep-in-foreground"]
    plain = ["--conf-file=/dev/null", "--pid-file=", "--user=root", "--no-hosts", "--no-resolv", "--bind-interfaces"]
    known = "#" if everything else "outside.example"
    child = subprocess.Popen([*there, *plain, f"--listen-address={address}", f"--address=/{known}/{answer}"])
    try:
        until(lambda: _answers(one, address))
        yield
    finally:
        child.kill()
        child.wait()


def _answers(one: Host, address: str) -> bool:
    try:
        return bool(ask(address, "outside.example", at=one.socket(socket.SOCK_DGRAM)))
    except OSError:
        return False


def fetch(at: socket.socket, address: str, port: int = 80, path: str = "/") -> str:
    """The text of a page over a socket not connected yet, "" when there is none."""
    try:
        at.connect((address, port))
        at.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while more := at.recv(4096):
            answer += more
    except OSError:
        return ""
    return answer.partition(b"\r\n\r\n")[2].decode().strip()


def ask(server: str, name: str, kind: str = "A", at: socket.socket | None = None) -> list[str]:
    """What the name server says, asked over one UDP packet: addresses or names, [] for nothing."""
    code = {"A": 1, "PTR": 12, "AAAA": 28}[kind]
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", code, 1)
    with at or socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.settimeout(5.0)
        own.connect((server, 53))  # so that nobody listening is told at once
        own.send(question)
        answer = own.recv(4096)
    place, found = len(question), []
    for _ in range(int.from_bytes(answer[6:8])):
        _, place = _name(answer, place)
        got, _, _, size = struct.unpack_from("!HHIH", answer, place)
        data = place + 10
        if got == code:
            found.append(_name(answer, data)[0] if kind == "PTR" else _address(answer[data : data + size]))
        place = data + size
    return found


def reverse(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def inside(fd: int, call: Callable[[], T]) -> T:
    """The result of `call` in the network namespace behind `fd`; the caller's thread stays where it is."""
    found: list[T] = []

    def work() -> None:
        assert not _libc.setns(fd, _CLONE_NEWNET)
        found.append(call())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


@contextmanager
def _namespace() -> Iterator[int]:
    """A descriptor on a network namespace that nobody is in."""
    made: list[int] = []

    def work() -> None:
        assert not _libc.unshare(_CLONE_NEWNET)
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    try:
        yield made[0]
    finally:
        os.close(made[0])


def _serve(listener: socket.socket, name: str) -> None:
    while True:
        try:
            peer, (address, _) = listener.accept()
        except OSError:
            return
        with peer, suppress(OSError):
            peer.settimeout(5.0)
            peer.recv(4096)
            peer.sendall(f"HTTP/1.0 200 OK\r\n\r\nyou are {address} at {name}\n".encode())


def _name(answer: bytes, place: int) -> tuple[str, int]:
    """The name at `place`, and where what follows it begins."""
    labels: list[str] = []
    while size := answer[place]:
        if size >= 0xC0:
            rest, _ = _name(answer, int.from_bytes(answer[place : place + 2]) & 0x3FFF)
            return ".".join([*labels, rest]), place + 2
        labels.append(answer[place + 1 : place + 1 + size].decode())
        place += size + 1
    return ".".join(labels), place + 1


def _address(data: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


@contextmanager
def own_etc(root: Path) -> Iterator[Path]:
    """Needs a mount namespace of the run's own; `root` is an empty place for what is written."""
    for name in ("upper", "work"):
        (root / name).mkdir()
    layers = f"lowerdir=/etc,upperdir={root / 'upper'},workdir={root / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, "/etc"], check=True)
    try:
        yield Path("/etc")
    finally:
        subprocess.run(["umount", "--lazy", "/etc"], check=True)


def name_servers(*addresses: str) -> None:
    """What the host's /etc/resolv.conf says from now on, put there in one move as others do."""
    new = Path("/etc/resolv.conf.new")
    new.write_text("".join(f"nameserver {address}\n" for address in addresses))
    new.chmod(0o644)
    new.rename("/etc/resolv.conf")
