"""What the parts of a rule say of a packet: whether they fit, the verdict, and what they change on its way."""

from collections.abc import Mapping
from typing import Any

from kvmrun.plan.packets.match_values import Known, any_of, both, compare, equal, masked, negated
from kvmrun.plan.packets.packet import ABSENT, At, Packet, State, read

_FINAL = {"accept", "drop", "reject", "masquerade", "snat", "dnat", "redirect", "tproxy", "queue", "fwd", "synproxy"}
_WITHOUT_EFFECT = {"counter", "log", "comment", "dup", "flow", "ct helper", "ct timeout", "ct expectation", "secmark"}
_WITHOUT_EFFECT |= {"last", "audit", "optstrip"}
Key = tuple[str, str, str]
Rule = Mapping[str, Any]


class Ruleset:
    """Everybody's rules, sets and maps, ordered for a walk."""

    def __init__(self, ruleset: list[Mapping[str, Any]]) -> None:
        self.chains = [one["chain"] for one in ruleset if "chain" in one]
        self._keys = {(one["family"], one["table"], one["name"]) for one in self.chains}
        self.named: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self._rules: dict[Key, list[Rule]] = {}
        for one in ruleset:
            if rule := one.get("rule"):
                self._rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule)
            for kind in ("set", "map", "quota", "limit"):
                if thing := one.get(kind):
                    self.named[thing["family"], thing["table"], thing["name"]] = thing

    def bases(self, hook: str, packet: Packet) -> list[Mapping[str, Any]]:
        """The base chains there, as the kernel comes to them."""
        families = {"inet", "ip6"} if packet.is_ipv6() else {"inet", "ip", "legacy"}
        found = [one for one in self.chains if one.get("hook") == hook and self._is_for(one, hook, packet, families)]
        return sorted(found, key=priority)

    def _is_for(self, chain: Mapping[str, Any], hook: str, packet: Packet, families: set[str]) -> bool:
        if str(chain["table"]).startswith("kvmrun"):
            return False
        if hook not in {"ingress", "egress"}:
            return chain["family"] in families
        devices = chain.get("dev", [])
        link = packet.iif if hook == "ingress" else packet.oif
        return link in ([devices] if isinstance(devices, str) else devices)

    def of(self, key: Key) -> list[Rule]:
        return self._rules.get(key, [])

    def has(self, key: Key) -> bool:
        return key in self._keys

    def elements(self, table: tuple[str, str], name: str) -> list[Any] | None:
        """What is in the set or map "@NAME", None where there is none."""
        found = self.named.get((*table, name.removeprefix("@")))
        return None if found is None else list(found.get("elem", []))


def priority(chain: Mapping[str, Any]) -> int:
    return chain["prio"] if isinstance(chain.get("prio"), int) else 0


