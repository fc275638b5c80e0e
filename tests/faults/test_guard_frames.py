"""The guard with frames: sent from a guest's own namespace, seen or not at the bridge and at another port.

Every frame of a matrix, any number of random ones, and every rule taken away, turned around or put elsewhere. The
rules are those of plan.guard for a tap; here the device is the host's end of a veth.
"""

import random
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations

import pytest
from support import frames
from support.builders import PORT
from support.frames import (
    ADDRESS_HOSTILE6,
    BRIDGE_DROPS,
    HONEST,
    HONEST6,
    HOSTILE,
    HOSTILE6,
    MAC_PASSES,
    MISDIRECTED,
    MORE_HOSTILE,
    OWN,
    OWN_IP,
    ROUTED,
    ROUTED6,
    SERVING,
)
from support.hosts import host, inside
from support.lan import Lan, forwarding, one_queue, quiet, raw, wired
from support.tally import Tally
from support.world import ip, load_rules

from kvmrun.model.guest.nic import Port
from kvmrun.plan.network import nft_guard

pytestmark = pytest.mark.usefixtures("netns")

CARD = PORT.replace(tap="port1", mac=OWN, address=OWN_IP, subnet="192.168.0.0/24", bridge_mac=frames.BRIDGE)
MAC, ADDRESS = CARD.replace(guard="mac"), CARD.replace(guard="address")
IPV6: dict[str, object] = {"prefix6": frames.PREFIX, "hosts6": (frames.HOST6, frames.BRIDGE_LINK6)}
MAC6, ADDRESS6 = MAC.replace(**IPV6), ADDRESS.replace(**IPV6)
SERVES = ("dhcp", "ra")


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
        ip("link", "set", "port1", "address", frames.OWN_TAP)
        forwarding("port1", "port2")
        for one in (guest, other):
            one("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
        with inside(guest.fd, lambda: raw("eth0")) as sender, closing(Lan(sender.send, other, "port1")) as made:
            yield made


def load(rules: list[str], port: Port) -> None:
    text = nft_guard.guard_text(nft_guard.TABLE, {"from_vm1_eth0": port})
    for rule in nft_guard.guard_rules(port):
        text = text.replace(f"    {rule}\n", "", 1)
    chain = "    policy drop;\n"
    text = text.replace(chain, chain + "".join(f"    {rule}\n" for rule in rules))
    load_rules(f"flush ruleset\n{text}")


def guarded(port: Port) -> None:
    load(list(nft_guard.guard_rules(port)), port)


ALL = (
    HONEST | HOSTILE | MORE_HOSTILE | HONEST6 | HOSTILE6 | ADDRESS_HOSTILE6 | ROUTED | ROUTED6 | MISDIRECTED
    | {"DHCP relay": SERVING["DHCP relay"]}
)  # fmt: skip
MAC_ALL = {*HONEST, *HONEST6, *MAC_PASSES, *ADDRESS_HOSTILE6, "ARP null sender reply"}
ROUTES = {*ROUTED, *ROUTED6} - {"DHCP server from the world to the host"}
ADVERTS = {"router advertisement", "IPv6 router advertisement", "router advertisement behind options"}
SERVED = {*SERVING, *ADVERTS}
AS_THE_HOST = {"IPv6 neighbour advertisement", "router advertisement as the host"}
WANTED = {
    "mac": (MAC, MAC_ALL | {*ROUTED6}),
    "mac with IPv6": (MAC6, MAC_ALL),
    "mac of a router": (MAC6.replace(forwarding=True), MAC_ALL | ROUTES),
    "mac of a server": (MAC6.replace(serves=SERVES), MAC_ALL | SERVED | AS_THE_HOST),
    "address of a server": (ADDRESS6.replace(serves=SERVES), {*HONEST, *HONEST6, *SERVED}),
    "address of a DHCP server": (ADDRESS.replace(serves=("dhcp",)), {*HONEST, "DHCP server", "DHCP relay"}),
    "address": (ADDRESS, set(HONEST)),
    "address with IPv6": (ADDRESS6, {*HONEST, *HONEST6}),
    "address of a router": (
        ADDRESS6.replace(forwarding=True),
        {*HONEST, *HONEST6, "echo from elsewhere", "echo from nowhere"}
        | {f"IPv4 from {source}" for source in ("the victim", "the gateway", "null", "loopback")}
        | (ROUTES - {"DHCP from the world to the host"}),
    ),
}


def test_without_a_guard_a_guest_may_pass_for_anybody(lan: Lan) -> None:
    assert len(HOSTILE) == 29
    assert lan.passing(HONEST | HOSTILE) == {*HONEST, *HOSTILE} - BRIDGE_DROPS
    unseen = {name for name in MISDIRECTED if "the victim's tap" in name or "group 1" in name}  # a pause frame
    assert lan.passing(MISDIRECTED) >= {*MISDIRECTED} - unseen


def test_none_of_29_hostile_frames_passes_and_five_of_five_honest_do(lan: Lan) -> None:
    guarded(ADDRESS)
    assert lan.passing(HOSTILE) == set()
    assert lan.passing(HONEST) == set(HONEST)


@pytest.mark.parametrize("kind", WANTED)
def test_a_guard_lets_through_what_it_should_and_nothing_else(lan: Lan, kind: str, tally: Tally) -> None:
    """Fresh, loaded anew over itself, and after somebody flushed it."""
    row = tally.row("F-01", "the frame matrix through each guard, fresh, loaded anew and after a flush", 34 * 3)
    port, wanted = WANTED[kind]
    for turn in ("fresh", "loaded anew", "after a flush"):
        if turn == "after a flush":
            subprocess.run(["nft", "flush", "ruleset"], check=True)
        guarded(port)
        for name, frame in ALL.items():
            with row.case(f"{kind}, {turn}: {name}"):
                assert lan.passes(frame) == (name in wanted)


@pytest.mark.parametrize("kind", WANTED)
def test_a_client_speaks_to_dhcp_about_its_own_card_alone(lan: Lan, kind: str, tally: Tally) -> None:
    """Every message type, of every card: what a guest says about another's would cost that guest its address."""
    row = tally.row("F-31", "DHCP messages of every type about every card, through each guard", 144)
    port, _ = WANTED[kind]
    guarded(port)
    for (card, message), frame in frames.DHCP.items():
        with row.case(f"{kind}: {message}, card: {card}"):
            assert lan.passes(frame) == (card == "its own")


@pytest.mark.parametrize("kind", WANTED)
@pytest.mark.timeout(900)
def test_no_rule_is_there_for_nothing(lan: Lan, kind: str, tally: Tally) -> None:
    """Each rule left out, turned around or exchanged with another changes what comes through."""
    row = tally.row("F-03", "rules left out, turned around, exchanged: each changes what comes through", 20)
    port, wanted = WANTED[kind]
    every = list(mutants(list(nft_guard.guard_rules(port))))
    for what, rules in every if tally.full else random.Random(kind).sample(every, min(12, len(every))):
        with row.case(f"{kind}: {what}"):
            load(rules, port)
            assert any(lan.passes(ALL[name]) != (name in wanted) for name in _telling(wanted))


def _telling(wanted: set[str]) -> list[str]:
    """All the frames, those first that tell most mutants from what they were."""
    return sorted(ALL, key=lambda name: (name not in wanted, name not in HOSTILE))


def mutants(rules: list[str]) -> Iterator[tuple[str, list[str]]]:
    for number, rule in enumerate(rules):
        condition, _, verdict = rule.rpartition(" ")
        rest = [*rules[:number], *rules[number + 1 :]]
        yield f"without: {rule}", rest
        turned = {"drop": "accept", "accept": "drop"}[verdict]
        yield f"turned: {rule}", [*rules[:number], f"{condition} {turned}", *rules[number + 1 :]]
    for one, other in combinations(range(len(rules)), 2):
        if not _same(rules, one, other):
            swapped = list(rules)
            swapped[one], swapped[other] = rules[other], rules[one]
            yield f"exchanged: {rules[one]} / {rules[other]}", swapped


def _same(rules: list[str], one: int, other: int) -> bool:
    """Whether exchanging two rules cannot matter: each passes only rules that it commutes with.

    Two rules commute when they say the same of what they match, or match frames of different protocols only; this is
    the whole argument for each mutant that is left out.
    """
    between = range(one + 1, other)
    pairs = [(one, other), *((one, number) for number in between), *((number, other) for number in between)]
    return all(_commute(rules[left], rules[right]) for left, right in pairs)


def _commute(one: str, other: str) -> bool:
    both = (one, other)
    if any("ip6 saddr :: icmpv6" in rule for rule in both) and all("ether type ip6" in rule for rule in both):
        # what is accepted from :: is a solicitation or a report: every drop of IPv6 is about another ICMPv6 type,
        # UDP, or another source, so that no frame meets both
        return True
    kinds = [rule.split()[2] if rule.startswith("ether type") else "" for rule in (one, other)]
    return one.rsplit(maxsplit=1)[-1] == other.rsplit(maxsplit=1)[-1] or ("" not in kinds and kinds[0] != kinds[1])


def anything(chance: random.Random) -> bytes:
    """A frame of a known kind with other addresses or some bytes changed, or of no kind at all."""
    if chance.random() < 0.5:
        source = frames.mac(chance.choice([OWN, OWN, frames.VICTIM, frames.BRIDGE, frames.BROADCAST]))
        kind = chance.choice([0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x8035, 0x0026, chance.randrange(0x10000)])
        sender = frames.ip(chance.choice([OWN_IP, frames.VICTIM_IP, frames.GATEWAY_IP, frames.NULL_IP, "127.0.0.1"]))
        ip4 = struct.pack("!BBHHHBBH", 0x45, 0, 60, 1, 0, 9, chance.choice([1, 6, 17]), 0) + sender
        body = chance.choice([ip4, frames.arp(1, OWN, OWN_IP, OWN_IP)[:14] + sender])
        return (
            frames.mac(frames.BROADCAST) + source + struct.pack("!H", kind) + body
            + chance.randbytes(chance.randrange(80))
        )  # fmt: skip
    frame = bytearray(chance.choice(EVERY))
    for _ in range(chance.randrange(3)):
        place = 6 + chance.randrange(80)
        frame[place : place + chance.randint(1, 4)] = chance.randbytes(chance.randint(1, 4))
    return bytes(frame[: chance.randrange(14, len(frame))] if chance.random() < 0.1 else frame)


EVERY = [ALL[name] for name in sorted(ALL)]


@pytest.mark.timeout(900)
def test_of_any_frames_only_those_with_the_guests_own_addresses_pass(lan: Lan, tally: Tally) -> None:
    row = tally.row("F-02", "random frames through the guard of addresses: what passes tells the truth", 50_000)
    guarded(ADDRESS)
    for seed in range(row.count(1500)):
        frame = anything(random.Random(seed))
        row.cases += 1
        if len(frame) >= 14 and lan.passes(frame) and not true(frame):
            row.failures.append(f"{seed}: {frame.hex()}")


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
