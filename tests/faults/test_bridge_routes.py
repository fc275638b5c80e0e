"""What the kernel does for a bridge, changed by others: routes, rules, entries, settings. Each reader says it.

What is ours to put back is put back by repair; of what somebody else has made, each reader prints the command that
removes it, which is tried.
"""

import os
import random
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.hosts import uplink
from support.tally import Tally
from support.world import ip, until

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(900)]

LAB = '[network.lan]\ndns = false\ndhcp = false\nipv6 = "fd00:7::/64"\n'
SUBNET, HOST, GUEST = "192.168.0.0/24", "192.168.0.254", "192.168.0.7"


def conf(name: str, value: str) -> Callable[[], object]:
    family, _, key = name.partition("/")
    return lambda: Path(f"/proc/sys/net/{family}/conf/br0/{key}").write_text(value)


def does(*commands: str) -> Callable[[], object]:
    return lambda: [ip(*one.split()) for one in commands]


OURS: dict[str, Callable[[], object]] = {
    "subnet route": does(f"route del {SUBNET} dev br0"),
    "local route": does(f"route del local {HOST} dev br0 table local"),
    "both routes": does(f"route del {SUBNET} dev br0", f"route del local {HOST} dev br0 table local"),
    "no ARP": does("link set br0 arp off"),
    "no multicast": does("link set br0 multicast off"),
    "limited lifetime": does(f"address change {HOST}/24 dev br0 valid_lft 300 preferred_lft 300"),
    "limited IPv6 lifetime": does("address change fd00:7::1/64 dev br0 valid_lft 300 preferred_lft 300"),
    "permanent neighbour": does(f"neigh replace {GUEST} lladdr 02:00:00:00:00:99 dev br0 nud permanent"),
    "permanent neighbour of the pool": does("neigh add 192.168.0.205 lladdr 02:00:00:00:00:99 dev br0 nud permanent"),
    "proxy entry": does(f"neigh add proxy {GUEST} dev br0"),
    "no link-local address": does("-6 address flush dev br0 scope link"),
    "no IPv6": conf("ipv6/disable_ipv6", "1"),
    "router advertisements": conf("ipv6/accept_ra", "1"),
    "forwarding": conf("ipv4/forwarding", "0"),
    "arp_ignore": conf("ipv4/arp_ignore", "8"),
    "proxy_arp": conf("ipv4/proxy_arp", "1"),
    "rp_filter": conf("ipv4/rp_filter", "1"),
    "accept_local": conf("ipv4/accept_local", "1"),
    "arp_filter": conf("ipv4/arp_filter", "1"),
    "proxy_arp_pvlan": conf("ipv4/proxy_arp_pvlan", "1"),
    "accept_source_route": conf("ipv4/accept_source_route", "0"),
}
THEIRS: dict[str, str] = {
    "blackhole": f"route prepend blackhole {SUBNET}",
    "half of it": "route add blackhole 192.168.0.0/25",
    "unreachable": "route add unreachable 192.168.0.0/25",
    "prohibit": "route add prohibit 192.168.0.4/30",
    "one guest": f"route add blackhole {GUEST}/32",
    "another link": "route add 192.168.0.0/25 dev wan0",
    "rule from the subnet": f"rule add from {SUBNET} lookup 77 pref 500",
    "rule from a guest": f"rule add from {GUEST} lookup 77 pref 500",
    "rule by the bridge": "rule add iif br0 lookup 77 pref 500",
    "rule to the subnet": f"rule add to {SUBNET} lookup 77 pref 500",
    "blackhole rule": f"rule add to {SUBNET} blackhole pref 500",
    "prohibiting rule": f"rule add from {SUBNET} prohibit pref 500",
    "unreachable by the bridge": "rule add iif br0 unreachable pref 500",
}
READERS: dict[str, Callable[[Cli], str]] = {
    "net status": lambda kvmrun: status(kvmrun)["problem"] or "",
    "doctor": lambda kvmrun: "\n".join(f"{one['text']}; fix: {one['fix']}" for one in findings(kvmrun)),
    "repair": lambda kvmrun: "".join(
        f"{one['text']}; fix: {one['fix']}\n" for one in kvmrun("repair", "-n", "-o", "json").json()["faults"]
    ),
}


def status(kvmrun: Cli) -> dict[str, Any]:
    found = kvmrun.network()
    assert (found["state"] == "up") == (not found["problem"])
    return found


def findings(kvmrun: Cli) -> list[dict[str, Any]]:
    found = kvmrun("doctor", "-o", "json").json()["findings"]
    return [one for one in found if one["level"] != "ok" and one["subject"] == "network lan"]