class RuleEvaluator:
    """What the parts of a table's rules say of a packet."""

    def __init__(self, rules: Ruleset, packet: Packet, at: At, state: State, table: tuple[str, str]) -> None:
        self.rules, self.packet, self.at, self.state, self.table = rules, packet, at, state, table

    def fits(self, kind: str, what: Any) -> Known:
        if kind == "match":
            return compare(what["op"], self.value(what["left"]), self._resolved(what["right"]))
        if kind in {"limit", "quota", "ct count", "meter"}:
            return self._within_limit(kind, what)
        if kind in {"one", "none"}:
            found = any_of(self.fits(name, one) for part in what for name, one in part.items())
            return found if kind == "one" else negated(found)
        if kind == "bridged":
            return (self.packet.iif == self.packet.oif) is what
        if kind == "set":
            limits = [what["stmt"]] if isinstance(what.get("stmt"), dict) else what.get("stmt", [])
            return both(self.fits(name, one) for part in limits for name, one in part.items())
        known = _FINAL | _WITHOUT_EFFECT | {"jump", "goto", "return", "continue", "vmap", "mangle", "notrack", "map"}
        return True if kind in known else None

    def verdict(self, kind: str, what: Any) -> tuple[Known, str, str]:
        if kind in {"jump", "goto"}:
            return True, kind, what["target"]
        if kind == "vmap":
            found, verdict = self._looked_up(what)
            if found is False:
                return True, "", ""
            if verdict is None:
                return None, "unknown", ""
            ((kind, what),) = verdict.items()
            _, name, to = self.verdict(kind, what)
            return found, name, to
        if kind == "xt" and (what or {}).get("type") == "target":
            return None, "unknown", ""  # somebody's own target: it may do anything
        return True, kind if kind in _FINAL | {"return"} else "", ""

    def change(self, kind: str, what: Any) -> Known:
        """Do what a statement does to the packet; False where it ends the rule."""
        if kind == "notrack":
            self.state.tracked = False
        elif kind == "mangle":
            name = " ".join(str(one) for (head, part) in what["key"].items() for one in (head, (part or {}).get("key")))
            value = self.value(what["value"])
            if value is ABSENT:
                return False
            if name in {"meta mark", "ct mark"}:
                setattr(self.state, name.replace("meta ", "").replace(" ", "_"), value if _is_int(value) else None)
        else:
            self._add(what)
        return True

    def _add(self, what: Mapping[str, Any]) -> None:
        element, name = what.get("elem"), str(what.get("set") or what.get("map"))
        mine = self.value(element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element)
        added = self.state.sets.get(name, [])
        is_known = what.get("op") != "delete" and mine is not None and added is not None and "set" in what
        self.state.sets[name] = [*(added or []), mine] if is_known else None

    def _within_limit(self, kind: str, what: Any) -> Known:
        """A packet by itself keeps within every limit of a rate or a number; of a quota it is told what is left."""
        if isinstance(what, str):
            what = self.rules.named.get((*self.table, what))
        if not isinstance(what, dict):
            return None
        if kind == "meter":
            return both(self.fits(name, one) for name, one in what.get("stmt", {}).items())
        over = bool(what.get("inv"))
        if kind == "quota":
            total = _bytes(what.get("bytes", what.get("val")), what.get("val_unit"))
            used = _bytes(what.get("used", 0), what.get("used_unit"))
            return None if total is None or used is None else (used >= total) is over
        return not over

    def value(self, left: Any) -> object:
        """What the packet has where a rule looks."""
        if not isinstance(left, dict):
            return left
        if len(left) != 1:
            return None
        ((kind, what),) = left.items()
        if kind == "concat":
            parts = tuple(self.value(one) for one in what)
            return ABSENT if ABSENT in parts else parts
        if kind == "map":
            _, found = self._looked_up(what)
            return self.value(found)
        if kind in {"&", "|", "^", "<<", ">>"} and isinstance(what, list) and len(what) == 2:
            return _computed(kind, self.value(what[0]), what[1] if isinstance(what[1], list) else self.value(what[1]))
        return read(self.packet, self.at, self.state, kind, what)

    def _looked_up(self, what: Mapping[str, Any]) -> tuple[Known, Any]:
        """What a map has for the packet, and whether it has: (False, ABSENT or None) where it surely has nothing."""
        data = self._resolved(what["data"])
        pairs = data.get("set") if isinstance(data, dict) else None
        mine = self.value(what["key"])
        if mine is ABSENT:
            return False, ABSENT
        if pairs is None:
            return None, None
        sure = [(equal(mine, key), found) for key, found in pairs]
        if any(fits is None for fits, _ in sure):
            found = [one for fits, one in sure if fits is not False]
            return None, found[0] if all(one == found[0] for one in found) else None
        return next(((True, found) for fits, found in sure if fits), (False, ABSENT))

    def _resolved(self, right: Any) -> Any:
        """The right side of a comparison with what is in the sets that it names."""
        if not (isinstance(right, str) and right.startswith("@")):
            return right
        elements, added = self.rules.elements(self.table, right), self.state.sets.get(right, [])
        if elements is None or added is None:
            return {"unknown": right}
        return {"set": [*elements, *(_spelled(one) for one in added)]}


def _spelled(value: object) -> object:
    """A value of a packet as nft writes it in a set."""
    if isinstance(value, tuple):
        return {"concat": [_spelled(one) for one in value]}
    return value if isinstance(value, int | str) else str(value)


def _computed(kind: str, mine: object, other: Any) -> object:
    if kind == "&":
        return masked(mine, other)
    if mine is ABSENT or not (_is_int(mine) and _is_int(other)):
        return ABSENT if mine is ABSENT else None
    assert isinstance(mine, int)
    done = {"|": mine | other, "^": mine ^ other, "<<": mine << min(other, 32), ">>": mine >> min(other, 32)}
    return done[kind] & 0xFFFFFFFF


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bytes(number: object, unit: object) -> int | None:
    size = {None: 1, "bytes": 1, "kbytes": 1 << 10, "mbytes": 1 << 20, "gbytes": 1 << 30}
    return number * size[unit] if isinstance(number, int) and (unit is None or unit in size) else None
