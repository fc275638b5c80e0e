import asyncio

import pytest
from support.builders import own_socket
from support.qemu import needs_qemu, qemu
from support.schema import REPLY

from kvmrun.errors import KvmrunError, UsageError
from kvmrun.monitor.qmp import qmp_schema
from kvmrun.monitor.qmp.qmp_client import connect
from kvmrun.monitor.shell import qmp_help
from kvmrun.monitor.shell.shell_parser import QmpCall, parse_line

SMALL = qmp_schema.read(REPLY)


def texts(before: str) -> list[str]:
    return [one.text for one in qmp_help.complete(SMALL, before)]


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        ("q", ["query-status", "quit"]),
        ("ex", ["exit"]),
        ("he", ["help"]),
        ("block_resize ", ["size=", "device="]),
        ("block_resize size=5 ", ["device="]),
        ("block_resize de", ["device="]),
        ("blockdev-add driver=", ["driver=file", "driver=qcow2"]),
        ("blockdev-add driver=qcow2 fi", ["file=", "file."]),
        ("blockdev-add driver=file fi", ["filename="]),
        ("blockdev-add ca", ["cache."]),
        ("blockdev-add cache.", ["cache.direct="]),
        ("blockdev-add cache.direct=", ["cache.direct=true", "cache.direct=false"]),
        ("blockdev-add driver=qcow2 file.driver=f", ["file.driver=file"]),
        ("blockdev-add driver=qcow2 file.driver=file file.f", ["file.filename="]),
        ("blockdev-add driver=qcow2 file.driver=qcow2 file.file.dr", ["file.file.driver="]),
        ("blockdev-add read-only=t", ["read-only=true"]),
        ("help block", ["block_resize", "blockdev-add"]),
        ("help block_resize ", []),
        ("nonsense ", []),
        ("blockdev-add nonsense.", []),
        ("block_resize device='half a quote ", []),
        ('{"execute": "', []),
        ("/info ", []),
        ("# quit", []),
    ],
)
def test_completion(before: str, wanted: list[str]) -> None:
    assert texts(before) == wanted


def test_completion_says_what_each_thing_is() -> None:
    metas = {one.text: one.meta for one in qmp_help.complete(SMALL, "blockdev-add driver=qcow2 ")}
    assert metas == {
        "read-only=": "bool, optional",
        "cache.": "object, optional",
        "file=": "object or str",
        "file.": "object or str",
    }
    assert [one.meta for one in qmp_help.complete(SMALL, "block_")] == ["size [device]"]


def test_completion_replaces_the_word_under_the_cursor() -> None:
    before = "blockdev-add driver=qc"
    (one,) = qmp_help.complete(SMALL, before)
    assert before[: len(before) - one.length] + one.text == "blockdev-add driver=qcow2"


def test_help_of_a_command() -> None:
    text = "\n".join(qmp_help.explain(SMALL, "blockdev-add", {}))
    assert text.splitlines()[0].startswith("blockdev-add")
    assert "enum: file, qcow2" in text
    assert "read-only?" in text
    assert "    direct " in text
    assert "help blockdev-add driver=file" in text
    assert text.endswith("returns nothing")
    assert "file " in "\n".join(qmp_help.explain(SMALL, "blockdev-add", {"driver": "qcow2"}))


def test_help_of_other_things() -> None:
    assert qmp_help.explain(SMALL, "query-status", {})[1:3] == ("  takes no arguments", "returns object")
    assert qmp_help.explain(SMALL, "set-all", {})[-1] == "returns list of enum: paused, running"
    assert "properties of the device" in "\n".join(qmp_help.explain(SMALL, "device_add", {}))
    assert qmp_help.explain(SMALL, "events", {}) == ("SHUTDOWN  STOP",)
    assert qmp_help.explain(SMALL, "STOP", {}) == ("STOP", "  carries no data")
    assert "guest" in qmp_help.explain(SMALL, "SHUTDOWN", {})[1]
    assert qmp_help.explain(SMALL, "block", {}) == ("block_resize  blockdev-add",)
    with pytest.raises(UsageError) as caught:
        qmp_help.explain(SMALL, "querry-status", {})
    assert "query-status" in caught.value.fix


def test_completion_of_the_human_monitor() -> None:
    known = qmp_help.human_commands(
        "cont|c  -- resume emulation\r\ninfo [subcommand] -- show\r\nx/fmt addr -- dump\r\nno dashes",
        "info status  -- show the current VM status",
    )
    assert known["c"] == known["cont"] == "resume emulation"
    assert [one.text for one in qmp_help.complete_human(known, "info s")] == ["info status"]


@pytest.mark.parametrize("reply", [None, 5, {}, [5], [{}], [{"meta-type": "enum", "name": "1"}]])
def test_what_is_no_schema_is_refused(reply: object) -> None:
    with pytest.raises(KvmrunError):
        qmp_schema.read(reply)


@needs_qemu
def test_the_schema_of_a_real_qemu(tmp_path) -> None:
    async def ask() -> object:
        async with connect(own_socket(path), limit=10) as monitor:
            return await monitor.execute("query-qmp-schema")

    path = f"{tmp_path}/p"
    with qemu(path):
        real = qmp_schema.read(asyncio.run(ask()))
    assert len(real.commands) > 150
    assert "SHUTDOWN" in real.events
    for topic in ("", "events", *real.commands, *real.events):
        lines = qmp_help.explain(real, topic, {})
        assert lines
        assert max(map(len, lines)) <= 80, topic
    for command in real.commands:
        qmp_help.complete(real, f"{command} ")
    line = "blockdev-add driver=qcow2 node-name=5 file.driver=file file.filename=/x discard=unmap"
    call = parse_line(real, line)
    assert isinstance(call, QmpCall)
    assert call.arguments == {
        "driver": "qcow2",
        "node-name": "5",
        "file": {"driver": "file", "filename": "/x"},
        "discard": "unmap",
    }
