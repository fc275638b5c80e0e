"""Rules of iptables in nft's words, from the lines of iptables-save: nft itself does not show what their matches ask.

Of a rule that nft shows whole, nothing of the line is needed. What is not known here stays `{"xt": ...}`.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kvmrun.plan.packets.iptables_targets import QUIET, VERDICTS, number, read_target

Expr = list[dict[str, Any]]
Words = Sequence[str]
_UNKNOWN: dict[str, Any] = {"xt": {"type": "match", "name": "unknown"}}
_NEVER: dict[str, Any] = {"match": {"op": "==", "left": {"meta": {"key": "secpath"}}, "right": True}}
_STATES = {"DNAT": "dnat", "SNAT": "snat"}
"""What iptables calls states of a connection, and nft its status."""


def read_rules(rule: Mapping[str, Any]) -> Expr:
    """The parts of a rule, from its line of iptables-save where it has parts that nft does not show."""
    expr: Expr = rule["expr"]
    if rule.get("saved") and any("xt" in part for part in expr):
        return parts(str(rule["saved"]), six=rule.get("family") == "ip6")
    return [part for one in expr for part in _shown(one)]


def _shown(part: dict[str, Any]) -> Expr:
    """A part as nft shows it, where there is no line: of a target it has the name at least."""
    xt = part.get("xt", {})
    if "xt" not in part or not xt or xt.get("name") == "comment":
        return [part] if "xt" not in part else []
    name = str(xt.get("name"))
    if xt.get("type") != "target":
        return [part]
    return [{VERDICTS[name]: None}] if name in VERDICTS else [] if name in QUIET else [part]


def parts(line: str, *, six: bool = False) -> Expr:
    """A line of iptables-save, such as "-A FORWARD -i br0 -j ACCEPT", as nft would show it."""
    found: Expr = []
    try:
        options = list(_options(shlex.split(line)))
    except ValueError:
        return [_UNKNOWN]
    module, protocol = "", next((values[0] for _, name, values in options if name == "-p" and values), "th")
    for negated, name, values in options:
        if name == "-m":
            module = values[0]
            found += _bare(module, [one for _, one, _ in options])
        elif name in {"-j", "-g"}:
            found += read_target(name, values[0], options)
        elif not _is_oftarget(name, options):
            found += _match(name, values, negated, _About(module, protocol, six))
    return found


def _bare(module: str, names: Words) -> Expr:
    """What a match asks by itself, whatever options follow."""
    if module == "rpfilter":
        left = {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}
        return [{"match": {"op": "==" if "--invert" in names else "!=", "left": left, "right": False}}]
    return [_UNKNOWN] if module in {"socket", "cluster", "ipvs", "helper", "cgroup", "nfacct"} else []


def _options(words: Words) -> Iterator[tuple[bool, str, list[str]]]:
    """Each option of a line, whether "!" stands before it, and its values."""
    negated, name, values = False, "", list[str]()
    before = False
    for word in words:
        if word == "!":
            before = True
        elif word.startswith("-") and not word.removeprefix("-")[:1].isdigit():
            if name:
                yield negated, name, values
            negated, name, values, before = before, word, [], False
        else:
            values.append(word)
    if name:
        yield negated, name, values


def _is_oftarget(name: str, options: Sequence[tuple[bool, str, list[str]]]) -> bool:
    """Whether an option stands behind the target: then it is about what is done."""
    names = [one for _, one, _ in options]
    targets = [place for place, one in enumerate(names) if one in {"-j", "-g"}]
    return bool(targets) and names.index(name) > targets[0]


class _About:
    """What an option's meaning depends on."""

    def __init__(self, module: str, protocol: str, six: bool) -> None:
        self.module, self.protocol, self.ip = module, protocol, "ip6" if six else "ip"


def _match(name: str, values: Words, negated: bool, about: _About) -> Expr:
    value = values[0] if values else ""
    operator = "!=" if negated else "=="
    made = _simple(name, value, operator, about)
    if made is not None:
        return made
    readers: Mapping[str, Callable[[], Expr]] = {
        "--tcp-flags": lambda: _tcp_flags(values, operator),
        "--ctstate": lambda: _states(value, negated=negated),
        "--state": lambda: _states(value, negated=negated),
        "--dst-type": lambda: [_fib("daddr", value, operator)],
        "--src-type": lambda: [_fib("saddr", value, operator)],
        "--pol": lambda: [] if (value == "none") is not negated else [_NEVER],
        "--physdev-is-bridged": lambda: [{"bridged": not negated}],
        "--set": lambda: [] if about.module == "recent" and not negated else [_UNKNOWN],
    }
    if name in readers:
        return readers[name]()
    limit = _limit(name, about.module)
    if limit is not None:
        return limit
    return [] if name in _NO_QUESTION or about.module in {"comment", "limit"} else [_UNKNOWN]


_NO_QUESTION = frozenset({
    "-A", "--dir", "--limit-iface-in", "--limit-iface-out", "--name", "--mask", "--rsource", "--rdest", "--invert",
    "--connlimit-mask", "--connlimit-saddr", "--connlimit-daddr", "--hashlimit-burst", "--hashlimit-mode",
    "--hashlimit-name", "--hashlimit-srcmask", "--hashlimit-dstmask", "--hashlimit-htable-size", "--validmark",
    "--hashlimit-htable-max", "--hashlimit-htable-expire", "--hashlimit-htable-gcinterval", "--loose", "--accept-local",
})  # fmt: skip
"""Options that say how another is meant."""


