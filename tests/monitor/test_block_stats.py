"""Counters in QEMU's answers: taken where they are what they should be, left out where not."""

from typing import Any

import pytest

from kvmrun.monitor.qmp import block_stats
from kvmrun.monitor.qmp.query_many import Reply

STATS = {
    "rd_bytes": 512,
    "wr_bytes": 1024,
    "rd_operations": 1,
    "wr_operations": 2,
    "flush_operations": 3,
    "rd_total_time_ns": 4,
    "wr_total_time_ns": 5,
}
ONE = {"device": "", "node-name": "d0", "qdev": "/machine/peripheral/drive0/virtio-backend", "stats": STATS}


def answer(blocks: object, balloon: object = None) -> Reply:
    return Reply(replies={"query-blockstats": blocks, "query-balloon": balloon})


def test_a_drive_goes_by_the_name_of_its_device() -> None:
    (found,) = block_stats.drives(answer([ONE]))
    assert found.as_dict() == {
        "name": "drive0", "read_bytes": 512, "written_bytes": 1024, "reads": 1, "writes": 2, "flushes": 3,
        "read_ns": 4, "write_ns": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"qdev": "/machine/peripheral/drive7"}, "drive7"),
        ({"qdev": "/machine/unattached/device[3]"}, "d0"),
        ({"qdev": None, "device": "ide0-hd0"}, "ide0-hd0"),
        ({"qdev": "/machine/peripheral/\x1b[31m"}, "\\x1b[31m"),
    ],
)
def test_other_names(change: dict[str, object], name: str) -> None:
    assert [one.name for one in block_stats.drives(answer([ONE | change]))] == [name]


@pytest.mark.parametrize(
    "blocks",
    [
        None,
        {},
        "drive0",
        [7, None, [], {}],
        [ONE | {"stats": None}],
        [ONE | {"stats": STATS | {"rd_bytes": "512"}}],
        [ONE | {"stats": STATS | {"rd_bytes": True}}],
        [ONE | {"stats": STATS | {"rd_bytes": -1}}],
        [ONE | {"stats": STATS | {"rd_bytes": 1 << 64}}],
        [ONE | {"qdev": "/machine/peripheral", "node-name": "", "device": ""}],
    ],
)
def test_what_makes_no_sense_is_no_drive(blocks: Any) -> None:
    assert block_stats.drives(answer(blocks)) == ()


def test_a_name_counts_once() -> None:
    assert len(block_stats.drives(answer([ONE, ONE]))) == 1


@pytest.mark.parametrize(("reply", "found"), [({"actual": 7}, 7), ({"actual": "7"}, None), ({}, None), ([], None)])
def test_a_balloon(reply: object, found: int | None) -> None:
    assert block_stats.balloon(answer([], reply)) == found
    assert block_stats.balloon(Reply()) is None
