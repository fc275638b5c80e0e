"""Which way a packet goes through the packet filter as it is: the rules of others read, one packet at a time.

The ruleset is that of `nft -j list ruleset`. A rule with a part whose answer is not known both fits and does not: where
the two ways end differently, the verdict of the chain is "unknown", and the outcome has the text of that rule.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kvmrun.model.value import Value
from kvmrun.plan.packets.iptables_translate import read_rules
from kvmrun.plan.packets.match_values import Known, both
from kvmrun.plan.packets.packet import At, Packet, State
from kvmrun.plan.packets.rule_evaluator import Key, Rule, RuleEvaluator, Ruleset, priority

__all__ = ["Packet", "Ruleset", "Verdict", "journey", "verdicts"]

_DEEPEST = 16
"""Of jumps; the kernel takes no more, and no circles."""
_PASSING = frozenset({"accept", "masquerade", "snat"})


class Verdict(Value):
    """What a base chain does: the verdict, and the chain that gave it, as "FAMILY TABLE CHAIN".

    For the verdict "unknown", `rule` is the text of the rule that cannot be judged, which stands in the chain `by`.
    """

    base: str
    verdict: str
    by: str
    reason: str
    rule: str = ""


class _End(Value):
    """One way the walk through a chain may end."""

    verdict: str
    by: Key


def verdicts(ruleset: Iterable[Mapping[str, Any]], hook: str, packet: Packet) -> list[Verdict]:
    """What each base chain at `hook` does with the packet, but for our own tables."""
    return journey(ruleset, [hook], packet)


def journey(ruleset: Iterable[Mapping[str, Any]] | Ruleset, hooks: Sequence[str], packet: Packet) -> list[Verdict]:
    """What each base chain at `hooks` does with the packet, in the order in which it comes to them, but for our own.

    Marks that are set on the way are seen by the chains that come after. A chain that drops does not end the list.
    """
    rules = ruleset if isinstance(ruleset, Ruleset) else Ruleset(list(ruleset))
    state = State(established=packet.state == "established")
    found = []
    for hook in hooks:
        for chain in rules.bases(hook, packet):
            at = At(family=chain["family"], hook=hook, priority=priority(chain))
            found.append(_through(chain, _Walk(rules, packet, at, state)))
    return found


def _through(chain: Mapping[str, Any], walk: "_Walk") -> Verdict:
    key = chain["family"], chain["table"], chain["name"]
    ends, falls = ([], True) if _is_passed_over(chain, walk.packet) else walk.chain(key, 0)
    ends += [_End(verdict=chain.get("policy", "accept"), by=key)] if falls else []
    kinds = {"accept" if one.verdict in _PASSING else one.verdict for one in ends}
    base, first = " ".join(key), ends[-1] if kinds <= {"accept"} else ends[0]
    if len(kinds - {"reject"} | ({"drop"} if "reject" in kinds else set())) > 1 or "queue" in kinds:
        by, text = next(iter(walk.doubts), (first.by, "queue"))
        return Verdict(base=base, verdict="unknown", by=" ".join(by), reason=f"not understood: {text}", rule=text)
    dropped = "its policy is drop" if falls and len(ends) == 1 else "it drops what no rule of it accepts"
    return Verdict(base=base, verdict=first.verdict, by=" ".join(first.by), reason=dropped)


def _is_passed_over(chain: Mapping[str, Any], packet: Packet) -> bool:
    """Only the first packet of a connection comes to a chain that translates addresses."""
    return chain.get("type") == "nat" and packet.state != "new"


class _Walk:
    """One packet on its way through the chains that begin at one base chain."""

    def __init__(self, rules: Ruleset, packet: Packet, at: At, state: State) -> None:
        self.rules, self.packet, self.at, self.state = rules, packet, at, state
        self.doubts: list[tuple[Key, str]] = []

    def chain(self, key: Key, depth: int) -> tuple[list[_End], bool]:
        """The ways the walk may end in a chain or in those it leads to, and whether it may come back from it."""
        ends: list[_End] = []
        came_back = False
        for rule in self.rules.of(key):
            fits, verdict, to = self._rule(rule, (key[0], key[1]))
            if fits is False or not verdict:
                continue
            if fits is None:
                self.doubts.append((key, text(rule)))
            falls, left = True, self.state.copy()
            if verdict in {"jump", "goto"} and not self.rules.has((*key[:2], to)):
                verdict, fits = "unknown", None  # a target of iptables that we know nothing of
                self.doubts.append((key, text(rule)))
            if verdict in {"jump", "goto"} and depth < _DEEPEST:
                found, falls = self.chain((*key[:2], to), depth + 1)
                ends += found
            elif verdict not in {"jump", "goto", "return"}:
                ends.append(_End(verdict=verdict, by=key))
                falls = False
            if fits is None:
                self.state.merge(left)
                came_back = came_back or (falls and verdict in {"goto", "return"})
            elif not falls or verdict in {"goto", "return"}:
                return ends, came_back or falls
        return ends, True

    def _rule(self, rule: Rule, table: tuple[str, str]) -> tuple[Known, str, str]:
        """Whether the rule fits the packet, what it says of it, and where to; what else it does is done."""
        reader = RuleEvaluator(self.rules, self.packet, self.at, self.state, table)
        fits: Known = True
        for one in read_rules(rule):
            for kind, what in one.items():
                fits = both([fits, reader.fits(kind, what)])
                if fits is False:
                    return False, "", ""
                found, verdict, to = reader.verdict(kind, what)
                if verdict:
                    return both([fits, found]), verdict, to
                if kind in {"mangle", "notrack", "set", "map"}:
                    before = self.state.copy()
                    if reader.change(kind, what) is False:  # nothing in the map for this packet: the rule ends
                        return False, "", ""
                    if fits is None:
                        self.state.merge(before)
        return fits, "", ""


def text(rule: Rule) -> str:
    """A rule in the words its owner knows it by."""
    import json

    return str(rule.get("saved") or rule.get("text") or json.dumps(rule["expr"]))
