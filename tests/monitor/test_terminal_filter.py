"""What a terminal is shown of a guest: the useful passes, the harmful never, however it is cut into pieces."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvmrun.monitor.console.terminal_filter import TerminalFilter

calm = settings(deadline=None, max_examples=500)
_PIECES = [
    b"\x1b", b"[", b"]", b"P", b"_", b"^", b"X", b"?", b">", b"=", b"!", b"$", b"(", b"0", b";", b":", b"6", b"n", b"c",
    b"t", b"h", b"l", b"m", b"J", b"q", b"\x07", b"\\", b"\n", b"\x18", b"\x9b", b"\x9d", b"\xc2", b"\xc2\x9b", b"\x85",
    b"\xe2\x94\x80", b"\xe2", b"\xf0\x9f", b"\x92\xa9", b"text", b"52;c;", b"1049", b"\x05", b"\x0e", b"9" * 70,
]  # fmt: skip
bad = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(_PIECES), max_size=60).map(b"".join))

ALLOWED = re.compile(
    rb"\x1b\[(?:[0-9;:]{0,64}[@A-HIJKLMPSTXZ`abdefmrsu]|\??[0-9;]+[hl]|!p)|\x1b[78DEM=>]|\x1b[()][AB0]|[\x0e\x0f]"
)


def passed(data: bytes) -> bytes:
    return TerminalFilter().feed(data)


@calm
@given(bad, st.lists(st.integers(0, 200)))
def test_pieces_make_no_difference(data: bytes, cuts: list[int]) -> None:
    one = TerminalFilter()
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    pieces = [data[start:end] for start, end in pairwise(places)]
    assert b"".join(map(one.feed, pieces)) == passed(data)


@calm
@given(bad)
def test_nothing_passes_but_text_and_what_is_allowed(data: bytes) -> None:
    text = ALLOWED.sub(b"", passed(data)).decode()  # valid UTF-8, whatever came
    assert not [char for char in text if not char.isprintable() and char in map(chr, [*range(32), *range(127, 160)])
                and char not in "\t\n\v\f\r\a\b"]  # fmt: skip


@calm
@given(bad)
def test_the_filter_has_nothing_more_to_do_the_second_time(data: bytes) -> None:
    assert passed(passed(data)) == passed(data)


@pytest.mark.parametrize(
    "harmless",
    [
        b"plain text\r\n\ttab \b \a",
        "Grüße ─│┌ 漢字 \U0001f4a9".encode(),
        b"\x1b[1;31mred\x1b[0m \x1b[38;5;200m \x1b[38:2::1:2:3m",
        b"\x1b[H\x1b[2J\x1b[10;20H\x1b[A\x1b[K\x1b[3P\x1b[1;24r\x1b[4h\x1b[s\x1b[u",
        b"\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l\x1b[?2004h\x1b[?1;6l",
        b"\x1b7\x1b8\x1b(0\x1b(B\x0e\x0f\x1b=\x1b>\x1bM",
    ],
)
def test_what_programs_need_passes_unchanged(harmless: bytes) -> None:
    assert passed(harmless) == harmless


@pytest.mark.parametrize(
    "harmful",
    [
        b"\x1b]0;title\x07", b"\x1b]2;title\x1b\\", b"\x1b]52;c;aGVsbG8=\x07", b"\x1b]8;;http://x\x1b\\",
        b"\x1b]10;?\x07", b"\x1bP$qm\x1b\\", b"\x1bP+q544e\x1b\\", b"\x1b_Gi=1;x\x1b\\", b"\x1b^pm\x1b\\",
        b"\x1bXsos\x1b\\",
        b"\x1b[c", b"\x1b[0c", b"\x1b[>c", b"\x1b[=c", b"\x1b[6n", b"\x1b[5n", b"\x1b[?6n", b"\x1b[21t", b"\x1b[8;1;1t",
        b"\x1b[>q", b"\x1b[?25$p", b"\x1b[1;1;1;1;1;1*y", b"\x1b[x", b"\x1b[5i", b"\x1bZ", b"\x05", b"\x1b[?3h",
        b"\x1b[2h",
        b"\x1b[12l", b"\x1b[?u", b"\x1b[>1u", b"\x1b[?4m", b"\x1b[>4;2m", b"\x1b[3J", b"\x1b[99999b", b"\x1b%@",
        b"\x1bH",
        b"\x1b[?1004h", b"\x9b", b"\x9d", b"\x90", b"\xc2\x9b", b"\xc2\x9d", b"\x7f", b"\x00", b"\x1b#8", b"\x1bN",
    ],
)  # fmt: skip
def test_what_answers_or_reaches_beyond_the_screen_is_dropped(harmful: bytes) -> None:
    assert passed(b"a" + harmful + b"b") == b"ab"


@pytest.mark.parametrize(
    ("broken", "shown"),
    [
        (b"\x1b[6\rn", b"6\rn"),
        (b"\x1b\x1b[6n", b""),
        (b"\x1b[\x1b[6nx", b"x"),
        (b"\xc2\x1b[6n\x9bx", "\ufffdx".encode()),
        (b"\x1b]0;no end\nnext", b"\nnext"),
        (b"\x1b]0;t\x1b[31mx", b"\x1b[31mx"),
        (b"caf\xe9!", "caf\ufffd!".encode()),
        (b"\x1b[?2004;3;25hx", b"\x1b[?2004;25hx"),
    ],
)
def test_what_is_broken_turns_to_text(broken: bytes, shown: bytes) -> None:
    assert passed(broken) == shown


def test_a_string_without_end_hides_only_so_much() -> None:
    assert passed(b"\x1b]0;" + b"x" * 10_000) == b"x" * (10_000 - 4096 + 2)


def test_memory_is_bounded_whatever_comes() -> None:
    one = TerminalFilter()
    for data in (b"\x1b[" + b"9;" * 40_000, b"\x1bP" + b"x" * 100_000, b"\x1b" * 100_000, b"\xf0" * 100_000):
        one.feed(data)
        assert len(one._held) < 80


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (b"\x1b[18t", b"\x1b[8;24;80t"),
        (b"\x1b7\x1b[r\x1b[999;999H\x1b[6n", b"\x1b[24;80R"),
        (b"\x1b[32766;32766H\x1b[6n", b"\x1b[24;80R"),
        (b"\x1b[6n", b""),
        (b"\x1b[999;1H\x1b[6n", b""),
        (b"\x1b[999;999H\x1b[5n", b""),
        (b"\x1b[999;999H\x1b[H\x1b[6n", b""),
        (b"\x1b[21t\x1b[19t\x1b[c", b""),
    ],
)
def test_only_the_size_is_answered_and_never_by_the_terminal(asked: bytes, answer: bytes) -> None:
    for cut in range(len(asked) + 1):
        one = TerminalFilter(lambda: (24, 80))
        shown = one.feed(asked[:cut]) + one.feed(asked[cut:])
        assert (one.answers(), one.answers()) == (answer, b"")
        assert not re.search(rb"[nct]$", shown)
    deaf = TerminalFilter()
    deaf.feed(asked)
    assert deaf.answers() == b""


def test_answers_are_bounded() -> None:
    one = TerminalFilter(lambda: (24, 80))
    one.feed(b"\x1b[18t" * 10_000)
    assert len(one.answers()) < 5000


def test_leaving_undoes_what_was_set_and_no_more() -> None:
    one = TerminalFilter()
    assert b"1049" not in one.leave()
    one.feed(b"\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1000l\x1b[?2004h\x1b[2;5r")
    left = one.leave()
    assert b"\x1b[?1049l\x1b[?25h\x1b[?2004l" in left
    assert b"?1000" not in left
    assert b"\x1b[r" in left
    assert left.endswith(b"\x1b[0m")


def test_what_follows_stands_below_what_was_drawn() -> None:
    one = TerminalFilter()
    one.feed(b"a line\r\n\x1b[31mred\x1b[2K")
    assert b"H" not in one.leave()
    for placed in (b"\x1b[8;5Hbox", b"\x1b[8;5fbox", b"\x1b[8dbox"):
        one = TerminalFilter()
        one.feed(placed)
        assert b"\x1b[999H" in one.leave(), placed
