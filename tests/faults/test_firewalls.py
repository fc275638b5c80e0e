"""Firewalls of others that drop what guests send: named with the mend, and the mend mends it."""

import re
import subprocess
from pathlib import Path

import pytest
from support.cli import Cli
from support.doctor import DOCKER, DOCKER_LAST, FIREWALLD, UFW, Doctor, well
from support.hosts import Host, host, served
from support.lan import forwarding
from support.tally import Tally
from support.world import load_rules

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(900)]

SITE = """
table inet site {
  set inside { type ifname; elements = { "lo", "eth7" }; }
  chain known { meta iifname @inside accept; ct state vmap { established : accept, related : accept }; }
  chain routed { type filter hook forward priority -150; policy accept; jump known; counter reject; }
}
"""
SHAPES = {
    "Docker": (DOCKER, "ip filter FORWARD", "DOCKER-USER", ""),
    "Docker, dropping by a last rule": (
        DOCKER.replace("policy drop", "policy accept") + DOCKER_LAST,
        "ip filter FORWARD",
        "DOCKER-USER",
        "",
    ),
    "firewalld": (FIREWALLD, "inet firewalld filter_FORWARD", "inet firewalld filter_FORWARD", "firewall-cmd"),
    "ufw": (UFW, "ip filter FORWARD", "FORWARD", "ufw route allow in on br0 out on eth9"),
    "a site's own, before ours, with a set and a map": (SITE, "inet site routed", "inet site routed", ""),
}
"""Rules; the chain that drops by them; the one the mend is put into; how the tool that wrote them makes it last."""


def test_a_chain_that_drops_is_named_and_its_mend_mends_it(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    """Before a network is up, by what the rules say; while it is up, by what a guest reaches as well."""
    row = tally.row(
        "F-16", "others' rules drop what guests send: the doctor names chain and mend, and that mends it", 5
    )
    with well(lab, kvmrun) as doctor, served(doctor.isp):
        kvmrun.ok("net", "up")
        with host("v1", bridge="br0", address="192.168.0.1/24") as guest:
            guest("ip", "route", "add", "default", "via", "192.168.0.254")
            forwarding("v1")
            for shape in list(SHAPES)[:: 1 if row.full else 2]:
                with row.case(f"{shape}, up"):
                    assert guest.page("172.20.1.254") == "you are 172.20.1.130 at eth9"
                    named_and_mended(doctor, shape, guest)
                subprocess.run(["nft", "delete", "table", *table(shape)], check=True)
        kvmrun.ok("net", "down")
        for shape in SHAPES if row.full else []:
            with row.case(f"{shape}, down"):
                named_and_mended(doctor, shape)
            subprocess.run(["nft", "delete", "table", *table(shape)], check=True)


def named_and_mended(doctor: Doctor, shape: str, guest: Host | None = None) -> None:
    rules, chain, mend, lasting = SHAPES[shape]
    load_rules(rules)
    if guest:
        assert not guest.reaches("172.20.1.254")
    found = doctor.only("filter")
    assert (found["level"], chain in found["text"]) == ("problem", True)
    assert re.search(rf"insert rule (ip filter )?{mend} iifname|iptables -I {mend} -i br0 -o eth9", found["fix"])
    assert lasting in (found["permanent"] or "")
    assert bool(found["permanent"]) == bool(lasting)
    doctor.mended(found)
    if guest:
        assert guest.page("172.20.1.254") == "you are 172.20.1.130 at eth9"


def table(shape: str) -> list[str]:
    """Family and name of the table that a shape makes."""
    return SHAPES[shape][1].split()[:2]