def shown() -> dict[str, Any]:
    """The bridge, its routes, rules, entries and settings, as anybody can see them."""
    words = ["link show br0", "address show br0", "route show table all", "-6 route show table all dev br0", "rule",
             "neigh show nud permanent dev br0", "neigh show proxy"]  # fmt: skip
    told = {
        one: subprocess.run(["ip", *one.split()], capture_output=True, text=True, check=True).stdout for one in words
    }
    names = ("ipv4/conf/br0", "ipv6/conf/br0")
    paths = [path for name in names for path in sorted(Path(f"/proc/sys/net/{name}").iterdir())]
    # iproute2 from 6.2 on also tells who gave an address
    return {key: sorted(re.sub(r" proto kernel_\w+", "", text).split("\n")) for key, text in told.items()} | {
        f"{path}": path.read_text() for path in paths if path.name != "stable_secret"
    }


@pytest.fixture
def up(lab: Path, kvmrun: Cli) -> Cli:
    (lab / "networks.toml").write_text(LAB)
    guests(lab, "vm1", text=f'{TCG}[[nic]]\naddress = "{GUEST}"\n')
    kvmrun.ok("vm1", "--paused")
    until(lambda: "inet6 fe80" in "".join(shown()["address show br0"]) and "tentative" not in f"{shown()}")
    return kvmrun


def test_what_is_ours_is_said_by_all_and_put_back(up: Cli, tally: Tally) -> None:
    row = tally.row("F-41", "what the kernel does for a bridge, changed: said by each reader, put back", len(OURS))
    assert {name: said(up) for name, said in READERS.items()} == dict.fromkeys(READERS, "")
    right = shown()
    for name in OURS if tally.full else random.Random(5).sample(list(OURS), 6):
        with row.case(name):
            OURS[name]()
            silent = [reader for reader, said in READERS.items() if not said(up)]
            up("repair")
            assert (silent, {reader: said(up) for reader, said in READERS.items()}) == ([], dict.fromkeys(READERS, ""))
            until(lambda: "tentative" not in f"{shown()}")
            assert {key: (value, right[key]) for key, value in shown().items() if value != right[key]} == {}


def test_what_is_theirs_is_said_by_all_and_the_fix_is_right(up: Cli, tally: Tally) -> None:
    row = tally.row(
        "F-42", "routes and rules of others before those of a bridge: said by each reader, with a fix", len(THEIRS)
    )
    with uplink("wan0", 1):
        ip("route", "add", "default", "via", "10.1.0.1", "table", "77")
        right = shown()
        for name, command in THEIRS.items() if tally.full else random.Random(6).sample(list(THEIRS.items()), 5):
            with row.case(name):
                ip(*command.split())
                said = {reader: say(up) for reader, say in READERS.items()}
                (fix,) = {one["fix"] for one in findings(up) if one["fix"].startswith("ip ")}
                assert [reader for reader, text in said.items() if fix not in text] == []
                subprocess.run(shlex.split(fix), check=True)
                assert {key: (value, right[key]) for key, value in shown().items() if value != right[key]} == {}
                assert {reader: say(up) for reader, say in READERS.items()} == dict.fromkeys(READERS, "")
            subprocess.run(
                ["ip", *re.sub(" (add|prepend) ", " del ", command).split()], check=False, capture_output=True
            )


SINGLE: dict[str, Callable[[], object]] = {
    "bridge down": does("link set br0 down"),
    "no address": does("address flush dev br0"),
    "MTU": does("link set br0 mtu 1300"),
    "no ARP": does("link set br0 arp off"),
    "limited lifetime": OURS["limited lifetime"],
    "tap down": does("link set tap-vm1 down"),
    "packet filter": lambda: subprocess.run(["nft", "flush", "table", "inet", "kvmrun_lan"], check=True),
}


def test_a_fault_has_one_sentence_whoever_says_it(up: Cli) -> None:
    for name, harm in SINGLE.items():
        harm()
        said = {reader: say(up) for reader, say in READERS.items()}
        said["list"] = up.rows()["vm1"]["problem"]
        sentence = said["list"].partition(";")[0].rpartition(": ")[2]
        silent = [reader for reader, text in said.items() if sentence not in text]
        assert (name, bool(sentence), silent) == (name, True, []), said
        up.ok("repair")