def _simple(name: str, value: str, operator: str, about: _About) -> Expr | None:
    """A comparison of one field with what the option says; None for another option."""
    transport = about.protocol if about.protocol in {"tcp", "udp"} else "th"
    fields: Mapping[str, tuple[dict[str, Any], Callable[[str], Any]]] = {
        "-i": ({"meta": {"key": "iifname"}}, _link),
        "-o": ({"meta": {"key": "oifname"}}, _link),
        "-s": ({"payload": {"protocol": about.ip, "field": "saddr"}}, _prefix),
        "-d": ({"payload": {"protocol": about.ip, "field": "daddr"}}, _prefix),
        "-p": ({"meta": {"key": "l4proto"}}, _protocol),
        "--dport": ({"payload": {"protocol": transport, "field": "dport"}}, _ports),
        "--dports": ({"payload": {"protocol": transport, "field": "dport"}}, _ports),
        "--sport": ({"payload": {"protocol": transport, "field": "sport"}}, _ports),
        "--sports": ({"payload": {"protocol": transport, "field": "sport"}}, _ports),
        "--icmp-type": ({"payload": {"protocol": "icmp", "field": "type"}}, _icmp),
        "--icmpv6-type": ({"payload": {"protocol": "icmpv6", "field": "type"}}, _icmp),
        "--pkt-type": ({"meta": {"key": "pkttype"}}, lambda text: text),
        "--src-range": ({"payload": {"protocol": about.ip, "field": "saddr"}}, _range),
        "--dst-range": ({"payload": {"protocol": about.ip, "field": "daddr"}}, _range),
        "--mac-source": ({"payload": {"protocol": "ether", "field": "saddr"}}, str.lower),
        "--uid-owner": ({"meta": {"key": "skuid"}}, number),
        "--gid-owner": ({"meta": {"key": "skgid"}}, number),
        "--ctstatus": ({"ct": {"key": "status"}}, lambda text: text.lower().replace("_", "-").split(",")),
        "--ctdir": ({"ct": {"key": "direction"}}, str.lower),
        "--ctorigsrc": ({"ct": {"key": f"{about.ip} saddr", "dir": "original"}}, _prefix),
        "--ctorigdst": ({"ct": {"key": f"{about.ip} daddr", "dir": "original"}}, _prefix),
    }
    if name == "--mark":
        wanted, _, mask = value.partition("/")
        left: dict[str, Any] = {"ct" if about.module == "connmark" else "meta": {"key": "mark"}}
        left = {"&": [left, number(mask)]} if mask else left
        return [{"match": {"op": operator, "left": left, "right": number(wanted)}}]
    if name not in fields or (name == "-p" and value == "all"):
        return None if name not in fields else []
    left, read = fields[name]
    made: Expr = [{"match": {"op": "in" if name == "--ctstatus" else operator, "left": left, "right": read(value)}}]
    return [{"none": made}] if name == "--ctstatus" and operator == "!=" else made


def _states(text: str, *, negated: bool) -> Expr:
    """One of several states, which nft keeps in two fields; of several that are negated, each is by itself."""
    words = text.split(",")
    states = [word.lower() for word in words if word not in _STATES]
    status = [_STATES[word] for word in words if word in _STATES]
    alone: Expr = []
    if states:
        alone.append({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": states}})
    if status:
        alone.append({"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": status}})
    if negated:
        return [{"none": alone}]
    return alone if len(alone) == 1 else [{"one": alone}]


def _tcp_flags(values: Words, operator: str) -> Expr:
    everything = "fin,syn,rst,psh,ack,urg"
    mask, wanted = (text.lower().replace("all", everything).replace("none", "") for text in values[:2])
    left = {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, mask.split(",")]}
    return [{"match": {"op": operator, "left": left, "right": wanted.split(",") if wanted else 0}}]


def _limit(name: str, module: str) -> Expr | None:
    """A limit of a rate or of a number of connections: what is within it, or what is above."""
    if name == "--limit" or name in {"--hashlimit-upto", "--hashlimit"}:
        return [{"limit": {}}]
    if name == "--hashlimit-above":
        return [{"limit": {"inv": True}}]
    if name in {"--connlimit-above", "--connlimit-upto"}:
        return [{"ct count": {"inv": name.endswith("above")}}]
    return [_UNKNOWN] if module in {"hashlimit", "connlimit"} and name.endswith("reconnect") else None


def _fib(field: str, value: str, operator: str) -> dict[str, Any]:
    kinds = [word.lower() for word in value.split(",")]
    return {"match": {"op": operator, "left": {"fib": {"result": "type", "flags": [field]}}, "right": {"set": kinds}}}


def _link(text: str) -> str:
    return f"{text[:-1]}*" if text.endswith("+") else text


def _prefix(text: str) -> Any:
    address, _, length = text.partition("/")
    if not length or length in {"32", "128"}:
        return address
    bits = int(length) if length.isdigit() else sum(bin(int(one)).count("1") for one in length.split("."))
    return {"prefix": {"addr": address, "len": bits}}


def _protocol(text: str) -> Any:
    return int(text) if text.isdigit() else text


def _ports(text: str) -> Any:
    found: list[Any] = []
    for one in text.split(","):
        first, colon, last = one.partition(":")
        found.append({"range": [int(first or 0), int(last or 65535)]} if colon else int(one))
    return {"set": found}


def _icmp(text: str) -> Any:
    return {"8": "echo-request", "128": "echo-request", "0": "echo-reply"}.get(text, {"unknown": text})


def _range(text: str) -> Any:
    first, _, last = text.partition("-")
    return {"range": [first, last or first]}
