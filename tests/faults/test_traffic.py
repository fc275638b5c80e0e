"""What guests send, at the worst: nobody else is harmed, and the host is as before.

The ports are kept taps of real networks, held as QEMU would hold them; the rules, the bridge and dnsmasq are those that
`net up` makes.
"""

import random
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv6Address
from itertools import permutations
from pathlib import Path

import pytest
from support import frames
from support.builders import TCG, guests
from support.cli import Cli
from support.hosts import host
from support.lan import Card, card, forwarding, one_queue, raw, wired
from support.tally import Tally
from support.world import ip, until, world

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(900)]

OWN, HOST = frames.OWN, "192.168.0.254"
NIC = f'{TCG}[[nic]]\nmac = "{{}}"\naddress = "192.168.0.{{}}"\nguard = "{{}}"\n'


def mac(number: int) -> str:
    return f"52:54:00:00:00:{number:02x}"


@contextmanager
def cards(kvmrun: Cli, lab: Path, many: int = 1, *, guard: str = "mac") -> Iterator[list[Card]]:
    """The cards of guests vm1, vm2, ... on a network that is up, each with its port; the first has the MAC OWN."""
    for number in range(1, many + 1):
        guests(lab, f"vm{number}", text=NIC.format(mac(number), number, guard))
    kvmrun.ok("net", "up", "--owner", "root")
    with one_queue(), ExitStack() as stack:
        yield [stack.enter_context(card(f"tap-vm{number}")) for number in range(1, many + 1)]


def offers(came: list[bytes]) -> list[int]:
    """The numbers of the questions that a DHCP server answered among these frames."""
    served = [one for one in came if one[12:14] == b"\x08\0" and one[23] == 17 and one[34:38] == b"\0\x43\0\x44"]
    return [int.from_bytes(one[46:50]) for one in served]


@pytest.mark.parametrize("guard", ["address", "mac"])
def test_cards_that_are_made_up_cost_no_honest_guest_its_address(
    lab: Path, kvmrun: Cli, tally: Tally, guard: str
) -> None:
    """Nothing is offered to them at all: every guard lets through what a card asks for itself alone."""
    what = "addresses asked for made-up cards: none is given; an honest one has its own in 20 s"
    row = tally.row("F-08", what, 1000)
    guests(lab, "honest")
    with cards(kvmrun, lab, guard=guard) as (one,):
        for number in range(row.count(25)):
            with row.case(f"{guard} {number}"):
                forged = f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}"
                wanted = f"192.168.0.{200 + number // 2 % 20}" if number % 2 else ""
                one.send(frames.ask("0.0.0.0", forged, number=1 << 20 | number, wanted=wanted))
                one.send(frames.ask("0.0.0.0", OWN, number=2 << 20 | number))
                answered = offers(one.until(struct.pack("!I", 2 << 20 | number)))
                assert answered == [2 << 20 | number]
        assert leased(kvmrun) == []
        (nic,) = kvmrun.rows()["honest"]["nics"]
        with row.case(f"{guard}: an honest guest"), host("v1", mac=nic["mac"], bridge="br0") as honest:
            began = time.monotonic()
            assert honest.lease()["ip"] == nic["address"]
            assert time.monotonic() - began < 20


def leased(kvmrun: Cli) -> list[tuple[str, str]]:
    """(MAC, address) of every lease."""
    network = kvmrun.network()
    return [(one["mac"], one["address"]) for one in network["leases"]]


