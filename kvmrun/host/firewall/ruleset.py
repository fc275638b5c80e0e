"""The packet filter of all programs: what nft lists, and the details of iptables rules that it does not show."""

import json
import os
import re
import subprocess
from typing import Any

from kvmrun.errors import KvmrunError
from kvmrun.host.firewall import nfnetlink, nft
from kvmrun.host.links import raw_netlink
from kvmrun.host.process import process
from kvmrun.model.deadline import remaining
from kvmrun.model.printable import printable

_LIMIT = 10.0
_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_TRANSLATES = {"PREROUTING": -100, "OUTPUT": -100, "INPUT": 100, "POSTROUTING": 100}
"""Where the kernel calls the chains of the older iptables."""
Lines = dict[tuple[str, str, str], list[str]]


def read_ruleset() -> tuple[dict[str, Any], ...]:
    """The ruleset in nft's JSON, without the tables that are dormant, which do nothing.

    A rule of iptables has its line of iptables-save as "saved", others may have "text"; the tables of the older
    iptables are there as family "legacy". Raises KvmrunError when nft does not list.
    """
    try:
        found = _awake(_objects())
    except (ValueError, raw_netlink.DumpInterrupted):
        raise KvmrunError("the packet filter could not be read", "try again", reason="nft listed no JSON") from None
    rules = [one["rule"] for one in found if "rule" in one]
    if any("xt" in part for rule in rules for part in rule["expr"]):
        _complete(rules)
    texts = _texts(nft.list_ruleset("-a")) if rules else {}
    for rule in rules:
        rule.setdefault("text", texts.get((rule["family"], rule["table"], rule["handle"]), ""))
    return (*found, *_legacy())


def _objects() -> list[dict[str, Any]]:
    """Everything nft lists but tables. nft 1.0.6 cannot write a table with one flag as JSON: its parts are listed."""
    try:
        return _parsed("ruleset")
    except ValueError:
        found = [*_parsed("sets"), *_parsed("maps")]
        for family, table, chain in nfnetlink.chains():
            found += _parsed("chain", family, table, chain)
        return found


def _parsed(*what: str) -> list[dict[str, Any]]:
    """What nft lists as JSON. Raises ValueError where that is none, which has no other meaning than that."""
    try:
        return [one for one in json.loads(nft.list_ruleset("-j", *what))["nftables"] if "metainfo" not in one]
    except KeyError:
        raise ValueError from None


def _awake(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the objects that are in no dormant table."""
    asleep = nfnetlink.dormant()
    told = [(one, next(iter(one.values()))) for one in found]
    return [one for one, its in told if (its.get("family"), its.get("table", its.get("name"))) not in asleep]


def _complete(rules: list[dict[str, Any]]) -> None:
    """Add the lines of iptables-save where they are as many as the rules of the chain: both have them in one order."""
    for family, tool in (("ip", "iptables-nft-save"), ("ip6", "ip6tables-nft-save")):
        chains: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for rule in rules:
            if rule["family"] == family:
                chains.setdefault((family, rule["table"], rule["chain"]), []).append(rule)
        if not any("xt" in part for here in chains.values() for rule in here for part in rule["expr"]):
            continue
        saved, _ = _saved(tool, family)
        for chain, here in chains.items():
            if len(lines := saved.get(chain, [])) == len(here):
                for rule, line in zip(here, lines, strict=True):
                    rule["saved"] = line


def _saved(tool: str, family: str) -> tuple[Lines, dict[tuple[str, str, str], str]]:
    """The lines of every chain by (family, table, chain), and the policies of the base chains."""
    path = process.find_program(tool)
    try:
        words = [path] if path else ["true"]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=remaining(_LIMIT),
            check=False,
            errors="replace",
            env={"LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}, {}
    lines: Lines = {}
    policies: dict[tuple[str, str, str], str] = {}
    table = ""
    for line in done.stdout.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif found := re.match(r":(\S+) (\S+)", line):
            policies[family, table, found[1]] = found[2].lower()
        elif found := re.match(r"-A (\S+)", line):
            lines.setdefault((family, table, found[1]), []).append(printable(line, 1000))
    return lines, policies


def _texts(listed: str) -> dict[tuple[str, str, int], str]:
    """The text of each rule by family, table and handle."""
    found: dict[tuple[str, str, int], str] = {}
    family = table = ""
    for line in listed.splitlines():
        if head := re.match(r"table (\S+) (\S+) ", line):
            family, table = head[1], head[2]
        elif rule := re.fullmatch(r"\t\t(.*\S) # handle ([0-9]+)", line):
            text = re.sub(r"counter packets [0-9]+ bytes [0-9]+ ", "", rule[1])
            found[family, table, int(rule[2])] = printable(text.strip(), 1000)
    return found


def _legacy() -> list[dict[str, Any]]:
    """The tables of the older iptables, asked only where they are in use: asking would make them."""
    names = ""
    try:
        with open(f"/proc/{os.getpid()}/net/ip_tables_names", encoding="utf-8") as file:
            names = file.read()
    except OSError:
        return []
    if not names.split():
        return []
    lines, policies = _saved("iptables-legacy-save", "legacy")
    found: list[dict[str, Any]] = []
    for (family, table, name), policy in policies.items():
        chain: dict[str, Any] = {"family": family, "table": table, "name": name}
        if policy != "-":
            at = _TRANSLATES[name] if table == "nat" else _PRIORITIES.get(table, 0)
            kind = "nat" if table == "nat" else "filter"
            chain |= {"hook": name.lower(), "prio": at, "policy": policy, "type": kind}
        found.append({"chain": chain})
    for (family, table, name), here in lines.items():
        for line in here:
            rule = {"family": family, "table": table, "chain": name, "expr": [{"xt": {}}], "saved": line}
            found.append({"rule": rule})
    return found
