"""One file, whatever it is: a table or one sentence, never a wait, never a traceback."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmrun.config.load_lab import load_lab
from kvmrun.config.toml_file import Unreadable, read_toml
from kvmrun.model.printable import printable

DEEP = 10_000
soon = pytest.mark.timeout(0.5, func_only=True)


def text(directory: Path, content: str | bytes) -> str:
    path = directory / "vm1.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\xff\xfe", "bytes that are not UTF-8"),
        (b"\xef\xbb\xbfcpus = 1", "byte-order mark"),
        ("cpus = ", "Invalid value"),
        ("cpus = 1\0", "line 1"),
        ("cpus = 1\ncpus = 2", "overwrite"),
        ("x = " + "[" * DEEP, "tables nested too deeply"),
        ("x = " + "[" * 8000 + "]" * 8000, "tables nested too deeply"),
        ("x = " + "{a=" * 100 + "1" + "}" * 100, "tables nested too deeply"),
        ("a." * 8000 + "a = 1", "tables nested too deeply"),
        ("x = {" + "a." * 8000 + "a = 1}", "tables nested too deeply"),
        ('"="' + ".a" * 8000 + " = 1", "tables nested too deeply"),
        ("[" + "a." * 8000 + "a]", "tables nested too deeply"),
        ('"".' * 5000 + "a = 1", "tables nested too deeply"),
        ("x = [\n" + "{a.a.a=[\n" * 30 + "]}" * 30 + "]", "tables nested too deeply"),
        ("a." * 50_000 + "a = 1", "100005 bytes"),
        ("# " + "x" * (16 << 10), "16386 bytes"),
        ("cpus = 0x" + "f" * 8000, "a number of more than 64 bits"),
        ("cpus = " + "9" * 4000, "a number of more than 64 bits"),
        ("cpus = " + "9" * 5000, "Exceeds the limit"),
        ("args = [[0x" + "f" * 8000 + "]]", "a number of more than 64 bits"),
    ],
    ids=lambda one: repr(one)[:40],
)  # fmt: skip
@soon
def test_what_is_no_definition_is_told_at_once(lab: Path, content: str | bytes, found: str) -> None:
    with pytest.raises(Unreadable) as reason:
        read_toml(text(lab, content))
    assert found in reason.value.found
    assert reason.value.wanted


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\r\n",
        "# " + "." * 5000,
        "# " + "[" * 5000,
        'x = "' + "." * 5000 + '" # ' + "{" * 50,
        "x = '" + "[." * 500 + "'",
        'x = """\n' + "." * 5000 + '\n"""',
        "x = '''\n" + "." * 5000 + "\n'''",
        'x = "\\"' + "." * 100 + '"',
        "[a." + "a." * 20 + "a]",
        "# " + "x" * ((16 << 10) - 2),
    ],
    ids=lambda one: repr(one)[:40],
)
@soon
def test_what_only_looks_wild_is_read(lab: Path, content: str) -> None:
    assert isinstance(read_toml(text(lab, content)), dict)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (os.mkfifo, "a FIFO"),
        (lambda path: path.mkdir(), "a directory"),
        (lambda path: path.symlink_to("nowhere"), "no such file or directory"),
        (lambda path: path.symlink_to(path), "too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "a character device"),
        (lambda path: path.symlink_to("/dev/null"), "a character device"),
        (lambda path: path.symlink_to("/proc/self/mem"), "input/output error"),
    ],
    ids=["fifo", "directory", "dangling", "looping", "zero", "null", "memory"],
)
@soon
def test_a_file_that_is_none_costs_one_row(lab: Path, make: object, found: str) -> None:
    make(lab / "odd.toml")  # type: ignore[operator]
    (lab / "good.toml").touch()
    whole = load_lab(str(lab), "/images")
    assert (list(whole.guests), whole.invalid) == (["good"], ("odd",))
    assert found in str(whole.problems[0])


@soon
def test_a_file_of_a_gigabyte_is_not_read(lab: Path) -> None:
    with (lab / "vm1.toml").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(Unreadable) as reason:
        read_toml(str(lab / "vm1.toml"))
    assert reason.value.found == f"{1 << 30} bytes"


def test_a_file_we_may_not_read_costs_one_row(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> int:
        raise PermissionError(errno.EACCES, "no")

    (lab / "vm1.toml").touch()
    with monkeypatch.context() as now:  # only until here: what removes the lab opens it as well
        now.setattr(os, "open", closed)
        (problem,) = load_lab(str(lab), "/images").problems
    assert str(problem) == "vm1.toml: the file cannot be read: permission denied"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


KEYS = [
    *(
        "cpus",
        "memory",
        "nic",
        "drive",
        "boot",
        "args",
        "description",
        "accel",
        "x",
        "image",
        "network",
        "mac",
        "order",
    ),
    *(
        "network.lan",
        "network.lan.dhcp",
        "uplink.wan",
        "seed",
        "subnet",
        "host",
        "bridge",
        "pool",
        "options",
        "forward",
    ),
    *("nat", "dns", "ipv6", "interface", "table", "external", "domain", "address"),
]
values = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        [
            "true",
            "[]",
            "{}",
            "[[]]",
            "[{}]",
            '"1G"',
            '"kvm"',
            '"a.raw"',
            '""',
            "1979-05-27",
            '"10.0.0.0/24"',
            '"10.0.0.1"',
            '"tcp 1 -> vm1:2"',
            '"""\n"""',
            "[",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(lambda word: f'"{word}"'),
)
lines = st.one_of(
    st.tuples(st.sampled_from(KEYS), values).map(" = ".join),
    st.sampled_from(KEYS).map("[{}]".format),
    st.sampled_from(KEYS).map("[[{}]]".format),
    st.tuples(st.lists(st.sampled_from(KEYS), min_size=1).map(".".join), values).map(" = ".join),
)
files = st.one_of(st.binary(max_size=300), st.lists(lines, max_size=8).map(lambda some: "\n".join(some).encode()))


@settings(deadline=None, max_examples=300)
@given(files, st.sampled_from(["vm1", "networks", "defaults"]))
def test_no_bytes_are_more_than_a_lab_with_problems(scratch: Path, content: bytes, stem: str) -> None:
    for name in ("vm1", "networks", "defaults"):
        (scratch / f"{name}.toml").write_bytes(content if name == stem else b"")
    lab = load_lab(str(scratch), "/images")
    assert set(lab.invalid) | set(lab.guests) == {"vm1"}
    assert all(printable(problem) == str(problem) for problem in lab.problems)
    if lab.invalid:
        assert lab.problems


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("memory = 16M\n", 'line 1: text must be in quotes: memory = "16M"'),
        ("cpus = 2\naccel = tcg # slow\n", 'line 2: text must be in quotes: accel = "tcg"'),
        ("a.b = 1 2\n", "line 1: text must be in quotes"),
        ("cpus\n", "line 1, column 5: expected"),
        ('memory = "16M\n', "line 1, column 14: illegal character"),
        ("[boot\n", "line 1, column 6: expected"),
        ("cpus = 1\ncpus = 2\n", "line 2, column 9: cannot overwrite a value"),
        ("\ufeffcpus = 1\n", "found a byte-order mark at its start, expected UTF-8 without one"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_how_to_write_it(lab: Path, text: str, told: str) -> None:
    (lab / "vm1.toml").write_text(text)
    (problem,) = load_lab(str(lab), "/images").problems
    assert str(problem).startswith(f"vm1.toml: {told}"), problem