def test_isolated_guests_reach_the_host_and_none_of_the_others(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("F-05", "isolate: each of five guests to each other one, and to the host: only the host hears", 20)
    (lab / "networks.toml").write_text("[network.lan]\nisolate = true\n")
    with cards(kvmrun, lab, 5) as five:
        wired("br0")
        with raw("herald") as herald:
            for turn, (one, other) in enumerate(permutations(range(1, 6), 2)):
                with row.case(f"vm{one} to vm{other}"):
                    sender, target, own = five[one - 1], five[other - 1], (mac(one), f"192.168.0.{one}")
                    for text in to_each_other(one, other):
                        sender.send(text)
                    sender.send(frames.ether(0x0806, frames.arp(1, *own, HOST), own[0]))
                    answer = frames.arp(2, bridge_mac(), HOST, own[1])
                    sender.until(answer[:18] + frames.mac(own[0]) + answer[24:])
                    mark = struct.pack("!I", turn) + b"kvmrun"
                    herald.send(frames.mac(frames.BROADCAST) + b"\x02\0\0\0\0\x09\x88\xb5" + mark + bytes(40))
                    assert [one for one in target.until(mark) if one[6:12] == frames.mac(own[0])] == []


def to_each_other(one: int, other: int) -> list[bytes]:
    """What a guest may send to another: to its card, to everybody, and to a group."""
    packet = frames.ip4(f"192.168.0.{one}", f"192.168.0.{other}", frames.udp(7, 7, b"hello"), 17)
    asked = frames.arp(1, mac(one), f"192.168.0.{one}", f"192.168.0.{other}")
    return [
        frames.ether(0x0800, packet, mac(one), mac(other)),
        frames.ether(0x0800, packet, mac(one)),
        frames.ether(0x0800, packet, mac(one), "01:00:5e:00:00:fb"),
        frames.ether(0x0806, asked, mac(one)),
        frames.ether(0x0806, asked, mac(one), mac(other)),
    ]


def bridge_mac() -> str:
    return Path("/sys/class/net/br0/address").read_text().strip()


def test_a_port_that_sends_from_every_mac_fills_no_table(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("F-06", "frames from so many MACs at one port: the bridge learns the guest's own alone", 100_000)
    with cards(kvmrun, lab) as (one,):
        for number in range(row.count(2000)):
            row.cases += 1
            source = f"02:{number & 255:02x}:00:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}"
            kind, body = KINDS[number % len(KINDS)]
            one.send(frames.ether(kind, body, source))
            if number % 1000 == 0:
                row.failures += sorted({*learnt()} - {OWN})
        one.send(frames.HONEST["ARP request"])
        assert until(lambda: OWN in learnt())
        row.failures += sorted({*learnt()} - {OWN})
        ip("link", "add", "plain", "type", "veth", "peer", "name", "other")  # and without a guard it would have
        for end in ("plain", "other"):
            ip("link", "set", end, "up", *(("master", "br0") if end == "other" else ()))
        forwarding("other")
        with raw("plain") as sender:
            sender.send(frames.ether(*KINDS[0], "02:00:00:00:00:77"))
            assert until(lambda: "02:00:00:00:00:77" in learnt())


KINDS = [
    (0x0800, frames.ip4(frames.OWN_IP, HOST, b"\x08\0\xf7\xff\0\0\0\0")),
    (0x0806, frames.arp(1, OWN, frames.OWN_IP, HOST)),
    (0x86DD, frames.ip6(frames.OWN_LINK6, frames.ALL6, frames.icmp6(128, bytes(8)))),
    (0x88B5, bytes(46)),
]


def learnt() -> dict[str, int]:
    """The MACs that br0 has learnt from frames, and the number of the port each is at."""
    table = Path("/sys/class/net/br0/brforward").read_bytes()
    entries = [table[start : start + 16] for start in range(0, len(table), 16)]
    return {one[:6].hex(":"): one[6] for one in entries if not one[7]}


class TestSwitching:
    """A guest that acts as a switch, as a router, or as a wire between two ports: nothing of the host changes."""

    @pytest.fixture
    def two(self, lab: Path, kvmrun: Cli) -> Iterator[list[Card]]:
        """Two ports of a network with IPv6, whose host would follow a router if it heard one."""
        (lab / "networks.toml").write_text(f'[network.lan]\nipv6 = "{frames.PREFIX}"\n')
        with cards(kvmrun, lab, 2) as two:
            wired("br0")
            Path("/proc/sys/net/ipv6/conf/br0/accept_ra").write_text("2")
            until(lambda: "tentative" not in f"{world()['addresses']}")
            yield two

    def test_of_its_bpdus_and_adverts_the_host_knows_nothing(self, two: list[Card], tally: Tally) -> None:
        row = tally.row("F-07", WHAT, 20)
        before = state()
        for turn in range(row.count(4) // 2):
            for kind, frame in {"BPDU": bpdu(turn), "RA": advert(turn)}.items():
                with row.case(f"{kind} {turn}"):
                    two[0].send(frame)
                    settled(two)
                    assert state() == before
        with raw("herald") as herald:  # what is not guarded is followed: it was no empty word
            herald.send(advert(1))
            assert until(lambda: state() != before)

    def test_between_two_ports_no_frame_goes_round(self, two: list[Card], tally: Tally) -> None:
        row = tally.row("F-07", WHAT, 10)
        before, wire = state(), int(Path("/sys/class/net/heard/brport/port_no").read_text(), 16)
        with raw("herald") as sender, raw("br0") as heard:
            for turn in range(row.count(2)):
                with row.case(f"loop {turn}"):
                    mark = b"kvmrun" + struct.pack("!I", turn)
                    sender.send(frames.ether(0x88B5, mark + bytes(40), "02:00:00:00:00:09"))
                    sender.send(frames.ether(0x0806, frames.arp(1, mac(9), "192.168.0.9", HOST) + mark, mac(9)))
                    sender.send(frames.ether(0x0800, frames.ip4("192.168.0.9", HOST, mark), mac(9)))
                    settled(two)
                    sender.send(frames.ether(0x88B5, b"the end" + mark + bytes(30), mac(9)))
                    came = []
                    while not came or b"the end" + mark not in came[-1]:
                        came.append(heard.recv(1 << 16))
                    assert sum(mark in one for one in came) == 4
                    assert (state(), learnt()[mac(9)]) == (before, wire)


WHAT = "BPDUs, a router's adverts, and a loop of a guest's two ports: bridge and routes of the host stay as they were"


def settled(two: list[Card]) -> None:
    """Everything that comes to one of the two is sent from the other, until nothing more comes."""
    while ready := [one for one in two if one.waits(0.05)]:
        for one in ready:
            two[1 - two.index(one)].send(one.receive())


def state() -> tuple[object, ...]:
    """What the host's bridge and routing know."""
    now = world()
    bridge = Path("/sys/class/net/br0/bridge")
    names = ("root_id", "bridge_id", "root_port", "stp_state", "topology_change", "topology_change_detected")
    ports = [path.read_text() for path in sorted(Path("/sys/class/net").glob("*/brport/state"))]
    return [(bridge / name).read_text() for name in names], ports, now["routes"], now["addresses"], now["rules"]


def bpdu(turn: int) -> bytes:
    """A configuration message of a bridge that would be the root of all, or says that the tree has changed."""
    root = struct.pack("!H", turn) + frames.mac("02:00:00:00:00:01")
    body = struct.pack("!HBBB", 0, 0, 0, turn % 2) + root + bytes(4) + root + b"\x80\x01" + bytes(8)
    return frames.llc(b"\x42\x42\x03" + (b"\0\0\0\x80" if turn % 3 == 2 else body), "01:80:c2:00:00:00")


def advert(turn: int) -> bytes:
    """A router's advertisement, whole and right: a way out, and a prefix to make addresses of."""
    prefix = IPv6Address(f"2001:db8:{turn}::").packed
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + prefix
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    packet = frames.ip6(frames.OWN_LINK6, frames.ALL6, body + option)
    pseudo = packet[8:40] + struct.pack("!II", len(packet) - 40, 58)
    checked = packet[:42] + struct.pack("!H", frames.sum16(pseudo + packet[40:])) + packet[44:]
    return frames.ether(0x86DD, checked, target=frames.ALL_MAC6)


def test_the_bridge_keeps_its_mac_whatever_comes_and_goes(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("F-09", "ports of lower and higher MACs come and go in any order: the bridge's MAC stays", 100)
    guests(lab, "vm1")
    kvmrun.ok("net", "up")
    right, chance = bridge_mac(), random.Random(9)
    ip("link", "add", "bare", "type", "bridge")
    for number in range(6):
        ip("link", "add", f"p{number}", "address", LOW[number], "type", "veth", "peer", "name", f"q{number}")
    seen = set()
    for turn in range(row.count(10)):
        with row.case(turn):
            if turn % 10 == 9:
                kvmrun.ok(*chance.choice([("vm1",), ("kill", "vm1"), ("net", "up"), ("net", "restart")]))
            name, plugged = f"p{chance.randrange(6)}", chance.random() < 0.6
            for port, to in ((name, "br0"), (f"q{name[1]}", "bare")):
                ip("link", "set", port, *(("master", to) if plugged else ("nomaster",)))
            assert bridge_mac() == right
            seen.add(Path("/sys/class/net/bare/address").read_text())
    assert len(seen) > 1  # one that has no address of its own has changed
    kvmrun.ok("kill", "vm1")
    for number in range(6):
        ip("link", "delete", f"p{number}")
    for words in (("net", "down"), ("net", "up")):
        kvmrun.ok(*words)
    row.cases += 1
    assert bridge_mac() == right


LOW = ["00:00:00:00:00:01", "02:00:00:00:00:01", "00:00:01:00:00:01", "fe:ff:ff:ff:ff:01", "ee:00:00:00:00:01", mac(3)]
