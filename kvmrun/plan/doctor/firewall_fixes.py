"""What lets a packet pass that somebody's chain drops: one rule, and how the chain's owner makes it permanent."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kvmrun.model.value import Value
from kvmrun.plan.doctor.required_packets import ADDRESS, ANSWERS, BACK, LED, NAMES, NEAR, OUT, Need

_STATES = {OUT: "", BACK: "established", LED: "dnat", NEAR: "", ADDRESS: "", NAMES: "", ANSWERS: ""}
_PLACES = {"shorewall": "kvmrun export shorewall --lines"}


class Fix(Value):
    """A command, until when it holds, and the command of the tool whose rules they are that holds for good."""

    command: str
    lasts: str
    permanent: str


def fix(base: str, drops: Sequence[Need], ruleset: Iterable[Mapping[str, Any]]) -> Fix:
    """How the chain `base`, "FAMILY TABLE CHAIN", lets through what it drops, and nothing else."""
    rules = list(ruleset)
    family, table, name = base.split()
    chains = {one["chain"]["name"] for one in rules if _is_in(one.get("chain"), family, table)}
    hook = next((str(one["chain"]["hook"]) for one in rules if _is_base(one.get("chain"), base)), "forward")
    owner = _owner(table, chains)
    if hook == "prerouting" and any(one.what == BACK for one in drops):
        shown = f"iptables-legacy-save -t {table}" if family == "legacy" else f"nft list chain {base}"
        return Fix(command=shown, lasts="", permanent=_permanent(owner, hook, drops))
    into = f"{family} {table} {'DOCKER-USER' if name == 'FORWARD' and 'DOCKER-USER' in chains else name}"
    lines = dict.fromkeys(line for one in drops for line in _lines(one, hook))
    command = _by_iptables(into, lines) if _is_of_iptables(family, table, rules) else _by_nft(into, lines)
    loads = {"": "whoever made the chain"}.get(owner, owner)
    lasts = "the next boot" if into.endswith(" DOCKER-USER") else f"{loads} loads its rules again, or the next boot"
    return Fix(command=command, lasts=lasts, permanent=_permanent(owner, hook, drops))


def owner(base: str, ruleset: Iterable[Mapping[str, Any]]) -> str:
    """Whose chain it is, where we know: "shorewall", "firewalld" or "ufw"."""
    family, table, _ = base.split()
    return _owner(table, {one["chain"]["name"] for one in ruleset if _is_in(one.get("chain"), family, table)})


def _owner(table: str, chains: set[str]) -> str:
    if table == "firewalld":
        return "firewalld"
    return "ufw" if any(one.startswith("ufw-") for one in chains) else "shorewall" if "shorewall" in chains else ""


def _is_in(chain: Mapping[str, Any] | None, family: str, table: str) -> bool:
    return bool(chain) and (chain["family"], chain["table"]) == (family, table)  # type: ignore[index]


def _is_base(chain: Mapping[str, Any] | None, base: str) -> bool:
    return bool(chain) and [chain["family"], chain["table"], chain["name"]] == base.split()  # type: ignore[index]


def _lines(need: Need, hook: str) -> Iterator[tuple[tuple[str, str], ...]]:
    """A rule as (name, value) pairs, in the words that nft and iptables have in common."""
    packet = need.packet
    link = [("in", packet.iif)] if packet.iif and hook != "output" else []
    link += [("out", packet.oif)] if packet.oif and hook in {"forward", "output", "postrouting"} else []
    link = [one for one in link if one[0] == "out"] if hook == "postrouting" else link
    port: list[tuple[str, str]] = []
    if need.what in {ADDRESS, NAMES, LED}:
        target = [("to", str(packet.target))] if need.what == LED and hook != "prerouting" else []
        port = [*target, ("protocol", packet.protocol), ("port", str(packet.port))]
    elif need.what == ANSWERS:
        port = [("protocol", "udp"), ("from port", "67" if packet.port == 68 else "53")]
    state = [("state", _STATES[need.what])] if _STATES[need.what] and hook != "prerouting" else []
    yield (*link, *port, *state)
    if need.what == NAMES:
        yield (*link, ("protocol", "tcp"), ("port", "53"))
    if need.what == ANSWERS and packet.port != 68:
        yield (*link, ("protocol", "tcp"), ("from port", "53"))


def _by_nft(into: str, lines: Iterable[tuple[tuple[str, str], ...]]) -> str:
    words = {"in": 'iifname "{}"', "out": 'oifname "{}"', "to": "ip daddr {}"}
    words |= {"port": "{protocol} dport {}", "from port": "{protocol} sport {}"}
    states = {"established": "ct state established,related", "dnat": "ct status dnat"}
    rules = []
    for line in lines:
        protocol = dict(line).get("protocol", "")
        parts = [words[key].format(value, protocol=protocol) for key, value in line if key in words]
        parts += [states[value] for key, value in line if key == "state"]
        rules.append(f"insert rule {into} {' '.join(parts)} accept")
    return f"nft {shlex.quote('; '.join(rules))}"


def _by_iptables(into: str, lines: Iterable[tuple[tuple[str, str], ...]]) -> str:
    """So that iptables goes on reading its table."""
    family, table, chain = into.split()
    tool = {"legacy": "iptables-legacy", "ip6": "ip6tables"}.get(family, "iptables")
    tool += "" if table == "filter" else f" -t {table}"
    words = {"in": "-i {}", "out": "-o {}", "to": "-d {}", "protocol": "-p {}"}
    words |= {"port": "--dport {}", "from port": "--sport {}"}
    states = {"established": "RELATED,ESTABLISHED", "dnat": "DNAT"}
    commands = []
    for line in lines:
        parts = [words[key].format(value) for key, value in line if key in words]
        parts += [f"-m conntrack --ctstate {states[value]}" for key, value in line if key == "state"]
        commands.append(f"{tool} -I {chain} {' '.join(parts)} -j ACCEPT")
    return "; ".join(commands)


def _is_of_iptables(family: str, table: str, rules: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a table looks like one of iptables', and nobody else has put into it what iptables cannot read."""
    if family == "legacy":
        return True
    here = [one["rule"] for one in rules if _is_in(one.get("rule"), family, table)]
    chains = [one["chain"] for one in rules if _is_in(one.get("chain"), family, table)]
    bases = [str(one["name"]) for one in chains if "hook" in one]
    native = any("ct" in part.get("match", {}).get("left", {}) for rule in here for part in rule["expr"])
    tables = {"filter", "mangle", "raw", "nat", "security"}
    return family in {"ip", "ip6"} and table in tables and all(name.isupper() for name in bases) and not native


