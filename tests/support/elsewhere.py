"""Other hosts: network namespaces of their own, wired to the test's."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from support.world import ip

_SERVER = """
import socket, sys
at = socket.create_server(("0.0.0.0", int(sys.argv[1])), reuse_port=True)
print("up", flush=True)
while True:
    peer, (address, port) = at.accept()
    peer.sendall(f"{sys.argv[2]} to {address}".encode())
    peer.close()
"""
_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as at:
    at.settimeout(3)
    print(at.recv(200).decode())
"""
_ASK = """
import socket, sys
labels = b"".join(bytes([len(one)]) + one.encode() for one in sys.argv[1].split("."))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as at:
    at.settimeout(3)
    at.sendto(b"\\1\\2\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + labels + b"\\0\\0\\1\\0\\1", (sys.argv[2], 53))
    print(socket.inet_ntoa(at.recv(512)[-4:]))
"""
_DISCOVER = """
import socket
mac = bytes.fromhex(open("/sys/class/net/eth0/address").read().replace(":", ""))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as at:
    at.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    at.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    at.bind(("0.0.0.0", 68))
    at.settimeout(8)
    head = b"\\1\\1\\6\\0" + b"wxyz" + b"\\0\\0\\x80\\0" + bytes(16) + mac.ljust(16, b"\\0") + bytes(192)
    at.sendto(head + bytes.fromhex("63825363 350101 ff"), ("255.255.255.255", 67))
    print(socket.inet_ntoa(at.recv(1500)[16:20]))
"""


class Elsewhere:
    """A host of its own for as long as its process lives."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._children = [subprocess.Popen(["unshare", "-n", "sleep", "600"])]
        self.pid = self._children[0].pid
        while self("readlink", "/proc/self/ns/net") == here():
            time.sleep(0.005)
        self("ip", "link", "set", "lo", "up")

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return (done.stdout + done.stderr).strip()

    def plugged(self, bridge: str, *addresses: str, via: str = "") -> None:
        """Plug a wire into a bridge of the test's namespace, and call its far end eth0."""
        self.wired(f"p-{self.name}", *addresses, via=via)
        ip("link", "set", f"p-{self.name}", "master", bridge)

    def wired(self, link: str, *addresses: str, via: str = "") -> None:
        """A wire from `link` here to eth0 there."""
        ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        ip("link", "set", link, "up")
        self("ip", "link", "set", "eth0", "up")
        for address in addresses:
            self("ip", "address", "add", address, "dev", "eth0")
        if via:
            self("ip", "route", "add", "default", "via", via)

    def serves(self, port: int) -> None:
        """Whoever connects is told our name, and which address they came from."""
        words = [sys.executable, "-c", _SERVER, str(port), self.name]
        child = subprocess.Popen(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert child.stdout
        assert child.stdout.readline() == b"up\n"
        child.stdout.close()
        self._children.append(child)

    def hears(self, address: str, port: int) -> str:
        """What a server at `address` says to us; the last line of the error when it cannot be reached."""
        return self(sys.executable, "-c", _CLIENT, address, str(port)).rpartition("\n")[2]

    def asks(self, name: str, server: str) -> str:
        """The address the name server gives for `name`."""
        return self(sys.executable, "-c", _ASK, name, server).rpartition("\n")[2]

    def is_offered(self) -> str:
        """The address a DHCP server offers to our eth0."""
        self("ip", "route", "add", "255.255.255.255", "dev", "eth0")
        inside = f"mount -t sysfs sysfs /sys && exec {sys.executable} -c '{_DISCOVER}'"
        return self("unshare", "-m", "sh", "-c", inside).rpartition("\n")[2]

    def close(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()


def here() -> str:
    return subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def elsewhere(*names: str) -> Iterator[list[Elsewhere]]:
    found = [Elsewhere(name) for name in names]
    try:
        yield found
    finally:
        for one in found:
            one.close()
