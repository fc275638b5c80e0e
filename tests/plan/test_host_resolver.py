"""Who has somebody to ask: name servers that ask each other, and the host's resolver about guests."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest
from support import builders
from support.builders import lab_of

from kvmrun.model.network.network import Dns, Network, Upstream
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import LinkName
from kvmrun.plan.network.host_resolver import (
    circular_upstreams,
    down_steps,
    problems,
    resolver,
    sentence,
    up_steps,
    upstream_names,
)
from kvmrun.plan.resolver_facts import LinkSettings, ResolverFacts

WHERE = Paths(vms="/lab", run="/run", state="/state", root=True)

LAN, DMZ = "192.168.0.254", "192.168.1.254"


def network(name: str, number: int, *upstream: str) -> Network:
    dns = Dns(upstream=Upstream(IPv4Address(one) for one in upstream))
    subnet, six = IPv4Network(f"192.168.{number}.0/24"), IPv6Network(f"fd00:{number}::/64")
    return builders.network(name, bridge=LinkName(f"br{number}"), subnet=subnet, dns=dns, ipv6=six)


@pytest.mark.parametrize(
    ("lan", "dmz", "servers", "lost"),
    [
        ((), (), ("9.9.9.9",), ""),
        ((), (), ("127.0.0.53",), ""),
        ((), (), (LAN, "9.9.9.9"), ""),
        ((), (), (LAN,), "lan dmz"),
        ((), (), ("fd00:0::1",), ""),
        ((), (), ("fd00::1",), "lan dmz"),
        ((), (), (), ""),  # a host without a network
        (("9.9.9.9",), (), (LAN,), ""),
        (("9.9.9.9",), (LAN,), (DMZ,), ""),
        ((DMZ,), (LAN,), ("9.9.9.9",), "lan dmz"),
        ((DMZ,), (), ("9.9.9.9",), ""),
        ((LAN,), (), ("9.9.9.9",), "lan"),
        ((DMZ, "9.9.9.9"), (LAN,), (), ""),
    ],
)
def test_who_has_nobody_to_ask(lan: tuple[str, ...], dmz: tuple[str, ...], servers: tuple[str, ...], lost: str) -> None:
    both = {"lan": network("lan", 0, *lan), "dmz": network("dmz", 1, *dmz)}
    lab = lab_of(networks=both)
    assert " ".join(name for name, one in both.items() if circular_upstreams(lab, one, servers)[0]) == lost


def test_the_servers_of_a_file() -> None:
    assert upstream_names("# x\nnameserver 9.9.9.9\nsearch lan\nnameserver\n nameserver\tfd00::1 # two\n") == (
        "9.9.9.9",
        "fd00::1",
    )


WANTED = LinkSettings(servers=(LAN,), domains=("~lan",))
RUNNING = ResolverFacts(state="running", link=WANTED, note="")


@pytest.mark.parametrize(
    ("change", "now", "steps"),
    [
        ({}, RUNNING, []),
        ({}, RUNNING.replace(note=None), []),
        ({}, RUNNING.replace(link=LinkSettings()), [f"have systemd-resolved ask {LAN} for names below lan"]),
        ({}, RUNNING.replace(link=WANTED.replace(domains=("lan",))), ["have systemd-resolved ask"]),
        ({}, RUNNING.replace(link=WANTED.replace(default_route=True)), ["have systemd-resolved ask"]),
        ({}, RUNNING.replace(link=WANTED.replace(protocols=("LLMNR",))), ["have systemd-resolved ask"]),
        ({}, ResolverFacts(), []),
        ({}, ResolverFacts(state="silent", note=""), []),
        ({"dns": Dns(host_resolution=False)}, RUNNING, ["have systemd-resolved forget"]),
        ({"dns": None}, RUNNING, ["have systemd-resolved forget"]),
        ({"dns": None}, RUNNING.replace(note=None), []),
    ],
)
def test_it_is_told_what_differs(change: dict[str, Any], now: ResolverFacts, steps: list[str]) -> None:
    found = [f"{step}" for step in up_steps(builders.network("lan", **change), WHERE, now)]
    assert len(found) == len(steps)
    assert all(one.startswith(step) for one, step in zip(found, steps, strict=True))


def test_what_it_was_told_is_taken_back_where_it_can_be() -> None:
    def links(now: ResolverFacts, link: str) -> list[str]:
        return [step.link for step in down_steps(builders.LAN, WHERE, now, link)]

    assert links(RUNNING, "br0") == ["br0"]
    assert links(RUNNING.replace(state="silent"), "br0") == links(RUNNING, "") == [""]
    assert links(RUNNING.replace(note=None), "br0") == []


def test_only_what_is_wrong_is_told() -> None:
    two = builders.network("dmz", bridge=LinkName("br1"))
    lab = lab_of(networks={"lan": builders.LAN, "dmz": two})

    def told(**change: Any) -> list[str]:
        return [text for text, _ in problems(lab, builders.LAN, RUNNING.replace(**change))]

    assert (sentence(builders.LAN, RUNNING), told(rivals=("br1",))) == ("", [])
    wrong = RUNNING.replace(link=LinkSettings(), note="it is not allowed")
    assert sentence(builders.LAN, wrong).endswith(": it is not allowed")
    assert [len(told(**one)) for one in ({"rivals": ("br1", "wlan0")}, {"used": False}, {"state": "silent"})] == [1] * 3
    assert [resolver(builders.LAN, now, ("9.9.9.9",)) for now in (RUNNING, wrong)] == ["systemd-resolved", None]
    assert resolver(builders.LAN, ResolverFacts(), (LAN, "9.9.9.9")) == "/etc/resolv.conf"
