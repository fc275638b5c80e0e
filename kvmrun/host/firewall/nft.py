"""The packet filter: parts of ours loaded whole, removed whole, and looked at without being listed.

A part is a table, "FAMILY TABLE", or the chains of one whose names begin alike, "FAMILY TABLE PREFIX_".
"""

import json
import os
import threading
from collections.abc import Callable
from typing import Any

from kvmrun.errors import AS_ROOT, HostLacks, KvmrunError, NotPermitted, Unresponsive
from kvmrun.host.files import atomic_write, small_files
from kvmrun.host.firewall import nfnetlink, nft_batch
from kvmrun.host.links import raw_netlink
from kvmrun.host.process import process
from kvmrun.model.deadline import remaining

_LIMIT = 10.0
_turn, _asked = threading.Lock(), set[str]()
"""Parts that are to be removed: the thread that holds the lock removes them for all."""


class RulesetLoad:
    """A transaction that replaces a part, under way in a process of its own, which needs nothing of ours meanwhile."""

    def __init__(self, part: str, text: str, record: str, digest: str) -> None:
        self._part, self._text, self._record, self._digest = part, text, record, digest
        self._before = _note(record)
        _write(record, {"text": text})  # first: what is ours always has a note beside it
        self._finished = False
        try:
            _wake(part)
            self._ticket = nft_batch.submit(_removal(part) + text)
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
            then = nfnetlink.generation_id()  # first: a change while we read shows as one
            if not (found := _print(self._part)):
                fix, reason = "try again", "loaded, read back, gone"
                raise KvmrunError("the packet filter did not keep the rules", fix, reason=reason)
            _write(self._record, {"text": self._text, "digest": self._digest, "print": found, "generation": then})
        except BaseException:
            self._put_back()
            raise

    def undo(self) -> None:
        """Load what was there before, or remove the part."""
        if self._before:
            load_ruleset(self._part, str(self._before["text"]), self._record, str(self._before["digest"]))
        else:
            drop_ruleset(self._part, self._record)

    def _put_back(self) -> None:
        """Remove the part if there was none before, and restore the record: it tells of rules that were changed."""
        if self._before:
            _write(self._record, self._before)
            return
        try:
            drop_ruleset(self._part, self._record)
        except KvmrunError:
            atomic_write.remove(self._record)


def load_ruleset(part: str, text: str, record: str, digest: str) -> Callable[[], None]:
    """Run the transaction in `text` and note in `record` what it left. The undo brings back what was there before."""
    loading = RulesetLoad(part, text, record, digest)
    loading.finish()
    return loading.undo


def drop_ruleset(part: str, record: str) -> None:
    """Remove the part; one that is gone already is no error. Raises KvmrunError."""
    _asked.add(part)
    try:
        with _turn:
            if part in _asked:
                _asked.difference_update(_deleted(part, set(_asked)))
    except OSError as error:
        what, fix = (
            f"could not remove {part} from the packet filter",
            f"nft list table {_table(part)} tells; try again",
        )
        raise KvmrunError(what, fix, reason=os.strerror(error.errno or 0)) from None
    finally:
        _asked.discard(part)
    atomic_write.remove(record)


def _deleted(part: str, asked: set[str]) -> set[str]:
    """Remove all that are asked for; where one of the others is in the way, the part alone. Those removed."""
    try:
        nfnetlink.delete_parts(asked)
    except OSError:
        nfnetlink.delete_parts(asked := {part})
    return asked


def _table(part: str) -> str:
    return " ".join(part.split()[:2])


def loaded_digest(part: str, record: str) -> str:
    """The digest of the rules that were loaded last and are still there untouched.

    "" when there are none, "changed" when they are not what was loaded. The kernel counts the changes of the packet
    filter: while its count is the one noted, nothing need be read.
    """
    if not (note := _note(record)):
        return "changed" if os.path.lexists(record) else ""
    if note["generation"] and nfnetlink.generation_id() == note["generation"]:
        return str(note["digest"])
    return str(note["digest"]) if _print(part) == note["print"] else "changed"


