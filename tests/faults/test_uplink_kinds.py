"""An uplink that becomes something else while a network is up: guests follow, and nobody else is routed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.builders import guests
from support.cli import Cli
from support.hosts import Host, host, uplink
from support.tally import Tally
from support.world import ip, until

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(900)]

WORLD = "203.0.113.9"
BACK = ("link set wan0 up", "address replace 10.1.0.2/24 dev wan0", "route replace default via 10.1.0.1 metric 100")


def does(*commands: str) -> Callable[[], None]:
    def done() -> None:
        for one in commands:
            ip(*one.split())

    return done


def moved() -> None:
    """To another namespace and back: it comes back with the settings of a new link, and without its address."""
    with host("spare") as away:
        ip("link", "set", "wan0", "netns", f"/proc/{os.getpid()}/fd/{away.fd}")
        away("ip", "link", "set", "wan0", "netns", f"{os.getpid()}")
    does(*BACK)()


EVENTS: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
    "renamed": (
        does("link set wan0 down", "link set wan0 name isp0", "link set isp0 up", "route add default via 10.1.0.1"),
        does("link set isp0 down", "link set isp0 name wan0", *BACK),
    ),
    "moved and back": (moved, does()),
    "enslaved to a bridge": (
        does(
            "address flush dev wan0",
            "link add ubr0 up type bridge forward_delay 0",
            "link set wan0 master ubr0",
            "address add 10.1.0.2/24 dev ubr0",
            "route add default via 10.1.0.1",
        ),
        does("link del ubr0", *BACK),
    ),
    "a macvlan on it": (
        does(
            "address flush dev wan0",
            "link add mv0 up link wan0 type macvlan mode bridge",
            "address add 10.1.0.2/24 dev mv0",
            "route add default via 10.1.0.1",
        ),
        does("link del mv0", *BACK),
    ),
    "two nexthops": (
        does("route replace default metric 50 nexthop via 10.1.0.1 nexthop via 10.2.0.1"),
        does("route del default metric 50"),
    ),
    "two defaults of one metric": (
        does("route append default via 10.2.0.1 metric 100"),
        does("route del default via 10.2.0.1 metric 100"),
    ),
    "suppressed prefixes": (
        does(
            "route add default via 10.2.0.1 table 99",
            "rule add not fwmark 51820 lookup 99 pref 32764",
            "rule add lookup main suppress_prefixlength 0 pref 32763",
        ),
        does("rule del pref 32763", "rule del pref 32764", "route flush table 99"),
    ),
    "a nexthop of IPv6": (
        does(
            "address replace fd00:99::2/64 dev wan0 nodad",
            "route replace default via inet6 fd00:99::1 dev wan0 metric 50",
        ),
        does("route del default via inet6 fd00:99::1 dev wan0 metric 50"),
    ),
}


def filtered_strangers(one: Host, other: Host) -> bool:
    """Whether neither of the hosts beyond reaches the other through us."""
    return not one.reaches("10.2.0.1") and not other.reaches("10.1.0.1")


def test_whatever_the_uplink_becomes(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("F-43", "an uplink becomes something else: guests follow, strangers are not routed", len(EVENTS))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    guests(lab, "vm1")
    (lab / "networks.toml").write_text("[network.lan]\ndns = false\n")
    with uplink("wan0", 1) as one, uplink("wan1", 2, 200) as other:
        one("ip", "route", "add", "10.2.0.0/24", "via", "10.1.0.2")
        other("ip", "route", "add", "10.1.0.0/24", "via", "10.2.0.2")
        Path("/proc/sys/net/ipv6/conf/wan0/disable_ipv6").write_text("0")
        one("ip", "address", "add", "fd00:99::1/64", "dev", "eth0", "nodad")
        kvmrun.ok("net", "up")
        with host("v1", bridge="br0", address="192.168.0.7/24") as guest:
            guest("ip", "route", "add", "default", "via", "192.168.0.254")
            assert until(lambda: guest.page(WORLD)) == "you are 10.1.0.2 at wan0"
            for name, (happens, ends) in EVENTS.items():
                with row.case(name):
                    happens()
                    assert until(lambda: guest.page(WORLD))
                    assert filtered_strangers(one, other)
                    found = kvmrun("doctor", "-o", "json").json()["findings"]
                    assert [
                        entry for entry in found if entry["subject"] == "network lan" and entry["level"] != "ok"
                    ] == []
                    assert kvmrun.network()["problem"] is None
                ends()
                assert until(lambda: guest.page(WORLD))