def _permanent(owner: str, hook: str, drops: Sequence[Need]) -> str:
    """What makes it so for good, in the tool's own way: as narrow as the tool can say it."""
    if owner in _PLACES:
        return _PLACES[owner]
    if owner == "ufw":
        return "; ".join(dict.fromkeys(line for one in drops for line in _by_ufw(one, hook)))
    if owner == "firewalld":
        bridges = dict.fromkeys(one.bridge for one in drops)
        return "; ".join(f"firewall-cmd --permanent --zone=trusted --add-interface={one}" for one in bridges)
    return ""


def _by_ufw(need: Need, hook: str) -> Iterator[str]:
    """ufw lets answers pass by itself."""
    packet = need.packet
    if need.what in {ADDRESS, NAMES} and hook == "input":
        only = f" proto {packet.protocol}" if need.what == ADDRESS else ""
        yield f"ufw allow in on {need.bridge} to any port {packet.port}{only}"
    elif need.what == LED:
        to = f"to {packet.target} port {packet.port} proto {packet.protocol}"
        yield f"ufw route allow in on {packet.iif} out on {packet.oif} {to}"
    elif need.what in {OUT, NEAR}:
        yield f"ufw route allow in on {packet.iif} out on {packet.oif}"
    elif need.what == ANSWERS:
        yield f"ufw allow out on {need.bridge}"
