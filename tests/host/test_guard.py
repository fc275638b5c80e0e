"""The guard with frames: sent from a guest's own namespace, seen or not at the bridge and at another port.

The rules are those of plan.guard for a tap; here the device is the host's end of a veth.
"""

import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import pytest
from fakes import frames
from fakes.frames import (
    ADDRESS_HOSTILE6,
    BRIDGE_DROPS,
    HONEST,
    HONEST6,
    HOSTILE,
    HOSTILE6,
    MAC_PASSES,
    MORE_HOSTILE,
    OWN,
    OWN_IP,
)
from fakes.hosts import host, inside
from fakes.lan import Lan, one_queue, quiet, raw, wired
from fakes.world import ip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmrun.model.nic import Port
from kvmrun.plan import guard

pytestmark = pytest.mark.usefixtures("netns")

PORT = Port(name="eth0", network="lan", bridge="br0", tap="port1", mac=OWN, address=OWN_IP)
MAC, ADDRESS = PORT.but(guard="mac"), PORT.but(guard="address")
ADDRESS6 = ADDRESS.but(prefix6=frames.PREFIX, hosts6=(frames.HOST6, frames.BRIDGE_LINK6))
TABLE = guard.table("vm1")


@pytest.fixture
def lan(netns: None) -> Iterator[Lan]:
    ip("link", "add", "br0", "address", frames.BRIDGE, "type", "bridge")
    quiet("br0")
    ip("link", "set", "br0", "up")
    wired("br0")
    with (
        one_queue(),
        host("port1", bridge="br0", mac=OWN) as guest,
        host("port2", bridge="br0", mac=frames.VICTIM) as other,
    ):
        for one in (guest, other):
            one("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
        with inside(guest.fd, lambda: raw("eth0")) as sender, closing(Lan(sender.send, other)) as made:
            yield made


def load(rules: list[str], port: Port) -> None:
    text = guard.text(TABLE, {"from_eth0": port})
    for rule in guard.rules(port):
        text = text.replace(f"    {rule}\n", "", 1)
    chain = "    policy drop;\n"
    text = text.replace(chain, chain + "".join(f"    {rule}\n" for rule in rules))
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def guarded(port: Port) -> None:
    load(list(guard.rules(port)), port)


ALL = HONEST | HOSTILE | MORE_HOSTILE | HONEST6 | HOSTILE6 | ADDRESS_HOSTILE6
MAC_ALL = {*HONEST, *HONEST6, *MAC_PASSES, *ADDRESS_HOSTILE6}
WANTED = {
    "mac": (
        MAC,
        MAC_ALL | {"ARP null sender reply", "DHCP renew for another card in two fragments"},
    ),
    "address": (ADDRESS, set(HONEST)),
    "address with IPv6": (ADDRESS6, {*HONEST, *HONEST6}),
    "address of a router": (
        ADDRESS6.but(forwarding=True),
        {*HONEST, *HONEST6, "echo from elsewhere", "echo from nowhere"}
        | {f"IPv4 from {source}" for source in ("the victim", "the gateway", "null", "loopback")},
    ),
}


def test_without_a_guard_a_guest_may_pass_for_anybody(lan: Lan) -> None:
    assert len(HOSTILE) == 29
    assert lan.passing(HONEST | HOSTILE) == {*HONEST, *HOSTILE} - BRIDGE_DROPS


def test_none_of_29_hostile_frames_passes_and_five_of_five_honest_do(lan: Lan) -> None:
    guarded(ADDRESS)
    assert lan.passing(HOSTILE) == set()
    assert lan.passing(HONEST) == set(HONEST)


@pytest.mark.parametrize("kind", WANTED)
def test_a_guard_lets_through_what_it_should_and_nothing_else(lan: Lan, kind: str) -> None:
    port, wanted = WANTED[kind]
    guarded(port)
    assert lan.passing(ALL) == wanted


@pytest.mark.parametrize("kind", WANTED)
def test_no_rule_is_there_for_nothing(lan: Lan, kind: str) -> None:
    """Each rule left out, turned around or out of its order changes what comes through."""
    port, wanted = WANTED[kind]
    for what, rules in mutants(list(guard.rules(port))):
        load(rules, port)
        assert lan.passing(ALL) != wanted, what


def mutants(rules: list[str]) -> Iterator[tuple[str, list[str]]]:
    for number, rule in enumerate(rules):
        condition, _, verdict = rule.rpartition(" ")
        rest = [*rules[:number], *rules[number + 1 :]]
        yield f"without: {rule}", rest
        turned = {"drop": "accept", "accept": "drop"}[verdict]
        yield f"turned: {rule}", [*rules[:number], f"{condition} {turned}", *rules[number + 1 :]]
        if verdict == "drop":
            yield f"at the end: {rule}", [*rest, rule]
    for number, (one, other) in enumerate(pairwise(rules)):
        same = one.split()[:3] == other.split()[:3]  # of different protocols, the order does not matter
        if same and one.split()[-1] != other.split()[-1]:
            yield f"swapped: {one}", [*rules[:number], other, one, *rules[number + 2 :]]


MACS = st.sampled_from([OWN, frames.VICTIM, frames.BRIDGE, frames.BROADCAST]).map(frames.mac)
IPS = st.sampled_from([OWN_IP, frames.VICTIM_IP, frames.GATEWAY_IP, frames.NULL_IP, "127.0.0.1"])
KINDS = st.sampled_from([0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x8035, 0x0026]) | st.integers(0, 0xFFFF)
CUTS = st.none() | st.tuples(st.integers(0, 80), st.binary(min_size=1, max_size=4))


@st.composite
def anything(draw: st.DrawFn) -> bytes:
    """A frame of a known kind with other addresses or some bytes changed, or of no kind at all."""
    if draw(st.booleans()):
        source, kind = draw(MACS), draw(KINDS)
        sender = frames.ip(draw(IPS))
        ip4 = struct.pack("!BBHHHBBH", 0x45, 0, 60, 1, 0, 9, draw(st.sampled_from([1, 6, 17])), 0) + sender
        body = draw(st.sampled_from([ip4, frames.arp(1, OWN, OWN_IP, OWN_IP)[:14] + sender])) + draw(st.binary())
        return frames.mac(frames.BROADCAST) + source + struct.pack("!H", kind) + body
    frame = bytearray(draw(st.sampled_from(sorted(ALL.values()))))
    if cut := draw(CUTS):
        place, new = cut
        frame[6 + place : 6 + place + len(new)] = new
    return bytes(frame)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(anything())
def _try(lan: Lan, frame: bytes) -> None:
    if len(frame) >= 14 and lan.passes(frame):
        assert true(frame), frame.hex()


def test_of_any_frames_only_those_with_the_guests_own_addresses_pass(lan: Lan) -> None:
    guarded(ADDRESS)
    _try(lan)


def true(frame: bytes) -> bool:
    """Whether a frame says nothing but the truth of where it comes from."""
    own, own_ip, null = frames.mac(OWN), frames.ip(OWN_IP), bytes(4)
    if frame[6:12] != own:
        return False
    if frame[12:14] == b"\x08\x06":
        return len(frame) >= 42 and frame[22:28] == own and frame[28:32] in {own_ip, null}
    if frame[12:14] != b"\x08\0":
        return False
    payload = frame[14 + (frame[14] & 15) * 4 :]
    port = payload[2:4] if frame[23] == 17 and not (frame[20] & 0x1F or frame[21]) else b""
    if frame[26:30] == null or port == b"\0\x43":
        return port == b"\0\x43" and frame[26:30] in {null, own_ip} and payload[36:42] == own
    return frame[26:30] == own_ip and port != b"\0\x44"
