"""The one reader and writer of records, of guests and of networks: each carries a digest of what it says.

Plans rely on records. One that was damaged, or edited by hand, does not count.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from kvmrun.host.files import small_files
from kvmrun.model import derive

_DIGEST = "digest"


class _Record(Protocol):
    def to_json(self) -> dict[str, Any]: ...


_AnyRecord = TypeVar("_AnyRecord", bound=_Record)


def read(path: str, parse: Callable[[object], _AnyRecord | None], schema: int, limit: int) -> _AnyRecord | None:
    """The record at `path`, or None when there is none that makes sense. Never blocks, reads at most `limit` bytes.

    A record without a digest is an older version's, and one of another schema has a digest that only its writer can
    compute: both are taken as they are.
    """
    text = small_files.read_bounded(path, limit)
    try:
        data = None if text is None else json.loads(text)
        record = parse(data)
    except (ValueError, RecursionError):
        return None
    if record is None or not isinstance(data, Mapping) or data.get("schema") != schema:
        return record
    return record if data.get(_DIGEST, digest := _digest(record)) == digest else None


def write(path: str, record: _Record) -> None:
    """Replace the record at `path` in one move: a reader sees the old one or the new one."""
    small_files.replace_atomically(
        path, json.dumps(record.to_json() | {_DIGEST: _digest(record)}, sort_keys=True).encode()
    )


def _digest(record: _Record) -> str:
    return derive.digest(json.dumps(record.to_json(), sort_keys=True))
