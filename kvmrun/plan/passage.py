"""Which way a packet would go through the packet filter as it is: the rules of others read, one packet at a time.

The ruleset is that of `nft -j list ruleset`. What cannot be judged from it counts as not fitting, with two exceptions:
nft does not show what iptables asks of the connection or of the kind of address, and for a reply, a packet sent on from
a port, and one to this host, such a rule is taken for the usual one.
"""

from typing import Any, Literal

from kvmrun.light.abc import Callable, Iterable, Mapping
from kvmrun.light.ipaddress import IPv4Address, IPv4Network
from kvmrun.model.frozen import Frozen

_DEEPEST = 16
"""Of jumps; the kernel takes no more, and no circles."""
_VERDICTS = {"accept", "drop", "reject", "masquerade", "snat"}
Rules = Mapping[tuple[str, str, str], list[list[dict[str, Any]]]]


class Packet(Frozen):
    """A packet on its way through the host, or to it where `oif` is "": from where to where, and whether it opens a
    connection or answers. `port` is where to, 0 for one that is not told; `forwarded` that it was sent on from a port
    of the host.
    """

    iif: str
    oif: str
    source: IPv4Address
    target: IPv4Address
    state: Literal["new", "established"]
    protocol: Literal["tcp", "udp"] = "tcp"
    port: int = 0
    forwarded: bool = False


class Outcome(Frozen):
    """What a base chain does: the verdict, and the chain that gave it, as "FAMILY TABLE CHAIN"."""

    base: str
    verdict: str
    by: str
    why: str


def outcomes(ruleset: Iterable[Mapping[str, Any]], hook: str, packet: Packet) -> list[Outcome]:
    """What each base chain at `hook` does with an IPv4 packet, but for our own tables."""
    found = list(ruleset)
    named = _named(found)
    rules: dict[tuple[str, str, str], list[list[dict[str, Any]]]] = {}
    for one in found:
        if rule := one.get("rule"):
            place = rule["family"], rule["table"]
            rules.setdefault((*place, rule["chain"]), []).append(_resolved(rule["expr"], named.get(place, {})))
    chains = [one["chain"] for one in found if one.get("chain", {}).get("hook") == hook]
    return [
        _through(chain, _Walk(rules=rules, packet=packet))
        for chain in chains
        if chain["family"] in {"ip", "inet"} and not chain["table"].startswith("kvmrun_")
    ]


