"""What QEMU counts of a guest, read from its answers: untrusted, so whatever is not as it should be is left out."""

from collections.abc import Iterator
from typing import TypeGuard

from kvmrun.model.guest.guest_usage import DriveCount
from kvmrun.model.printable import printable
from kvmrun.monitor.qmp.query_many import Reply

QUESTIONS = ("query-blockstats", "query-balloon")
"""What to ask besides the state. QEMU answers both from its own memory: the guest does not notice."""
_FIELDS = {
    "read_bytes": "rd_bytes",
    "written_bytes": "wr_bytes",
    "reads": "rd_operations",
    "writes": "wr_operations",
    "flushes": "flush_operations",
    "read_ns": "rd_total_time_ns",
    "write_ns": "wr_total_time_ns",
}


def drives(answer: Reply) -> tuple[DriveCount, ...]:
    """A count for each device of the guest that has a drive, by the device's name."""
    reply = answer.replies.get("query-blockstats")
    return tuple(_drives(reply)) if isinstance(reply, list) else ()


def balloon(answer: Reply) -> int | None:
    """The bytes the guest's balloon leaves it, None when it has none."""
    reply = answer.replies.get("query-balloon")
    actual = reply.get("actual") if isinstance(reply, dict) else None
    return actual if _is_count(actual) else None


def _drives(reply: list[object]) -> Iterator[DriveCount]:
    known = set()
    for one in reply:
        stats = one.get("stats") if isinstance(one, dict) else None
        if not isinstance(one, dict) or not isinstance(stats, dict) or not (name := _name(one)) or name in known:
            continue
        numbers = {field: count for field, word in _FIELDS.items() if _is_count(count := stats.get(word))}
        if len(numbers) == len(_FIELDS):
            known.add(name)
            yield DriveCount(name=name, **numbers)


def _name(one: dict[str, object]) -> str:
    """The device's id, from the path it has in QEMU: /machine/peripheral/drive0/virtio-backend."""
    path = one.get("qdev")
    words = path.split("/") if isinstance(path, str) else []
    found = words[words.index("peripheral") + 1 :] if "peripheral" in words else []
    return printable(found[0] if found else one.get("device") or one.get("node-name") or "", 40)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 64
