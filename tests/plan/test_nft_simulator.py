"""Packets on their way through rulesets as nft lists them."""

import json
from ipaddress import IPv4Address
from typing import Any

import pytest

from kvmrun.plan.packets.nft_simulator import Packet, verdicts

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
    chains = [chain, *({**where, "name": name} for name in others)]
    return [
        *({"chain": one} for one in chains),
        *({"rule": {**where, "chain": name, "expr": expr}} for name, expr in named),
    ]


def verdict(found: list[dict[str, Any]], packet: Packet = OUT) -> str:
    (outcome,) = verdicts(found, "forward", packet)
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
        ([meta("pkttype", "host")], True),
        ([meta("pkttype", "broadcast")], False),
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
        ([ip("dport", 80, "udp")], False),
        ([{"limit": {"rate": 1}}], True),
        ([{"limit": {"rate": 1, "inv": True}}], False),
        ([{"ct count": {"val": 9, "inv": True}}], False),
        ([{"quota": {"val": 9, "val_unit": "mbytes", "used": 1, "used_unit": "mbytes"}}], True),
        ([{"quota": {"val": 1, "val_unit": "kbytes", "used": 1024}}], False),
        ([{"meter": {"key": {}, "name": "m", "stmt": {"limit": {"rate": 1}}}}], True),
        ([{"set": {"op": "add", "elem": {"payload": {"protocol": "ip", "field": "saddr"}}, "set": "@s"}}], True),
        ([HIDDEN, ip("daddr", "192.168.0.1")], False),
        ([{"xt": {"type": "match", "name": "comment"}}], True),
        ([{"xt": None}], True),
    ],
)
def test_what_fits_a_new_packet(parts: Expr, *, fits: bool) -> None:
    assert verdict(ruleset("drop", [*parts, ACCEPT])) == ("accept" if fits else "drop")
    assert verdict(ruleset("accept", [*parts, DROP])) == ("drop" if fits else "accept")


@pytest.mark.parametrize(
    "part",
    [
        HIDDEN,
        ip("dport", 80, "tcp"),
        ip("ttl", 64),
        meta("cpu", 0),
        {"match": {"op": "==", "left": {"numgen": {"mode": "random", "mod": 2, "offset": 0}}, "right": 1}},
        {"match": {"op": "==", "left": {"osf": {"key": "name"}}, "right": "Linux"}},
        {"what nft learns next year": {}},
        {"quota": "unheard of"},
    ],
)
def test_what_is_not_known_is_said_with_the_rule_where_it_matters(part: dict[str, Any]) -> None:
    """And only there: where both ways end alike, or another part does not fit, there is no doubt."""
    for policy, end in (("drop", ACCEPT), ("accept", DROP)):
        (one,) = verdicts(ruleset(policy, [part, end]), "forward", OUT)
        assert (one.verdict, one.by) == ("unknown", "ip filter FORWARD")
        assert json.loads(one.rule) == [part, end]
    assert verdict(ruleset("drop", [part, DROP])) == "drop"
    assert verdict(ruleset("drop", [part, meta("iifname", "other"), ACCEPT])) == "drop"
    assert verdict(ruleset("drop", [part, ACCEPT], [meta("iifname", "br0"), ACCEPT])) == "accept"


@pytest.mark.parametrize("deed", ["queue", "xt"])
def test_what_a_program_decides_is_not_known(deed: str) -> None:
    what = {"queue": {"queue": {"num": 0}}, "xt": {"xt": {"type": "target", "name": "NDPI"}}}[deed]
    assert verdict(ruleset("accept", [what])) == "unknown"


SAVED = "-A FORWARD {} -j {}"


@pytest.mark.parametrize(
    ("asks", "fits"),
    [
        ("-m conntrack --ctstate NEW", True),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", False),
        ("-m conntrack ! --ctstate RELATED,ESTABLISHED", True),
        ("-m conntrack --ctstate DNAT", False),
        ("-m addrtype --dst-type LOCAL", False),
        ("-m addrtype ! --dst-type LOCAL", True),
        ("-p tcp -m multiport --dports 22,443,8000:9000", None),
        ("-p udp -m multiport --dports 53", False),
        ("-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN", True),
        ('-m comment --comment "-p udp ! -j DROP"', True),
        ("-m hashlimit --hashlimit-above 5/sec --hashlimit-mode srcip --hashlimit-name a", False),
        ("-m connlimit --connlimit-upto 5 --connlimit-mask 32 --connlimit-saddr", True),
        ("-m policy --dir in --pol ipsec", False),
        ("-m set --match-set f2b-sshd src", None),
        ("-p udp -m set --match-set f2b-sshd src", False),
        ("-m geoip --source-country XX", None),
        ("-m mark ! --mark 0x1/0xff", True),
        ("! -i eth0 -s 192.168.0.0/255.255.0.0", True),
    ],
)
def test_what_nft_does_not_show_is_read_from_the_line_of_iptables(asks: str, *, fits: bool | None) -> None:
    for policy, end in (("drop", "ACCEPT"), ("accept", "DROP")):
        rules = ruleset(policy, [HIDDEN, ACCEPT])
        rules[-1]["rule"]["saved"] = SAVED.format(asks, end)
        other = {"drop": "accept", "accept": "drop"}[policy]
        assert verdict(rules) == {True: other, False: policy, None: "unknown"}[fits]


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
    ask = OUT.replace(oif="", protocol="udp", port=53)
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
    assert verdict(ruleset("drop", [{"vmap": {"key": {"concat": []}, "data": "@named"}}])) == "unknown"


def test_the_targets_of_iptables_are_verdicts() -> None:
    assert verdict(ruleset("accept", [{"xt": {"type": "target", "name": "REJECT"}}])) == "reject"
    assert verdict(ruleset("accept", [{"xt": {"type": "target", "name": "LOG"}}])) == "accept"


def test_who_drops_is_told() -> None:
    (one,) = verdicts(ruleset("drop"), "forward", OUT)
    assert (one.base, one.by, one.reason) == ("ip filter FORWARD", "ip filter FORWARD", "its policy is drop")
    (one,) = verdicts(ruleset("accept", [{"jump": {"target": "x"}}], x=[[DROP]]), "forward", OUT)
    assert (one.base, one.by, one.reason) == ("ip filter FORWARD", "ip filter x", "it drops what no rule of it accepts")


def test_our_own_tables_other_hooks_and_families_are_passed_over() -> None:
    assert verdicts(ruleset("drop", table="kvmrun_lan"), "forward", OUT) == []
    assert verdicts(ruleset("drop"), "postrouting", OUT) == []
    six = [{"chain": {**ruleset("drop")[0]["chain"], "family": "ip6"}}]
    assert verdicts(six, "forward", OUT) == []
