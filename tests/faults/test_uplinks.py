"""Uplinks that come, go and move in any order, for every kind of network: guests follow, strangers do not."""

import random
import shlex
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli
from support.hosts import host
from support.tally import Tally
from support.traffic import Traffic, traffic
from support.uplinks import VPN, WORLD, Uplinks, forwards
from support.world import ip, until, world

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(1800)]

LIMIT = 3.0
LANS = {"port1": ("br0", "192.168.0"), "port2": ("br1", "192.168.1")}
DMZ = '[network.dmz]\nbridge = "br1"\nsubnet = "192.168.1.0/24"\ndomain = "dmz"\n'
NAMED = '[network.lan]\nnat = ["a", "b"]\n[uplink.a]\ninterface = "wan0"\n[uplink.b]\ninterface = "usb0"\n'
KINDS: dict[str, tuple[str, tuple[str, ...], frozenset[str] | None]] = {
    "any uplink": ("[network.lan]\n", ("port1",), None),
    "two networks": (f"[network.lan]\n{DMZ}", ("port1", "port2"), None),
    "uplinks by name": (NAMED, ("port1",), frozenset({"wan0", "usb0"})),
    "with IPv6": ('[network.lan]\nipv6 = "fd00:77::/64"\nipv6_egress = "nat"\n', ("port1",), None),
    "a packet filter of somebody else's": ('firewall = "none"\n[network.lan]\n', ("port1",), None),
}
"""The file; which guests there are; the links that they may leave by, None for any."""
EXITS = ("wan0", "wan1", "usb0")


class Events:
    """What may happen next, and what has."""

    def __init__(self, uplinks: Uplinks, chance: random.Random) -> None:
        self._uplinks, self._chance = uplinks, chance
        self.told: list[str] = []
        self._plugged = {"wan0"}
        uplinks.plug("wan0")
        uplinks.default("wan0")

    def one(self) -> None:
        """Something that can happen now, by chance."""
        absent = sorted({*EXITS, "wg0", "lan2"} - self._plugged)
        exits = [link for link in EXITS if link in self._plugged]
        choices: list[tuple[str, Callable[[], object]]] = [
            *((f"plug {link}", lambda link=link: self._plug(link)) for link in absent),
            *((f"unplug {link}", lambda link=link: self._unplug(link)) for link in sorted(self._plugged)),
            *((f"default {link}", lambda link=link: self._uplinks.default(link)) for link in exits * 3),
            ("no default", lambda: quietly("route", "del", "default")),
            ("no rule", lambda: quietly("rule", "del", "priority", "77")),
            *((f"rule {link}", lambda link=link: self._rule(link)) for link in exits),
            *((f"flap {link}", lambda link=link: flap(link)) for link in exits),
        ]
        if "wg0" in self._plugged:
            choices += [(f"{prefix} by wg0", lambda prefix=prefix: vpn(prefix)) for prefix in PREFIXES]
        text, act = self._chance.choice(choices)
        self.told.append(text)
        act()

    def _plug(self, link: str) -> None:
        self._uplinks.plug(link, *([VPN] if link == "wg0" else []))
        self._plugged.add(link)

    def _unplug(self, link: str) -> None:
        self._uplinks.unplug(link)
        self._plugged.discard(link)

    def _rule(self, link: str) -> None:
        quietly("rule", "del", "priority", "77")
        ip("route", "replace", "default", "dev", link, "via", gateway(link), "table", "77")
        ip("rule", "add", "to", "203.0.113.0/24", "lookup", "77", "priority", "77")


PREFIXES = ("198.18.0.0/16", "0.0.0.0/1", "128.0.0.0/1")


def quietly(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=False)


def gateway(link: str) -> str:
    own = subprocess.run(["ip", "-o", "-4", "address", "show", link], capture_output=True, text=True, check=True).stdout
    return f"{own.split()[3].rpartition('.')[0]}.1"


def flap(link: str) -> None:
    """The kernel takes the routes away with it."""
    ip("link", "set", link, "down")
    ip("link", "set", link, "up")


def vpn(prefix: str) -> None:
    quietly("route", "replace", prefix, "via", gateway("wg0"), "dev", "wg0")


def used(target: str) -> str:
    """The link by which the host itself sends there now, "" for none."""
    found = subprocess.run(["ip", "-o", "route", "get", target], capture_output=True, text=True, check=False).stdout
    words = found.split()
    return words[words.index("dev") + 1] if "dev" in words else ""


def heard(found: Traffic, name: str, by: str, limit: float) -> None:
    asked = found.heard(name)
    until(lambda: asked() == by, limit)


def filtered(kvmrun: Cli) -> None:
    """Carry out what `doctor` says is missing, where the packet filter is not ours."""
    while fixes := [
        one["fix"] for one in kvmrun("doctor", "-o", "json").json()["findings"] if one["subject"] == "filter"
    ]:
        if not fixes[0].startswith("nft "):
            return
        subprocess.run(shlex.split(fixes[0]), check=True)


def wander(lab: Path, kvmrun: Cli, kind: str, seed: int) -> None:
    """One host, one kind of network, ten events."""
    text, names, usable = KINDS[kind]
    (lab / "networks.toml").write_text(text)
    guests(lab, "vm1")
    with ExitStack() as stack:
        found = stack.enter_context(traffic())
        events = Events(Uplinks(found, stack), random.Random(seed))
        before = world()["sysctls"]
        stack.callback(quietly, "rule", "del", "priority", "77")
        stack.callback(kvmrun, "net", "down", "--force")
        kvmrun.ok("net", "up")
        if "firewall" in text:
            filtered(kvmrun)
            stack.callback(subprocess.run, ["nft", "flush", "ruleset"], check=True)
        found.asks("host", WORLD)
        for name in names:
            bridge, subnet = LANS[name]
            one = stack.enter_context(host(name, bridge=bridge, address=f"{subnet}.1/24"))
            one("ip", "route", "add", "default", "via", f"{subnet}.254")
            found.asks(name, WORLD, one)
        for _ in range(10):
            events.one()
            if link := used(WORLD):
                heard(found, "host", link, 30.0)
                for name in names if usable is None or link in usable else ():
                    heard(found, name, link, LIMIT)
            until(found.turns(3))
            assert found.leaks == set(), events.told
        kvmrun.ok("net", "down", "--force")
        until(found.turns(3))
        assert found.leaks == set(), "after the end"
        after = world()["sysctls"]
        assert {name: value for name, value in after.items() if value != before.get(name, value)} == {}


def test_guests_are_where_the_host_is_and_strangers_are_not(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    forwards("1")
    forwards("0")
    row = tally.row(
        "U-01", "ten events of uplinks in any order, for each kind of network: guests follow, nobody else", 60
    )
    for number in range(row.count(len(KINDS))):
        kind = list(KINDS)[number % len(KINDS)]
        with row.case(f"{kind}, {number}"):
            wander(lab, kvmrun, kind, number)
