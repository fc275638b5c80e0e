"""The packet filter: our tables loaded whole, removed whole, and looked at without being loaded."""

import json
import os
import socket
import struct
from typing import Any

from kvmrun.errors import HostLacks, KvmrunError
from kvmrun.host import process, rundir

_LIMIT = 10.0
_NETLINK_NETFILTER, _NFT_MSG_GETGEN, _NFTA_GEN_ID = 12, (10 << 8) | 16, 1


def load(text: str, record: str, digest: str) -> None:
    """Run the transaction in `text` and note in `record` what it left: its digest, the listing, the generation."""
    _nft(["-f", "-"], text)
    table = text.split()[2]
    note = {"digest": digest, "listing": _listing(table), "generation": generation()}
    rundir.replace(record, json.dumps(note, sort_keys=True).encode())


def drop(table: str, record: str) -> None:
    """Remove the table; one that is gone already is no error."""
    _nft(["-f", "-"], f"table inet {table} {{}}\ndelete table inet {table}\n")
    try:
        os.unlink(record)
    except FileNotFoundError:
        return


def loaded(table: str, record: str) -> str:
    """The digest of the rules that were loaded last and are still there untouched; "" when there are none.

    The kernel counts the changes of the packet filter: while its count is the one noted, nothing need be listed.
    """
    try:
        with open(record, "rb") as file:
            note = json.loads(file.read(1 << 20))
        digest, listing, then = str(note["digest"]), note["listing"], note["generation"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if then and generation() == then:
        return digest
    return digest if _listing(table) == listing else "changed"


def foreign_drops() -> list[tuple[str, str]]:
    """(chain, why) of every chain of others that drops forwarded packets by its policy or without condition."""
    try:
        found = json.loads(_nft(["-j", "list", "ruleset"]))["nftables"]
    except (KvmrunError, ValueError, KeyError):
        return []
    chains = [one["chain"] for one in found if "chain" in one and one["chain"].get("hook") == "forward"]
    foreign = [one for one in chains if not one["table"].startswith("kvmrun_")]
    drops = []
    for one in foreign:
        where = f"{one['family']} {one['table']} {one['name']}"
        rules = [rule["rule"]["expr"] for rule in found if "rule" in rule and _is_in(rule["rule"], one)]
        if one.get("policy") == "drop":
            drops.append((where, "its policy is drop"))
        elif any(set(expr[0]) & {"drop", "reject"} for expr in rules if len(expr) == 1):
            drops.append((where, "it drops everything"))
    return drops


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
