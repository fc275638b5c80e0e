"""The packet filter: our tables loaded whole, removed whole, and looked at without being loaded."""

import json
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from kvmrun.errors import HostLacks, KvmrunError
from kvmrun.host import process, rundir

_LIMIT = 10.0
_NETLINK_NETFILTER, _NFT_MSG_GETGEN, _NFTA_GEN_ID = 12, (10 << 8) | 16, 1


def load(text: str, record: str, digest: str) -> Callable[[], None]:
    """Run the transaction in `text` and note in `record` what it left: its digest, the listing, the generation.

    The undo loads what was there before, or removes the table.
    """
    before = _note(record)
    _nft(["-f", "-"], text)
    table = text.split()[2]
    note = {"text": text, "digest": digest, "listing": _listing(table), "generation": generation()}
    rundir.replace(record, json.dumps(note, sort_keys=True).encode())
    if before:
        return lambda: _again(before, record)
    return lambda: drop(table, record)


def _again(before: dict[str, Any], record: str) -> None:
    load(str(before["text"]), record, str(before["digest"]))


def drop(table: str, record: str) -> None:
    """Remove the table; one that is gone already is no error."""
    _nft(["-f", "-"], f"table inet {table} {{}}\ndelete table inet {table}\n")
    try:
        os.unlink(record)
    except FileNotFoundError:
        return


def loaded(table: str, record: str) -> str:
    """The digest of the rules that were loaded last and are still there; "changed" when they are not untouched,
    or nobody can tell any more; "" when none were loaded.

    The kernel counts the changes of the packet filter: while its count is the one noted, nothing need be listed.
    """
    if not (note := _note(record)):
        return "changed" if os.path.exists(record) else ""
    digest = str(note["digest"])
    if note["generation"] and generation() == note["generation"]:
        return digest
    return digest if _listing(table) == note["listing"] else "changed"


def _note(record: str) -> dict[str, Any]:
    """What was noted when rules were loaded, {} when nothing was that makes sense."""
    try:
        with open(record, "rb") as file:
            note = json.loads(file.read(1 << 20))
        return note if {"text", "digest", "listing", "generation"} <= note.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}


def ruleset() -> tuple[dict[str, Any], ...]:
    """Everybody's rules, as nft lists them. Raises KvmrunError when it does not."""
    try:
        return tuple(one for one in json.loads(_nft(["-j", "list", "ruleset"]))["nftables"] if "metainfo" not in one)
    except (ValueError, KeyError):
        raise KvmrunError("the packet filter could not be read", why="nft listed no JSON") from None


def foreign_drops(bridges: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """(chain, why, bridges) of every chain of others that drops whatever is forwarded from or to those bridges."""
    try:
        found = json.loads(_nft(["-j", "list", "ruleset"]))["nftables"]
    except (KvmrunError, ValueError, KeyError):
        return []
    chains = [one["chain"] for one in found if "chain" in one and one["chain"].get("hook") == "forward"]
    drops = []
    for one in (one for one in chains if not one["table"].startswith("kvmrun_")):
        rules = [rule["rule"]["expr"] for rule in found if "rule" in rule and _is_in(rule["rule"], one)]
        shut = [bridge for bridge in bridges if not _opened(rules, bridge)]
        if shut and (why := _drops(one, rules)):
            drops.append((f"{one['family']} {one['table']} {one['name']}", why, shut))
    return drops


def _drops(chain: dict[str, Any], rules: list[Any]) -> str:
    """Why the chain drops whatever none of its conditions is about, "" when it does not."""
    for conditions, verdict in map(_parts, rules):
        if verdict and not conditions:
            return "" if verdict == "accept" else "it drops everything"
    return "its policy is drop" if chain.get("policy") == "drop" else ""


def _opened(rules: list[Any], bridge: str) -> bool:
    """Whether all that comes from and goes to `bridge` is accepted before a rule drops everything."""
    ways = set()
    for conditions, verdict in map(_parts, rules):
        if verdict and not conditions:
            break
        match = conditions[0].get("match", {}) if verdict == "accept" and len(conditions) == 1 else {}
        if (match.get("op"), match.get("right")) == ("==", bridge):
            ways.add(match["left"].get("meta", {}).get("key"))
    return {"iifname", "oifname"} <= ways


def _parts(expressions: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """The conditions of a rule, and what it does with what meets them: accept, drop, reject or "" for the rest."""
    verdict = next(iter({"accept", "drop", "reject"} & expressions[-1].keys()), "") if expressions else ""
    return [one for one in expressions[: -1 if verdict else None] if not {"counter", "log"} & one.keys()], verdict


def generation() -> int:
    """How often the packet filter of this namespace was changed, 0 when the kernel does not say."""
    ask = struct.pack("=IHHII", 20, _NFT_MSG_GETGEN, 1, 1, 0) + struct.pack("=BBH", 0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as at:
            at.settimeout(1.0)
            at.send(ask)
            answer = at.recv(4096)
    except OSError:
        return 0
    place = 20
    while place + 4 <= len(answer):
        size, kind = struct.unpack_from("=HH", answer, place)
        if kind & 0x3FFF == _NFTA_GEN_ID:
            return int.from_bytes(answer[place + 4 : place + 8])
        place += max((size + 3) & ~3, 4)
    return 0


def _listing(table: str) -> Any:
    """The table as the kernel has it now, without what counts up; None when it is not there."""
    try:
        found = json.loads(_nft(["-j", "list", "table", "inet", table]))["nftables"]
    except (KvmrunError, ValueError, KeyError):
        return None
    return [_steady(one) for one in found if "metainfo" not in one]


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(one) for key, one in value.items() if key not in {"handle", "packets", "bytes"}}
    return [_steady(one) for one in value] if isinstance(value, list) else value


def _is_in(rule: dict[str, Any], chain: dict[str, Any]) -> bool:
    return (rule["family"], rule["table"], rule["chain"]) == (chain["family"], chain["table"], chain["name"])


def _nft(words: list[str], text: str = "") -> str:
    import subprocess  # 8 ms that a list whose rules are untouched does not need

    done = subprocess.run(
        [process.tool("nft"), *words], input=text, capture_output=True, text=True, timeout=_LIMIT, check=False
    )
    if done.returncode == 0:
        return done.stdout
    lines = tuple(done.stderr.splitlines()[:4])
    if "Operation not supported" in done.stderr or "Protocol not supported" in done.stderr:
        raise HostLacks("this kernel has no nftables", "modprobe nf_tables", lines=lines)
    raise KvmrunError("the packet filter refused the rules", "kvmrun check; report it if the lab is right", lines=lines)
