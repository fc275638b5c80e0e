import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.schema import REPLY

from kvmrun.errors import UsageError
from kvmrun.monitor.qmp.qmp_schema import read
from kvmrun.monitor.shell.shell_lexer import tokenize
from kvmrun.monitor.shell.shell_parser import EmptyLine, HelpRequest, HmpCommand, QmpCall, Quit, parse_line, quits_qemu

SMALL = read(REPLY)


def arguments(line: str) -> object:
    call = parse_line(SMALL, line)
    assert isinstance(call, QmpCall)
    return call.arguments


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", EmptyLine()),
        ("  # a comment", EmptyLine()),
        ("exit", Quit()),
        ("help", HelpRequest(given={})),
        ("help blockdev-add driver=file", HelpRequest(topic="blockdev-add", given={"driver": "file"})),
        ("/info status", HmpCommand(line="info status")),
        ("query-status", QmpCall(command="query-status", arguments={})),
        ('{"execute": "stop"}', QmpCall(command="stop", arguments={})),
        ('{"exec-oob": "x", "arguments": {"a": 1}, "id": 5}', QmpCall(command="x", arguments={"a": 1}, oob=True)),
    ],
)
def test_lines(line: str, wanted: object) -> None:
    assert parse_line(SMALL, line) == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("block_resize device=5 size=5", {"device": "5", "size": 5}),
        ("block_resize device=true size=0x1000", {"device": "true", "size": 4096}),
        ('block_resize device="a b" size="7"', {"device": "a b", "size": 7}),
        (r"block_resize device='a\b' size=1", {"device": r"a\b", "size": 1}),
        (r"block_resize device=a\ b", {"device": "a b"}),
        ('block_resize device="\\u00e9"', {"device": "é"}),
        ("block_resize device=", {"device": ""}),
        ("block_resize device=[1,2]", {"device": "[1,2]"}),
        ("blockdev-add read-only=on", {"read-only": True}),
        ("blockdev-add read-only=no", {"read-only": False}),
        ("blockdev-add driver=qcow2 file=node0", {"driver": "qcow2", "file": "node0"}),
        ("blockdev-add driver=qcow2 file.driver=file file.filename=5",
         {"driver": "qcow2", "file": {"driver": "file", "filename": "5"}}),
        ('blockdev-add driver=qcow2 file={"driver": "file"}', {"driver": "qcow2", "file": {"driver": "file"}}),
        ("blockdev-add cache.direct=true", {"cache": {"direct": True}}),
        ('set-all caps=[{"direct": true}, {}] ratio=0.5', {"caps": [{"direct": True}, {}], "ratio": 0.5}),
        ("set-all caps='[1, 2]'", {"caps": [1, 2]}),
        ("set-all value=12", {"value": 12}),
        ('set-all value="12"', {"value": "12"}),
        ("set-all value='12'", {"value": "12"}),
        ("set-all value=word", {"value": "word"}),
        ("set-all value=NaN", {"value": "NaN"}),
        ("set-all value.a=1 value.b.c=x", {"value": {"a": 1, "b": {"c": "x"}}}),
        ("set-all creds=null", {"creds": None}),
        ("set-all creds='null'", {"creds": "null"}),
        ("set-all host=5", {"host": 5}),
        ("set-all host=off", {"host": False}),
        ("set-all host=[1]", {"host": [1]}),
        ("device_add driver=virtio-rng-pci id=7 max-bytes=5 rom=on", {
            "driver": "virtio-rng-pci", "id": "7", "max-bytes": 5, "rom": "on"}),
    ],
)  # fmt: skip
def test_values_are_typed_by_the_schema(line: str, wanted: object) -> None:
    assert arguments(line) == wanted


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("query-statos", "did you mean 'query-status'"),
        ("a=1", "begins with a command"),
        ("block_resize dev1", "did you mean 'block_resize size=dev1'"),
        ("block_resize sise=5", "did you mean 'size'"),
        ("block_resize size=4G", "wants int"),
        ("block_resize size=99999999999999999999", "wants int"),
        ("block_resize size=1 size=2", "given twice"),
        ("block_resize device=x device.y=2", "given as a value and by its parts"),
        ("block_resize device.y=2", "has no parts"),
        ("block_resize device='x", "not closed"),
        ("blockdev-add driver=qcow3", "did you mean 'qcow2'"),
        ("blockdev-add file=x", "depends on driver="),
        ("blockdev-add read-only=maybe", "wants bool"),
        ("blockdev-add cache=x", "cache.part=value"),
        ("set-all caps=[1,", "not valid JSON"),
        ("set-all caps=word", "as JSON"),
        ("set-all ratio=true", "wants number"),
        ("set-all caps=" + "[" * 100_000, "not valid JSON"),
        ('{"execute": "quit"', "begins like JSON"),
        ('{"execute": 5}', "not a QMP command"),
        ('{"execute": "quit", "x": 5}', "has no 'x'"),
        ("\x1b[31m", "has no command '\\x1b[31m'"),
    ],
)
def test_mistakes_name_the_word_and_the_mend(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_line(SMALL, line)
    error = caught.value
    assert said in f"{error.message} | {error.fix} | {error.reason}"
    assert (error.message + error.fix + error.reason).isprintable()


@pytest.mark.parametrize("line", ["quit", '{"execute": "quit"}', "/quit", "/q"])
def test_what_ends_the_guest(line: str) -> None:
    assert quits_qemu(parse_line(SMALL, line))


@pytest.mark.parametrize("line", ["exit", "help quit", "/info qtree", "stop", ""])
def test_what_leaves_it_alone(line: str) -> None:
    assert not quits_qemu(parse_line(SMALL, line))


WORDS = ["blockdev-add", "set-all", "driver=qcow2", "file.driver=file", "value=", "caps=[", "{", '"', "'", "\\", "]"]
LINES = st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join)


@given(LINES)
@example("value=[1]x")
@example("blockdev-add driver.x=1 driver=file")
def test_any_line_is_read_or_refused(line: str) -> None:
    message = ""
    try:
        parse_line(SMALL, line)
    except UsageError as error:
        message = error.message
    assert not message or message.isprintable()


@given(st.text())
def test_text_as_a_json_string_arrives_unchanged(text: str) -> None:
    assert arguments(f"block_resize device={json.dumps(text)} size=1") == {"device": text, "size": 1}


@given(st.text().filter(lambda text: "'" not in text))
def test_text_in_single_quotes_arrives_unchanged(text: str) -> None:
    assert [word.text for word in tokenize(f"a device='{text}'")] == ["a", text]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_json_arrives_unchanged(value: object) -> None:
    assert arguments(f"set-all value={json.dumps([value])} ratio=1") == {"value": [value], "ratio": 1}