def _named(ruleset: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The sets and maps of each table as rules name them, "@NAME", in the form of those that have no name."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in ruleset:
        if set_ := one.get("set") or one.get("map"):
            values = [value["elem"]["val"] if _has_more(value) else value for value in set_.get("elem", [])]
            found.setdefault((set_["family"], set_["table"]), {})[f"@{set_['name']}"] = {"set": values}
    return found


def _has_more(value: Any) -> bool:
    """Whether an element comes with a time limit or a counter."""
    return isinstance(value, dict) and "elem" in value


def _resolved(part: Any, named: Mapping[str, Any]) -> Any:
    """A part of a rule with what stands behind the names in it."""
    if isinstance(part, str):
        return named.get(part, part)
    if isinstance(part, list):
        return [_resolved(one, named) for one in part]
    return {key: _resolved(one, named) for key, one in part.items()} if isinstance(part, dict) else part


def _through(chain: Mapping[str, Any], walk: "_Walk") -> Outcome:
    key = chain["family"], chain["table"], chain["name"]
    verdict, by = walk.chain(key, 0)
    why = "it drops what no rule of it accepts"
    if verdict in {"", "return"}:
        verdict, by, why = chain.get("policy", "accept"), key, "its policy is drop"
    return Outcome(base=" ".join(key), verdict=verdict, by=" ".join(by), why=why)


class _Walk(Frozen):
    """One packet on its way through the chains."""

    rules: Rules
    packet: Packet

    def chain(self, key: tuple[str, str, str], depth: int) -> tuple[str, tuple[str, str, str]]:
        """The verdict of a chain and the chain that gave it; "" at its end, "return" where it says so."""
        for expr in self.rules.get(key, []):
            verdict, to = self._rule(expr)
            if verdict in {"jump", "goto"}:
                found, by = self.chain((*key[:2], to), depth + 1) if depth < _DEEPEST else ("", key)
                if found not in {"", "return"}:
                    return found, by
                verdict = "return" if verdict == "goto" else ""
            if verdict:
                return verdict, key
        return "", key

    def _rule(self, expr: list[dict[str, Any]]) -> tuple[str, str]:
        """What a rule says of the packet, and where to; ("", "") when it does not fit or says nothing."""
        unsure = False
        for one in expr:
            for kind, what in one.items():
                fits = self._fits(kind, what)
                if fits is False:
                    return "", ""
                unsure = unsure or fits is None
                verdict = self._verdict(kind, what)
                if verdict[0]:
                    return verdict if not unsure or self._is_usual(expr, verdict[0]) else ("", "")
        return "", ""

    def _is_usual(self, expr: list[dict[str, Any]], verdict: str) -> bool:
        """Whether what is not known is what iptables asks of the connection, and it is to accept replies or what a port
        leads to a guest; or of the kind of address, and it is to go on with what is for this host.
        """
        if verdict == "accept" and (self.packet.state == "established" or self.packet.forwarded):
            return _xt("conntrack") in expr or _xt("state") in expr
        return verdict == "return" and not self.packet.oif and _xt("addrtype") in expr

    def _verdict(self, kind: str, what: Any) -> tuple[str, str]:
        if kind in {"jump", "goto"}:
            return kind, what["target"]
        if kind == "vmap":
            return self._mapped(what)
        if kind == "xt" and what and what.get("type") == "target":
            return (name, "") if (name := str(what.get("name")).lower()) in _VERDICTS else ("", "")
        return (kind, "") if kind in _VERDICTS | {"return"} else ("", "")

    def _mapped(self, what: Any) -> tuple[str, str]:
        mine = self._value(what["key"])
        pairs = what["data"]["set"] if isinstance(what["data"], dict) else []
        for key, verdict in pairs if mine is not None else []:
            if _equal(mine, key):
                return next((found for kind, to in verdict.items() if (found := self._verdict(kind, to))[0]), ("", ""))
        return "", ""

    def _fits(self, kind: str, what: Any) -> bool | None:
        """Whether one part of a rule fits; None when it cannot be told."""
        if kind == "match":
            mine = self._value(what["left"])
            if mine is None or what["op"] not in {"==", "!=", "in"}:
                return None
            return _equal(mine, what["right"]) is not (what["op"] == "!=")
        return None if kind == "limit" or (kind == "xt" and what and _asks(what)) else True

    def _value(self, left: Any) -> object:
        """What the packet has where a rule looks; None for what is not known of it."""
        packet = self.packet
        known: Mapping[str, Callable[[], object]] = {
            "meta iifname": lambda: packet.iif,
            "meta oifname": lambda: packet.oif,
            "meta iif": lambda: packet.iif,
            "meta oif": lambda: packet.oif,
            "meta nfproto": lambda: "ipv4",
            "meta l4proto": lambda: packet.protocol,
            "meta mark": lambda: 0,
            "ct state": lambda: packet.state,
            "ct status": lambda: "dnat" if packet.forwarded else "",
            "payload ip saddr": lambda: packet.source,
            "payload ip daddr": lambda: packet.target,
            "payload ip protocol": lambda: packet.protocol,
            f"payload {packet.protocol} dport": lambda: packet.port or None,
            "payload th dport": lambda: packet.port or None,
        }
        if not isinstance(left, dict) or len(left) != 1:
            return None
        ((kind, what),) = left.items()
        others = {"ip6", "tcp", "udp", "icmp"} - {packet.protocol}
        if kind == "payload" and isinstance(what, dict) and str(what.get("protocol")) in others:
            return ""  # it is none of those: nothing there is equal to anything
        words = [what.get("protocol"), what.get("field"), what.get("key")] if isinstance(what, dict) else []
        name = " ".join([kind, *(word for word in words if word)])
        return known[name]() if name in known else None


def _xt(name: str) -> dict[str, Any]:
    return {"xt": {"type": "match", "name": name}}


def _asks(what: Mapping[str, Any]) -> bool:
    return what.get("type") == "match" and what.get("name") != "comment"


def _equal(mine: object, right: Any) -> bool:
    """Whether what the packet has is what a rule names: a word, a prefix, a range, or one of several."""
    if isinstance(right, list):
        return any(_equal(mine, one) for one in right)
    if isinstance(right, dict):
        return _within(mine, right)
    if isinstance(mine, str) and isinstance(right, str) and right.endswith("*"):
        return mine.startswith(right[:-1])
    return bool((str(mine) if isinstance(mine, IPv4Address) else mine) == right)


def _within(mine: object, right: Mapping[str, Any]) -> bool:
    if "set" in right:
        return any(_equal(mine, one) for one in right["set"])
    if isinstance(mine, int) and "range" in right:
        first, last = right["range"]
        return isinstance(first, int) and first <= mine <= last
    if not isinstance(mine, IPv4Address):
        return False
    try:
        if "prefix" in right:
            return mine in IPv4Network(f"{right['prefix']['addr']}/{right['prefix']['len']}")
        first, last = (IPv4Address(one) for one in right["range"])
    except (ValueError, TypeError, KeyError):  # IPv6, a name, or a form that nft has learned since
        return False
    return first <= mine <= last