@pytest.mark.parametrize("dns", ["true", "false"])
def test_a_server_that_is_stopped_is_not_said_to_serve(lab: Path, kvmrun: Cli, dns: str) -> None:
    (lab / "networks.toml").write_text(f"[network.lan]\ndns = {dns}\n")
    guests(lab, "vm1")
    kvmrun.ok("vm1", "--paused")
    pid = int(status(kvmrun)["dnsmasq"].split()[-1].strip(")"))
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        said = {name: say(kvmrun) for name, say in READERS.items()}
        said["list"] = kvmrun.rows()["vm1"]["problem"]
        assert [name for name, text in said.items() if "dnsmasq" not in text] == []
        assert status(kvmrun)["dnsmasq"] == f"stopped (pid {pid})"
        assert not [one for one in findings(kvmrun) if "upstream" in one["text"]]
        kvmrun.ok("repair")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    now = status(kvmrun)
    assert (now["state"], now["dnsmasq"].startswith("serving"), f"{pid})" in now["dnsmasq"]) == ("up", True, False)
    assert READERS["repair"](kvmrun) == ""


def test_what_is_down_is_not_shown_as_if_it_were_there(lab: Path, kvmrun: Cli) -> None:
    """Nor is a bridge that is somebody else's, which may be the host's own uplink, given to a resolver."""
    (lab / "networks.toml").write_text("[network.lan]\n")
    with uplink("wan0", 1):
        found = kvmrun.network()
        assert (found["state"], found["address"], found["domain"], found["uplink"]) == ("down", None, None, None)
        text = kvmrun.ok("net", "status").out
        assert "br0" in text
        assert "192.168.0.254" not in text
        assert "*.lan" not in text
        ip("link", "add", "br0", "up", "type", "bridge")
        ip("address", "add", "10.9.0.2/24", "dev", "br0")
        found = kvmrun.network()
        assert (found["state"], found["address"], found["domain"]) == ("refused", "10.9.0.2/24", None)
        text = kvmrun.ok("net", "status").out
        assert "192.168.0.254" not in text
        assert "*.lan" not in text


def test_a_host_that_is_made_a_router_later_is_told_what_its_rules_do(lab: Path, kvmrun: Cli) -> None:
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    switch.write_text("0")
    (lab / "networks.toml").write_text("[network.lan]\ndns = false\n")
    with uplink("wan0", 1):
        kvmrun.ok("net", "up")
        assert {name: say(kvmrun) for name, say in READERS.items()} == dict.fromkeys(READERS, "")
        switch.write_text("1")
        assert [name for name, say in READERS.items() if not say(kvmrun)] == []
        (fix,) = {one["fix"].partition("net ")[2] for one in findings(kvmrun)}
        kvmrun.ok("net", *fix.split())
        assert {name: say(kvmrun) for name, say in READERS.items()} == dict.fromkeys(READERS, "")
        switch.write_text("0")
        assert any("br0, wan0" in one["text"] for one in findings(kvmrun))


def test_forwarding_of_ipv6_that_is_switched_off_is_named(lab: Path, kvmrun: Cli) -> None:
    (lab / "networks.toml").write_text('[network.lan]\ndns = false\nipv6 = "fd00:7::/64"\nipv6_egress = "nat"\n')
    with uplink("wan0", 1):
        kvmrun.ok("net", "up")
        (found,) = findings(kvmrun)
        assert "IPv6" in found["text"]
        conf = Path("/proc/sys/net/ipv6/conf/wan0/disable_ipv6")
        conf.write_text("0")
        ip("address", "add", "2001:db8:7::2/64", "dev", "wan0", "nodad")
        ip("route", "add", "default", "via", "2001:db8:7::1", "dev", "wan0")
        assert findings(kvmrun) == []
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("0")
        assert any("IPv6" in one["text"] and one["fix"].endswith("net up lan") for one in findings(kvmrun))
        kvmrun.ok("net", "up", "lan")
        assert findings(kvmrun) == []


QUEUES = {
    "br0": ("root tbf rate 1mbit burst 10k latency 50ms", "clsact"),
    "tap-vm1": ("root tbf rate 1mbit burst 10k latency 50ms", "handle ffff: ingress"),
}


@pytest.mark.parametrize("link", QUEUES)
def test_a_queueing_discipline_is_seen_and_left_alone(up: Cli, link: str) -> None:
    for words in QUEUES[link]:
        subprocess.run(["tc", "qdisc", "add", "dev", link, *words.split()], check=True)
        (found,) = findings(up)
        assert (found["level"], link in found["text"]) == ("warning", True)
        seen = status(up)
        assert (seen["state"], [one for one in seen["warnings"] if link in one]) == ("up", seen["warnings"])
        assert READERS["repair"](up) == ""
        subprocess.run(shlex.split(found["fix"]), check=True)
        assert (findings(up), status(up)["warnings"]) == ([], [])
