"""What guests call themselves: never a name of the network's, and shown as it is written."""

import os
import re
from pathlib import Path

import pytest
from support import hostile
from support.agent import agent, greeted, hear
from support.builders import TCG, guests
from support.cli import Cli
from support.hosts import ask, host
from support.pretender import Pretender
from support.qmp import Peer
from support.screen import command
from support.tally import Tally

from kvmrun.model.printable import printable

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: bridges and other hosts"),
    pytest.mark.usefixtures("netns", "tun"),
]
WHAT = "50 hostile host names: in requests for an address, in leases, from agents; in table, lines and JSON"
NAMES = ["localhost", "vm2", "vm1.lan", "br0", "wpad", "isatap", "*", "_gateway", "a" * 63, "a." * 60 + "b"]


def words() -> list[str]:
    """Fifty, of every kind; what cannot be in a program's arguments is left out."""
    fit = [
        word
        for word in hostile.strings()
        if ("\0" not in word and len(word) < 200 and word.isprintable()) or "\x1b" in word
    ]
    fit = [word for word in fit if not any(0xD800 <= ord(char) < 0xE000 for char in word)]
    return NAMES + fit[:: len(fit) // 40][:40]


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_what_a_client_calls_itself_is_no_name(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("E-02", WHAT, 50)
    guests(lab, "vm1", "vm2")
    kvmrun.ok("net", "up")
    macs = {one: kvmrun.rows()[one]["nics"][0] for one in ("vm1", "vm2")}
    for number, word in enumerate(words() if tally.full else words()[:40:20]):
        known = number % 2 == 0  # one whose MAC is a guest's, or a stranger
        mac = macs["vm1"]["mac"] if known else "52:54:00:77:00:01"
        with row.case(f"DHCP {word!r:.40}"), host("p1", mac=mac, bridge="br0") as client:
            address = client.lease("-x", f"hostname:{word}")["ip"]
            assert (address == macs["vm1"]["address"]) is known
            told = kvmrun.ok("net", "status", "-o", "json")
            (lease,) = (one for one in told.json()["networks"][0]["leases"] if one["mac"] == mac)
            assert lease["name"] == ("vm1" if known else "")
            shown = kvmrun.ok("net", "status").out
            assert not hostile.harm(shown + told.out)
            assert known or f"{mac}  (no name)" in shown
            assert ask("192.168.0.254", "vm2.lan") == [macs["vm2"]["address"]]
            assert kvmrun.rows()["vm1"]["name"] == "vm1"


def test_a_name_in_a_lease_is_shown_as_it_is_written(
    lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally
) -> None:
    row = tally.row("E-02", WHAT, 50)
    guests(lab, "vm1")
    leases = own_directories / "state/net/lan"
    leases.mkdir(parents=True)
    every = [re.sub(r"\s", "_", word) for word in words()]
    lines = [
        f"1900000000 52:54:00:00:00:{number:02x} 192.168.0.{number} {word} *" for number, word in enumerate(every, 1)
    ]
    (leases / "leases").write_text("\n".join(lines) + "\n")
    told = {one["address"]: one["name"] for one in kvmrun.network()["leases"]}
    shown = kvmrun.ok("net", "status").out
    for number, word in enumerate(every, 1):
        with row.case(f"lease {word!r:.40}"):
            wanted = "" if word == "*" else printable(word, 64)
            assert told[f"192.168.0.{number}"] == wanted
            assert f":{number:02x}  {wanted or '(no name)'}  " in shown
    assert not hostile.harm(shown)


def _calls_itself(word: str):
    """An agent whose card has that name; what cannot be an address is none."""

    def way(peer: Peer) -> None:
        greeted(peer)
        addresses = [{"ip-address": one, "ip-address-type": "ipv4", "prefix": 24} for one in (word, "10.9.8.7")]
        peer.say({"return": [{"name": word, "hardware-address": word, "ip-addresses": addresses}]})
        hear(peer)

    return way


def test_what_an_agent_calls_things_is_shown_as_it_is_written(
    lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally
) -> None:
    row = tally.row("E-02", WHAT, 50)
    pretender = Pretender(own_directories / "pretender")
    guests(lab, "vm1", text=TCG + "nic = []\n")
    kvmrun.ok("vm1", KVMRUN_QEMU=str(pretender.program))
    place = own_directories / "run/vm/vm1"
    for word in words() if tally.full else words()[5::22]:
        (place / "a").unlink(missing_ok=True)
        with row.case(f"agent {word!r:.40}"), agent(place, _calls_itself(word)):
            told = kvmrun.ok("list", "-v", "-o", "json")
            ((card,),) = (one["agent"] for one in told.json()["guests"])
            assert card["name"] == printable(word, 20)
            *looking_like_one, right = card["addresses"]
            assert right == "10.9.8.7/24"
            assert all(re.fullmatch(r"[0-9a-f.:]+/24", one) for one in looking_like_one)
            assert not hostile.harm(told.out)
            shown = kvmrun.ok("show", "vm1")
            assert "10.9.8.7/24" in shown.out
            assert kvmrun.ok("show", "vm1", "-o", "json").json()["agent"] == [card]
            assert not hostile.harm(shown.out)
            with command(lab, "list", "-v") as screen:
                assert screen.end() == 0
            assert "10.9.8.7/24" in _plain(screen.raw.decode())
            assert not hostile.harm(_plain(screen.raw.decode()).replace("\r", ""))
