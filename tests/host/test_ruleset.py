"""What the walk through the rules says of a packet, and what the kernel does with it."""

import os
import re
import select
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support import rulesets
from support.hosts import Host, host, inside
from support.lan import forwarding, one_queue, raw
from support.rulesets import GUEST, HOST, OUTSIDE, PORT
from support.world import ip, load_rules

from kvmrun.host.firewall import ruleset
from kvmrun.plan.packets.nft_simulator import Packet, journey

pytestmark = pytest.mark.usefixtures("netns")
_HERALD = 0x88B5
IPTABLES = shutil.which("iptables-nft-restore")
_OWN = "table inet kvmrun_ct { chain c { type filter hook prerouting priority 300; ct state new counter; }; }"
"""So that connections are tracked whatever the rules under test ask; the walk passes over tables of ours."""


class Wires:
    """A guest on br0, a host of the world beyond eth9, and this host between them."""

    def __init__(self, guest: Host, world: Host) -> None:
        self.guest, self.world = guest, world
        self.ports = iter(range(20000, 60000))
        self._heard = raw("br0")
        self._ends = {
            "guest": inside(guest.fd, lambda: raw("eth0")),
            "world": inside(world.fd, lambda: raw("eth0")),
            "herald": inside(guest.fd, lambda: raw("eth0")),
        }
        self._server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._server.bind((HOST, PORT))

    def arrives(self, kind: str) -> bool:
        """Whether a packet of this kind gets to where it is sent."""
        source = next(self.ports)
        token = f"<{kind} {source}>".encode()
        getattr(self, f"_{kind}")(source, token)
        for _ in range(2):  # the first overtakes a packet that is sent on
            self._settle(token)
        if kind == "ask":
            return self._has(self._server, token)
        end = self._ends["guest" if kind == "tell" else "world"]
        return self._has(end, source.to_bytes(2, "big") if kind == "syn" else token)

    def _out(self, source: int, token: bytes) -> None:
        self._udp(self.guest, source, OUTSIDE, token)

    def _ask(self, source: int, token: bytes) -> None:
        self._udp(self.guest, source, HOST, token)

    def _tell(self, source: int, token: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as at:
            at.bind((HOST, source))
            try:
                at.sendto(token, (GUEST, PORT))
            except OSError:  # rejected or dropped on the way out
                return

    def _syn(self, source: int, token: bytes) -> None:
        with self.guest.socket() as at:
            at.bind((GUEST, source))
            at.setblocking(False)
            at.connect_ex((OUTSIDE, PORT))
            self._settle(token)

    def _udp(self, at: Host, source: int, target: str, token: bytes, port: int = PORT) -> None:
        with at.socket(socket.SOCK_DGRAM) as one:
            one.bind(("0.0.0.0", source))
            one.sendto(token, (target, port))

    def answered(self, source: int) -> None:
        """A connection that has been answered, while no rules are in the way."""
        self._udp(self.guest, source, OUTSIDE, b"hello")
        self._settle(b"")
        self._udp(self.world, PORT, GUEST, b"hello", source)
        self._settle(b"")
        self._settle(b"")

    def comes_back(self, source: int) -> bool:
        token = f"<back {source}>".encode()
        self._udp(self.world, PORT, GUEST, token, source)
        for _ in range(2):
            self._settle(token)
        return self._has(self._ends["guest"], token)

    def _settle(self, token: bytes) -> None:
        """Wait until all that was sent before has gone through this host."""
        frame = b"\xff" * 6 + b"\x02" + bytes(5) + _HERALD.to_bytes(2, "big") + b"herald" + token + bytes(46)
        self._ends["herald"].send(frame)
        while frame not in self._heard.recv(2048):
            continue

    def _has(self, end: socket.socket, token: bytes) -> bool:
        found = False
        while select.select([end], [], [], 0)[0]:
            frame = end.recv(2048)
            found = found or (token in frame and b"herald" not in frame)
        return found

    def close(self) -> None:
        for one in (self._heard, self._server, *self._ends.values()):
            one.close()


@pytest.fixture
def wires(netns: None) -> Iterator[Wires]:
    ip("link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
    ip("address", "add", f"{HOST}/24", "dev", "br0")
    for name, value in (("ipv4/ip_forward", "1"), ("bridge/bridge-nf-call-iptables", "0")):
        if (path := Path(f"/proc/sys/net/{name}")).exists():
            path.write_text(value)
    with ExitStack() as stack:
        guest = stack.enter_context(host("v1", bridge="br0", address=f"{GUEST}/24"))
        guest("ip", "route", "add", "default", "via", HOST)
        world = stack.enter_context(host("eth9", address=f"{OUTSIDE}/24"))
        ip("address", "add", "203.0.113.1/24", "dev", "eth9")
        world("ip", "route", "add", "192.168.0.0/24", "via", "203.0.113.1")
        forwarding("v1")
        load_rules(_OWN)
        stack.enter_context(one_queue())
        made = Wires(guest, world)
        stack.callback(made.close)
        known(guest, "br0", HOST, GUEST)
        known(world, "eth9", "203.0.113.1", OUTSIDE)
        yield made


def known(one: Host, here: str, address: str, other: str) -> None:
    """Both sides of a wire know each other for good: nobody asks while packets are counted."""
    ip("neigh", "replace", other, "lladdr", one("ip", "-br", "link", "show", "eth0").split()[2], "dev", here)
    mac = Path(f"/sys/class/net/{here}/address").read_text().strip()
    one("ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0")


OUT = Packet(
    iif="br0",
    oif="eth9",
    source=IPv4Address(GUEST),
    target=IPv4Address(OUTSIDE),
    state="new",
    port=PORT,
    protocol="udp",
)
FORWARDED = ("prerouting", "forward", "postrouting")
KINDS = {
    "out": (OUT, FORWARDED),
    "ask": (OUT.replace(oif="", target=IPv4Address(HOST)), ("prerouting", "input")),
    "tell": (
        OUT.replace(iif="", oif="br0", source=IPv4Address(HOST), target=IPv4Address(GUEST)),
        ("output", "postrouting"),
    ),
    "syn": (OUT.replace(protocol="tcp"), FORWARDED),
}


def load(text: str) -> str:
    """The rules that are loaded: without the lines that are refused, as those that contradict themselves."""
    lines = text.splitlines()
    tool = ["iptables-nft-restore"] if text.startswith("*") else ["nft", "-f", "-"]
    while True:
        whole = "\n".join([*lines, ""])
        done = subprocess.run(tool, input=whole, text=True, check=False, capture_output=True)
        if not done.returncode:
            return whole
        found = re.search(r":([0-9]+):[0-9]+-|line:? ([0-9]+)", done.stderr)
        assert found, done.stderr
        assert lines[int(found[1] or found[2]) - 1].startswith(("    ", "-A")), done.stderr
        lines[int(found[1] or found[2]) - 1] = ""


def told(rules: tuple[dict[str, Any], ...], packet: Packet, hooks: tuple[str, ...]) -> str:
    """What the walk says: "passes", "drops" or "unknown"."""
    verdicts = [one.verdict for one in journey(rules, hooks, packet)]
    if {"drop", "reject"} & set(verdicts[: verdicts.index("unknown")] if "unknown" in verdicts else verdicts):
        return "drops"
    return "unknown" if "unknown" in verdicts else "passes"


def agrees(wires: Wires, rules: str) -> tuple[int, int]:
    """How many packets were judged, and of how many it was said that it is not known."""
    judged = unknown = 0
    wires.answered(source := next(wires.ports))
    rules, before = load(rules), ruleset.read_ruleset()
    try:
        for kind, (packet, hooks) in KINDS.items():
            said, came = (
                told(ruleset.read_ruleset() if "@seen" in rules else before, packet, hooks),
                wires.arrives(kind),
            )
            assert said == "unknown" or (said == "passes") == came, (kind, said, came, rules)
            judged, unknown = judged + 1, unknown + (said == "unknown")
        back = OUT.replace(
            iif="eth9", oif="br0", source=OUT.target, target=OUT.source, state="established", port=source
        )
        said, came = told(ruleset.read_ruleset(), back, FORWARDED), wires.comes_back(source)
        assert said == "unknown" or (said == "passes") == came, ("back", said, came, rules)
        judged, unknown = judged + 1, unknown + (said == "unknown")
    finally:
        load_rules(f"flush ruleset; {_OWN}")
    return judged, unknown


@pytest.mark.parametrize("seed", range(int(os.environ.get("SEEDS", "1"))))
@pytest.mark.parametrize(
    ("made", "unsure"),
    [
        (rulesets.ruleset, 20),
        (partial(rulesets.ruleset, unsure=True), 2),
        pytest.param(rulesets.tables, 10, marks=pytest.mark.skipif(not IPTABLES, reason="needs iptables")),
    ],
    ids=["nft", "nft, with what cannot be known", "iptables"],
)
def test_the_walk_and_the_kernel_agree(wires: Wires, made: Callable[[Random], str], unsure: int, seed: int) -> None:
    """`unsure`: one of so many packets at the most may be judged "unknown"."""
    random = Random(seed)
    judged = unknown = 0
    for _ in range(8):
        more = agrees(wires, made(random))
        judged, unknown = judged + more[0], unknown + more[1]
    assert unknown * unsure < judged
