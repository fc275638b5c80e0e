"""The packet filter: our tables loaded whole, removed whole, and looked at without being listed."""

import os
from _thread import allocate_lock

from kvmrun.errors import HostLacks, KvmrunError, NotPermitted
from kvmrun.host import dump, process, small, tables, transaction
from kvmrun.light import json
from kvmrun.light.abc import Callable
from kvmrun.light.typing import Any

_LIMIT = 10.0
_turn, _asked = allocate_lock(), set[str]()
"""Tables that are to go. The kernel takes 15 ms to remove one or fifty: whoever has the turn does it for all."""


class Loading:
    """A transaction under way in a process of its own, which needs nothing of ours while it works."""

    def __init__(self, text: str, record: str, digest: str) -> None:
        self._text, self._record, self._digest = text, record, digest
        self._table = " ".join(text.split(maxsplit=3)[1:3])  # what a transaction replaces it names first
        self._before = _note(record)
        _write(record, {"text": text})  # first: a table of ours always has a note beside it
        self._finished = False
        try:
            self._ticket = transaction.begin(text)
        except BaseException:
            self._put_back()
            raise

    def finish(self) -> None:
        """Wait for the end, read back what is there and note it: digest, print, generation. Raises what nft says."""
        if self._finished:
            return
        try:
            status, said = self._ticket.wait()
            self._finished = True
            if status:
                raise _refusal(said)
            then = tables.generation()  # first: a change while we read shows as one
            if not (found := _print(self._table)):
                hint, why = "try again", "loaded, read back, gone"
                raise KvmrunError("the packet filter did not keep the rules", hint, why=why)
            _write(self._record, {"text": self._text, "digest": self._digest, "print": found, "generation": then})
        except BaseException:
            self._put_back()
            raise

    def undo(self) -> None:
        """Load what was there before, or remove the table."""
        if self._before:
            load(str(self._before["text"]), self._record, str(self._before["digest"]))
        else:
            drop(self._table, self._record)

    def _put_back(self) -> None:
        """No table where there was none, and the note as it was: with rules that were changed, it says so."""
        if self._before:
            _write(self._record, self._before)
            return
        try:
            drop(self._table, self._record)
        except KvmrunError:
            small.remove(self._record)


def load(text: str, record: str, digest: str) -> Callable[[], None]:
    """Run the transaction in `text` and note in `record` what it left. The undo brings back what was there before."""
    loading = Loading(text, record, digest)
    loading.finish()
    return loading.undo


def drop(table: str, record: str) -> None:
    """Remove the table, "FAMILY NAME"; one that is gone already is no error."""
    _asked.add(table)
    try:
        with _turn:
            if table in _asked:
                batch = set(_asked)
                tables.delete(batch)
                _asked.difference_update(batch)
    except OSError as why:
        hint = f"nft delete table {table}"
        raise KvmrunError(f"could not remove table {table}", hint, why=os.strerror(why.errno or 0)) from None
    small.remove(record)


def loaded(table: str, record: str) -> str:
    """The digest of the rules that were loaded last and are still there untouched.

    "" when there are none, "changed" when they are not what was loaded. The kernel counts the changes of the packet
    filter: while its count is the one noted, nothing need be read.
    """
    if not (note := _note(record)):
        return "changed" if os.path.lexists(record) else ""
    if note["generation"] and tables.generation() == note["generation"]:
        return str(note["digest"])
    return str(note["digest"]) if _print(table) == note["print"] else "changed"


def touched(family: str, records: dict[str, str]) -> list[str]:
    """Those of the tables in `records` (names to notes) that are no longer what was loaded; one look for all."""
    now = tables.generation()
    notes = {name: _note(record) for name, record in records.items()}
    if now and all(note.get("generation") == now for note in notes.values()):
        return []
    try:
        found = tables.prints(family)
    except (OSError, dump.Moved):
        return []
    return [name for name, note in notes.items() if not note or note["print"] != found.get(name)]


def _note(record: str) -> dict[str, Any]:
    """What was noted when rules were loaded, {} when nothing was that makes sense."""
    try:
        note = json.loads(small.read(record, 1 << 20) or b"{}")
        return note if {"text", "digest", "print", "generation"} <= note.keys() else {}
    except (ValueError, RecursionError, AttributeError):
        return {}


def ruleset() -> tuple[dict[str, Any], ...]:
    """Everybody's rules, as nft lists them. Raises KvmrunError when it does not."""
    try:
        return tuple(one for one in json.loads(_listed())["nftables"] if "metainfo" not in one)
    except (ValueError, KeyError):
        raise KvmrunError("the packet filter could not be read", why="nft listed no JSON") from None


def _write(record: str, note: dict[str, Any]) -> None:
    small.replace(record, json.dumps(note, sort_keys=True).encode())


def _print(table: str) -> str:
    """What is in the table now, "" when it is not there or cannot be read."""
    family, _, name = table.partition(" ")
    try:
        return tables.prints(family, name).get(name, "")
    except (OSError, dump.Moved):
        return ""


def _listed() -> str:
    """Everything there is, in nft's own JSON."""
    import subprocess  # 8 ms that a list whose rules are untouched does not need

    words = [process.tool("nft"), "-j", "list", "ruleset"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_LIMIT, check=False)
    if done.returncode:
        raise _refusal(done.stderr)
    return done.stdout


def _refusal(said: str) -> KvmrunError:
    """The error for what nft said."""
    lines = tuple(said.splitlines()[:4])
    if "Operation not permitted" in said:
        return NotPermitted("you may not change the packet filter", "run it with sudo", lines=lines)
    if "Operation not supported" in said or "Protocol not supported" in said:
        return HostLacks("this kernel has not the packet filter that is needed", "modprobe nf_tables", lines=lines)
    hint = "kvmrun check; report it if the lab is right"
    return KvmrunError("the packet filter refused the rules", hint, lines=lines)
