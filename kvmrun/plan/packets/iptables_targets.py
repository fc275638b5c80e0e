"""What a rule of iptables does with a packet that it fits, in nft's words."""

from collections.abc import Mapping, Sequence
from typing import Any

Expr = list[dict[str, Any]]
Words = Sequence[str]
QUIET = frozenset(
    [
        "LOG",
        "NFLOG",
        "ULOG",
        "AUDIT",
        "TRACE",
        "TCPMSS",
        "CLASSIFY",
        "DSCP",
        "TOS",
        "TTL",
        "HL",
        "CHECKSUM",
        "SET",
        "TEE",
        "SECMARK",
        "CONNSECMARK",
        "IDLETIMER",
        "LED",
        "RATEEST",
        "ECN",
        "TCPOPTSTRIP",
        "HMARK",
    ]
)
"""Targets after which the packet goes on to the next rule."""
VERDICTS = {
    "ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return", "QUEUE": "queue", "NFQUEUE": "queue",
    "DNAT": "dnat", "REDIRECT": "redirect", "TPROXY": "tproxy", "SNAT": "snat", "MASQUERADE": "masquerade",
    "NETMAP": "dnat", "SYNPROXY": "synproxy",
}  # fmt: skip


def read_target(name: str, word: str, options: Sequence[tuple[bool, str, list[str]]]) -> Expr:
    given = {option: values for _, option, values in options}
    if word in {"CT", "NOTRACK"}:
        return [{"notrack": None}] if "--notrack" in given or word == "NOTRACK" else []
    if word in {"MARK", "CONNMARK"}:
        return _marked(word, given)
    if word in VERDICTS:
        return [{VERDICTS[word]: None}]
    if word in QUIET:
        return []
    return [{"goto" if name == "-g" else "jump": {"target": word}}]


def _marked(word: str, given: Mapping[str, Words]) -> Expr:
    """Marks set, saved and restored; with a mask, only where what stays is known to be nothing."""
    mine: dict[str, Any] = {"ct" if word == "CONNMARK" else "meta": {"key": "mark"}}
    packet, connection = {"meta": {"key": "mark"}}, {"ct": {"key": "mark"}}
    if "--set-xmark" in given:
        wanted, _, mask = given["--set-xmark"][0].partition("/")
        keep = ~number(mask or "0xffffffff") & 0xFFFFFFFF
        value: Any = {"^": [{"&": [mine, keep]}, number(wanted)]} if keep else number(wanted)
        return [{"mangle": {"key": mine, "value": value}}]
    mask = number((given.get("--nfmask") or given.get("--mask") or ["0xffffffff"])[0])
    keep = ~mask & 0xFFFFFFFF
    for option, key, source in (("--save-mark", connection, packet), ("--restore-mark", packet, connection)):
        if option in given:
            kept = {"|": [{"&": [key, keep]}, {"&": [source, mask]}]}
            return [{"mangle": {"key": key, "value": kept if keep else source}}]
    return [{"mangle": {"key": mine, "value": {"unknown": None}}}]


def number(text: str) -> Any:
    try:
        return int(text, 0)
    except ValueError:
        return {"unknown": text}
