"""Packets on their way through rulesets as nft lists them."""

from typing import Any

import pytest

from kvmrun.light.ipaddress import IPv4Address
from kvmrun.plan.passage import Packet, outcomes

OUT = Packet(iif="br0", oif="eth0", source=IPv4Address("192.168.0.1"), target=IPv4Address("192.0.2.1"), state="new")
BACK = Packet(
    iif="eth0", oif="br0", source=IPv4Address("192.0.2.1"), target=IPv4Address("192.168.0.1"), state="established"
)
Expr = list[dict[str, Any]]
ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
HIDDEN: dict[str, Any] = {"xt": {"type": "match", "name": "conntrack"}}


def meta(key: str, value: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": value}}


def state(*words: str) -> dict[str, Any]:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": list(words)}}


def ip(field: str, value: Any, protocol: str = "ip") -> dict[str, Any]:
    return {"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": field}}, "right": value}}


def ruleset(policy: str, *rules: Expr, table: str = "filter", **others: list[Expr]) -> list[dict[str, Any]]:
    """A forward chain of `rules`, and `others` it may jump to."""
    where = {"family": "ip", "table": table}
    chain = {**where, "name": "FORWARD", "hook": "forward", "policy": policy}
    named = [("FORWARD", rule) for rule in rules] + [(name, rule) for name, some in others.items() for rule in some]
    return [{"chain": chain}, *({"rule": {**where, "chain": name, "expr": expr}} for name, expr in named)]


def verdict(found: list[dict[str, Any]], packet: Packet = OUT) -> str:
    (outcome,) = outcomes(found, "forward", packet)
    return outcome.verdict


