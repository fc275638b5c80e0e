"""Networks as people see them: every fact, what is wrong first, nothing that acts on the terminal."""

import time
from typing import Any
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmrun.model.finding import Finding, problem
from kvmrun.model.network.network_status import LeaseStatus, NetworkStatus, PortStatus
from kvmrun.ui.text.network_text import network_lines

LEASE = LeaseStatus(address="192.168.0.1", mac="52:54:00:00:00:01", name="vm1", expires=0)
UP = NetworkStatus(
    name="lan",
    state="up",
    problem=None,
    bridge="br0",
    address="192.168.0.254/24",
    domain="lan",
    resolver="systemd-resolved",
    ports=(PortStatus(tap="tap-vm1", guest="vm1"), PortStatus(tap="veth0", guest="")),
    dnsmasq="serving (pid 7)",
    rules="present",
    uplink="eth0 via 172.20.1.1",
    leases=(LEASE,),
)


def told(*networks: NetworkStatus, problems: tuple[Finding, ...] = ()) -> str:
    return "\n".join(network_lines(networks, problems))


@pytest.mark.parametrize(
    "fact",
    [
        "lan: up",
        "br0 192.168.0.254/24",
        "tap-vm1 (vm1), veth0 (unknown)",
        "serving (pid 7)",
        "present",
        "eth0 via 172.20.1.1",
        "192.168.0.1     52:54:00:00:00:01  vm1  for good",
        "*.lan at 192.168.0.254; on this host by systemd-resolved",
    ],
)
def test_every_fact_is_told(fact: str) -> None:
    assert fact in told(UP)


def test_what_there_is_not_is_said() -> None:
    text = told(UP.replace(ports=(), uplink=None, leases=(), domain=""))
    assert "ports    none" in text
    assert "uplink   none" in text
    assert "names" not in text
    assert "*.lan at 192.168.0.254; this host asks another server" in told(UP.replace(resolver=None))


def test_what_is_wrong_comes_first_and_what_is_wrong_with_the_host_last() -> None:
    text = told(
        UP.replace(state="degraded", problem="to be done: x"),
        problems=(problem("filter", "chain y", "nft z").replace(permanent="w"),),
    )
    assert text.splitlines()[:2] == ["lan: degraded", "  problem  to be done: x"]
    assert text.splitlines()[-3:] == ["problem: chain y", "         fix: nft z", "         permanent: w"]


@pytest.mark.parametrize(("seconds", "text"), [(-50, "0 min left"), (3700, "61 min left")])
def test_a_lease_tells_how_long_it_has(seconds: int, text: str) -> None:
    assert text in told(UP.replace(leases=(LEASE.replace(name="", expires=int(time.time()) + seconds),)))


@given(st.text())
def test_nothing_it_shows_acts_on_the_terminal(text: str) -> None:
    shown: dict[str, Any] = {"problem": text, "uplink": text, "ports": (PortStatus(tap=text, guest=text),)}
    assert not [
        char
        for char in told(UP.replace(**shown), problems=(problem("", text, text),))
        if category(char)[0] == "C" and char != "\n"
    ]
