"""Definitions that change, break and go while guests run: whatever a command does, a guest stays as it was started."""

import itertools
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.builders import TCG
from support.cli import Cli
from support.hosts import uplink
from support.tally import Row, Tally
from support.world import addresses, difference, link, world, world_after

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(3600)]

LAN = {"forward": '["tcp 8080 -> a:80"]'}
TWO = {"bridge": '"br2"', "subnet": '"10.8.0.0/24"'}
UPLINK = '[uplink.wan]\ninterface = "wan0"\ngateway = "10.1.0.1"\n'
GUESTS = {"a": 'uplink = "wan"\n', "b": "", "c": '[[nic]]\nnetwork = "two"\n', "d": ""}
RUNNING = {0: (), 1: ("a",), 3: ("a", "b", "c")}
KEYS = {
    "subnet": '"10.7.0.0/24"',
    "host": '"192.168.0.1"',
    "bridge": '"br7"',
    "mtu": "1400",
    "isolate": "true",
    "ipv6": '"fd00:77::/64"',
    "external": "true",
    "domain": '"other"',
    "dhcp": "false",
    "dhcp.pool": '"192.168.0.20-192.168.0.29"',
    "dhcp.lease": '"1h"',
    "dhcp.options.42": '"192.168.0.254"',
    "dns": "false",
    "dns.upstream": '["9.9.9.9"]',
    "nat": "false",
    "policy": '"open"',
    "guard": '"none"',
    "uplink": '"wan"',
    "forward": '["tcp 8080 -> a:80", "udp 53 -> b:53"]',
}
Change = Callable[[Path], None]


def networks(head: str = UPLINK, lan: dict[str, str] | None = None, two: dict[str, str] | None = None) -> str:
    """The text of networks.toml, each network with its keys; an empty one is left out."""
    tables = {"lan": LAN if lan is None else lan, "two": TWO if two is None else two}
    text = "".join(
        f"[network.{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for name, keys in tables.items()
        if keys
    )
    return head + text


def _rewritten(text: str) -> Change:
    return lambda lab: (lab / "networks.toml").write_text(text) and None


def _guest(name: str, text: str) -> Change:
    return lambda lab: (lab / f"{name}.toml").write_text(TCG + text) and None


CHANGES: dict[str, Change] = {
    "a.toml has a typo": lambda lab: (lab / "a.toml").write_text("memory = 16\n") and None,
    "a.toml is removed": lambda lab: (lab / "a.toml").unlink(),
    "a.toml is renamed": lambda lab: (lab / "a.toml").rename(lab / "z.toml") and None,
    "b.toml is removed": lambda lab: (lab / "b.toml").unlink(),
    "c.toml is removed": lambda lab: (lab / "c.toml").unlink(),
    "a has another address": _guest("a", '[[nic]]\naddress = "192.168.0.77"\n'),
    "a has no uplink": _guest("a", ""),
    "a has another network": _guest("a", 'uplink = "wan"\n[[nic]]\nnetwork = "two"\n'),
    "a has another MAC": _guest("a", 'uplink = "wan"\n[[nic]]\nmac = "52:54:00:00:00:77"\n'),
    "a has two NICs": _guest("a", 'uplink = "wan"\n[[nic]]\n[[nic]]\n'),
    "a new guest sorts first": _guest("0", ""),
    "every file is removed": lambda lab: [path.unlink() for path in lab.iterdir()] and None,
    "networks.toml is broken": _rewritten("[network.lan\n"),
    "networks.toml is removed": lambda lab: (lab / "networks.toml").unlink(),
    "the seed changes": _rewritten(networks(f'seed = "other"\n{UPLINK}')),
    "the firewall is nobody's": _rewritten(networks(f'firewall = "none"\n{UPLINK}')),
    "the uplink is removed": _rewritten(networks("")),
    "the uplink has another gateway": _rewritten(networks(UPLINK.replace("10.1.0.1", "10.1.0.9"))),
    "lan is removed": _rewritten(networks(lan={})),
    "two is removed": _rewritten(networks(two={})),
    "two is renamed": _rewritten(networks(two={}) + networks("", lan={}).replace("network.two", "network.three")),
    "two is written elsewhere": _rewritten(networks(two=TWO | {"bridge": '"br9"'})),
    **{f"lan.{key}": _rewritten(networks(lan=LAN | {key: value})) for key, value in KEYS.items()},
    **{f"two.{key}": _rewritten(networks(two=TWO | {key: KEYS[key]})) for key in ("subnet", "bridge", "mtu", "dhcp")},
}
COMMANDS = (
    *(("list",), ("net", "status"), ("check",), ("doctor",), ("repair", "-n"), ("d", "--paused"), ("net", "up")),
    *(("repair",), ("stop", "--force", "b"), ("net", "down"), ("net", "restart")),
)


@pytest.fixture(autouse=True)
def outside(netns: None) -> Iterator[None]:
    with uplink("wan0", 1):
        yield


def record(kind: str, name: str) -> dict[str, Any] | None:
    path = Path(os.environ["KVMRUN_RUN_DIR"]) / kind / name / "record"
    return json.loads(path.read_text()) if path.exists() else None