@pytest.mark.parametrize(
    ("parts", "fits"),
    [
        ([], True),
        ([{"counter": {"packets": 1, "bytes": 2}}], True),
        ([meta("iifname", "br0")], True),
        ([meta("iif", "br0")], True),
        ([meta("iifname", "br*")], True),
        ([meta("iifname", "docker0")], False),
        ([meta("iifname", "br0", "!=")], False),
        ([meta("oifname", "docker0", "!=")], True),
        ([meta("iifname", {"set": ["a", "br0"]}), meta("oifname", {"set": ["b"]})], False),
        ([meta("l4proto", "tcp")], True),
        ([meta("l4proto", {"set": ["udp", "icmp"]})], False),
        ([meta("pkttype", "host")], False),
        ([state("established", "related")], False),
        ([state("new")], True),
        ([{"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}], False),
        ([ip("saddr", {"prefix": {"addr": "192.168.0.0", "len": 16}})], True),
        ([ip("saddr", {"prefix": {"addr": "10.0.0.0", "len": 8}})], False),
        ([ip("saddr", {"range": ["192.168.0.1", "192.168.0.9"]})], True),
        ([ip("saddr", {"set": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "192.168.0.1"]})], True),
        ([ip("daddr", "192.168.0.1")], False),
        ([ip("daddr", {"prefix": {"addr": "::", "len": 96}}, "ip6")], False),
        ([ip("daddr", {"range": ["no", "sense"]})], False),
        ([ip("dport", 80, "tcp")], False),
        ([{"limit": {"rate": 1}}], False),
        ([HIDDEN], False),
        ([{"xt": {"type": "match", "name": "comment"}}], True),
        ([{"xt": None}], True),
    ],
)
def test_what_fits_a_new_packet(parts: Expr, *, fits: bool) -> None:
    """What cannot be told counts as not fitting, for a rule that accepts and for one that drops."""
    assert verdict(ruleset("drop", [*parts, ACCEPT])) == ("accept" if fits else "drop")
    assert verdict(ruleset("accept", [*parts, DROP])) == ("drop" if fits else "accept")


def test_what_iptables_asks_of_the_connection_is_taken_for_the_usual_only_of_replies() -> None:
    rules = ruleset("drop", [HIDDEN, ACCEPT])
    assert (verdict(rules), verdict(rules, BACK)) == ("drop", "accept")
    assert verdict(ruleset("accept", [HIDDEN, DROP]), BACK) == "accept"


def test_what_iptables_asks_of_the_address_is_taken_for_this_host() -> None:
    """As ufw has it: what is for this host returns, and all that is left is dropped."""
    ask = OUT.but(oif="", protocol="udp", port=53)
    local = [{"xt": {"type": "match", "name": "addrtype"}}, {"return": None}]
    rules = ruleset("drop", [{"jump": {"target": "not-local"}}], [ACCEPT], **{"not-local": [local, [DROP]]})
    assert (verdict(rules, ask), verdict(rules)) == ("accept", "drop")


@pytest.mark.parametrize(
    ("part", "fits"),
    [
        (ip("dport", 53, "udp"), True),
        (ip("dport", 53, "th"), True),
        (ip("dport", {"set": [22, {"range": [50, 60]}]}, "udp"), True),
        (ip("dport", {"range": [54, 60]}, "udp"), False),
        (ip("dport", 53, "tcp"), False),
        (meta("l4proto", {"set": ["tcp", "udp"]}), True),
        (ip("protocol", "tcp"), False),
    ],
)
def test_what_fits_a_question_for_a_name(part: dict[str, Any], *, fits: bool) -> None:
    ask = OUT.but(oif="", protocol="udp", port=53)
    assert verdict(ruleset("drop", [part, ACCEPT]), ask) == ("accept" if fits else "drop")


def test_jumps_come_back_and_gotos_do_not() -> None:
    jump, goto = [{"jump": {"target": "other"}}], [{"goto": {"target": "other"}}]
    assert verdict(ruleset("drop", jump, [ACCEPT], other=[])) == "accept"
    assert verdict(ruleset("drop", jump, [ACCEPT], other=[[{"return": None}], [DROP]])) == "accept"
    assert verdict(ruleset("drop", goto, [ACCEPT], other=[])) == "drop"
    assert verdict(ruleset("accept", jump, [ACCEPT], other=[[DROP]])) == "drop"
    assert verdict(ruleset("accept", jump, other=[jump])) == "accept"


def test_maps_of_verdicts_are_looked_up() -> None:
    way = {"vmap": {"key": {"meta": {"key": "iifname"}}, "data": {"set": [["a", DROP], ["br0", ACCEPT]]}}}
    assert verdict(ruleset("drop", [way])) == "accept"
    jump = {"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["new", {"jump": {"target": "other"}}]]}}}
    assert verdict(ruleset("drop", [jump], other=[[ACCEPT]])) == "accept"
    assert verdict(ruleset("drop", [jump], other=[[ACCEPT]]), BACK) == "drop"
    assert verdict(ruleset("drop", [{"vmap": {"key": {"concat": []}, "data": "@named"}}])) == "drop"


def test_the_targets_of_iptables_are_verdicts() -> None:
    assert verdict(ruleset("accept", [{"xt": {"type": "target", "name": "REJECT"}}])) == "reject"
    assert verdict(ruleset("accept", [{"xt": {"type": "target", "name": "LOG"}}])) == "accept"


def test_who_drops_is_told() -> None:
    (one,) = outcomes(ruleset("drop"), "forward", OUT)
    assert (one.base, one.by, one.why) == ("ip filter FORWARD", "ip filter FORWARD", "its policy is drop")
    (one,) = outcomes(ruleset("accept", [{"jump": {"target": "x"}}], x=[[DROP]]), "forward", OUT)
    assert (one.base, one.by, one.why) == ("ip filter FORWARD", "ip filter x", "it drops what no rule of it accepts")


def test_our_own_tables_other_hooks_and_families_are_passed_over() -> None:
    assert outcomes(ruleset("drop", table="kvmrun_lan"), "forward", OUT) == []
    assert outcomes(ruleset("drop"), "postrouting", OUT) == []
    six = [{"chain": {**ruleset("drop")[0]["chain"], "family": "ip6"}}]
    assert outcomes(six, "forward", OUT) == []