def is_modified(records: dict[str, str]) -> set[str]:
    """Those of the parts in `records` (parts to notes) that are no longer what was loaded; one look for all."""
    now = nfnetlink.generation_id() if records else 0
    notes = {part: _note(record) for part, record in records.items()}
    if now and all(note.get("generation") == now for note in notes.values()):
        return set()
    try:
        found = nfnetlink.fingerprints(notes)
    except (OSError, raw_netlink.DumpInterrupted):
        return set()
    return {part for part, note in notes.items() if not note or note["print"] != found.get(part)}


def text(record: str) -> str:
    """The text that was loaded last, "" when nothing was."""
    return str(_note(record).get("text", ""))


def _note(record: str) -> dict[str, Any]:
    """What was noted when rules were loaded, {} when nothing was that makes sense."""
    try:
        note = json.loads(small_files.read_bounded(record, 1 << 20) or b"{}")
        return note if {"text", "digest", "print", "generation"} <= note.keys() else {}
    except (ValueError, RecursionError, AttributeError):
        return {}


def _wake(part: str) -> None:
    """Clear the dormant flag of the part's table: rules in a dormant table have no effect, and may be refused."""
    try:
        nfnetlink.wake(_table(part))
    except (OSError, raw_netlink.DumpInterrupted):
        return  # the transaction that follows says what is wrong


def _removal(part: str) -> str:
    """The words that make room for the part, none where it is not there: for a removal nft waits 13 ms, whatever goes.

    Each is added first, so that one that goes meanwhile is no error.
    """
    try:
        held = nfnetlink.objects_of(part)
    except (TimeoutError, raw_netlink.DumpInterrupted):
        raise KvmrunError("the packet filter cannot be read", "try again", reason="it changes all the time") from None
    except OSError:  # nft says it better
        return ""
    table = _table(part)
    if part == table:
        return "".join(f"add {one}\ndelete {one}\n" for one in held)
    return "".join(f"add table {table}\nadd {one}\nflush {one}\ndelete {one}\n" for one in held)


def _write(record: str, note: dict[str, Any]) -> None:
    small_files.replace_atomically(record, json.dumps(note, sort_keys=True).encode())


def _print(part: str) -> str:
    """What is in the part now, "" when it is not there or cannot be read."""
    try:
        return nfnetlink.fingerprints([part]).get(part, "")
    except (OSError, raw_netlink.DumpInterrupted):
        return ""


def list_ruleset(form: str, *what: str) -> str:
    """What there is, as nft prints it: "-j" in its JSON, "-a" in text with handles.

    Raises: KvmrunError, with the messages of nft.
    """
    import subprocess  # 8 ms that a list whose rules are untouched does not need

    words = [process.require_program("nft"), form, "list", *(what or ("ruleset",))]
    limit = remaining(_LIMIT)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise _refusal(f"{nft_batch.SILENT} {limit:.1f} s") from None
    if done.returncode > 0:
        raise _refusal(done.stderr)
    return done.stdout  # of an nft that crashed, what it had printed: that is no JSON


def _refusal(said: str) -> KvmrunError:
    """The error for what nft said."""
    if said.startswith(nft_batch.SILENT):
        return Unresponsive(
            "the packet filter was not changed", "try again; --timeout SECONDS waits longer", reason=said
        )
    lines = tuple(said.splitlines()[:4])
    if "Operation not permitted" in said:
        return NotPermitted("you may not change the packet filter", AS_ROOT, lines=lines)
    if "Operation not supported" in said or "Protocol not supported" in said:
        return HostLacks("this kernel lacks the packet filter that is needed", "modprobe nf_tables", lines=lines)
    fix = "kvmrun check; report it if the lab is right"
    return KvmrunError("the packet filter refused the rules", fix, lines=lines)
