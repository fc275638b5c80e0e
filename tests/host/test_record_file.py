"""Records of guests and of networks: what was damaged or edited does not count, what an older version wrote does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.builders import RECORD

from kvmrun.config.networks_file import convert_networks
from kvmrun.config.toml_values import Converter
from kvmrun.host.rundir import records, rundir
from kvmrun.model import derive
from kvmrun.model.network.network_record import NetworkRecord
from kvmrun.model.scalars import PathBase

FOUND = convert_networks(Converter("networks.toml", PathBase(directory="/", images="/")), {"network": {"lan": {}}})
GUEST = RECORD.replace(name="a", uuid=derive.uuid("", "a"), lab="/lab")
NETWORK = NetworkRecord(
    lab="/lab", network=FOUND.network["lan"], mac="52:54:00:00:00:01", uid=1, log_uid=2, config="/c"
)


@pytest.fixture(params=["guest", "network"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any, Callable[[], Any]]:
    """Where a record of either kind is written, the record, and what reads it."""
    path = tmp_path / "record"
    if request.param == "guest":
        rundir.write_record(str(path), GUEST)
        return path, GUEST, lambda: rundir.read_record(str(tmp_path))
    records.write_network(str(path), NETWORK)
    return path, NETWORK, lambda: records.read_network(str(path))


def test_a_record_that_says_something_else_than_was_written_does_not_count(
    kept: tuple[Path, Any, Callable[[], Any]],
) -> None:
    path, record, read = kept
    assert read() == record
    whole = json.loads(path.read_text())
    for key in whole.keys() - {"schema", "digest"}:
        other = whole[key] + 1 if type(whole[key]) is int else f"{whole[key]}x"
        path.write_text(json.dumps(whole | {key: other}))
        assert read() is None, key
    for digest in ("", None, 7, [], "0" * 32):
        path.write_text(json.dumps(whole | {"digest": digest}))
        assert read() is None, digest


def test_a_record_without_a_digest_is_an_older_versions(kept: tuple[Path, Any, Callable[[], Any]]) -> None:
    path, record, read = kept
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in whole.items() if key != "digest"}))
    assert read() == record
    path.write_text(json.dumps(whole | {"schema": 99, "digest": "of another kind", "colour": "blue"}))
    assert read() == record


def test_a_damaged_record_is_none_and_no_error(kept: tuple[Path, Any, Callable[[], Any]]) -> None:
    path, _, read = kept
    whole = path.read_bytes()
    for text in (
        b"",
        b"[]",
        b"7",
        b"null",
        b'"x"',
        b"[" * 50_000,
        b"\xff\xfe",
        *(whole[:cut] for cut in range(0, len(whole), 40)),
    ):
        path.write_bytes(text)
        assert read() is None