def told(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def as_started(guest: str) -> dict[str, Any]:
    """What the kernel and dnsmasq hold for a running guest; its record and that of its network must agree with it."""
    now = record("vm", guest)
    assert now, f"{guest} has no record"
    (port,) = now["ports"]
    up = record("net", port["network"])
    assert up, f"network {port['network']} has no record"
    wanted, tap, state = up["network"], link(port["tap"]), Path(os.environ["KVMRUN_STATE_DIR"]) / "net" / up["name"]
    assert tap, f"{port['tap']} is gone"
    assert (tap.get("master"), tap["mtu"]) == (wanted["bridge"], wanted["mtu"]) == (port["bridge"], port["mtu"])
    assert tap["linkinfo"]["info_slave_data"]["isolated"] is wanted["isolate"] is port["isolated"]
    bridge = link(wanted["bridge"])
    assert bridge
    assert bridge["address"] == up["mac"]
    if wanted["dhcp"]:
        line = f"{port['mac']},id:*,{port['address']},{guest},"
        assert line in (state / "reservations").read_text(), f"no reservation {line}"
    if wanted["dns"]:
        assert f"{port['address']} {guest}\n" in (state / "hosts").read_text(), f"not a name for {guest}"
    if wanted["dhcp"] or wanted["dns"]:
        pid = Path(os.environ["KVMRUN_RUN_DIR"], "net", up["name"], "dnsmasq").read_text()
        assert os.stat(f"/proc/{pid}").st_uid == up["uid"], "dnsmasq is not the network's"
    if now["uplink"]:
        assert f"from {port['address']} lookup" in told("ip", "rule"), f"no source rule for {guest}"
    if up["firewall"] == "nftables" and any(f"-> {guest}:" in one for one in wanted["forward"]):
        assert f"dnat ip to {port['address']}" in told("nft", "list", "table", "inet", f"kvmrun_{up['name']}")
    return {"index": tap["ifindex"], "port": port, "address": addresses(wanted["bridge"]), "mac": bridge["address"]}


def in_turn() -> list[tuple[str, int]]:
    """Every change with every number of guests, in an order that has all of them soon."""
    changes = list(CHANGES)
    random.Random(1).shuffle(changes)
    shifted = [changes[15 * turn :] + changes[: 15 * turn] for turn in range(len(RUNNING))]
    turns = [[(change, count) for change in one] for one, count in zip(shifted, (3, 1, 0), strict=True)]
    return list(itertools.chain.from_iterable(zip(*turns, strict=True)))


def begin(lab: Path, kvmrun: Cli, running: tuple[str, ...]) -> None:
    for path in lab.iterdir():
        path.unlink()
    (lab / "networks.toml").write_text(networks())
    for name, text in GUESTS.items():
        (lab / f"{name}.toml").write_text(TCG + text)
    kvmrun.ok("net", "up")
    if running:
        kvmrun.ok(*running, "--paused")


def end(lab: Path, kvmrun: Cli) -> None:
    kvmrun("kill", "--all", "--force")
    kvmrun("net", "down", "--force")
    (lab / "networks.toml").write_text(networks())
    kvmrun("net", "down", "--force")


def attempt(row: Row, case: str, kvmrun: Cli, words: tuple[str, ...], before: dict[str, Any]) -> None:
    """One command; whatever it says, the guests of `before` are as they were."""
    done = kvmrun(*words)
    with row.case(f"{case}: {' '.join(words)}"):
        assert done.code in {0, 1, 3, 4, 5, 6}, f"exit {done.code}: {done.out}{done.err}"
        if words == ("net", "down"):
            assert done.code or not before, "taken down under guests"
        if words[0] == "stop":
            before.pop("b", None)
        after = {name: as_started(name) for name in before}
        if words == ("net", "restart"):
            assert {name: one["index"] for name, one in after.items()} == {
                name: one["index"] for name, one in before.items()
            }
        else:
            assert after == before, f"{before} became {after}; {done.out}{done.err}"
        rows = {one["name"]: one for one in kvmrun.ok("list", "-o", "json").json()["guests"]}
        assert {rows[name]["state"] for name in before} <= {"paused"}, f"{rows}"
        assert {name: rows[name]["nics"][0]["address"] for name in before} == {
            name: one["port"]["address"] for name, one in after.items()
        }


def test_what_runs_stays_as_it_was_started_whatever_happens_to_its_definition(
    lab: Path, kvmrun: Cli, tally: Tally
) -> None:
    cases = in_turn()
    row = tally.row("K-01", "changed, broken and removed definitions x running guests x commands", 11 * len(cases))
    untouched = world()
    for change, count in cases[: row.count(3 * len(COMMANDS)) // len(COMMANDS)]:
        begin(lab, kvmrun, RUNNING[count])
        before = {name: as_started(name) for name in RUNNING[count]}
        CHANGES[change](lab)
        for words in COMMANDS:
            attempt(row, f"{change}, {count} guests", kvmrun, words, before)
        end(lab, kvmrun)
        with row.case(f"{change}, {count} guests: nothing is left"):
            assert (left := difference(untouched, world_after(untouched))) == "", left
