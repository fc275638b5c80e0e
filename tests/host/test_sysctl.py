"""Settings of the kernel, changed for several who need them and put back by the last."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.world import ip, world

from kvmrun.host import sysctl

ONE, TWO = "ipv4/conf/wan0/forwarding", "ipv4/conf/wan1/forwarding"


@pytest.fixture(autouse=True)
def links(netns: None) -> None:
    ip("link", "add", "wan0", "type", "veth", "peer", "name", "wan1")
    for name in (ONE, TWO):
        put(name, "0")


@pytest.fixture
def run(own_directories: Path) -> Iterator[str]:
    path = own_directories / "run"
    path.mkdir()
    before = world()
    yield str(path)
    assert world()["files"] == before["files"]


def put(name: str, value: str) -> None:
    Path(f"/proc/sys/net/{name}").write_text(value)


def values() -> tuple[str | None, str | None]:
    return sysctl.read(ONE), sysctl.read(TWO)


def test_the_last_who_needed_it_puts_it_back(run: str) -> None:
    sysctl.change(run, ONE, "1", "lan")
    sysctl.change(run, ONE, "1", "dmz")
    sysctl.restore(run, "lan")
    assert values() == ("1", "0")
    assert [one.users for one in sysctl.changed(run).values()] == [("dmz",)]
    sysctl.restore(run, "dmz")
    assert values() == ("0", "0")


def test_what_was_there_first_is_what_comes_back(run: str) -> None:
    sysctl.change(run, ONE, "1", "lan")
    put(ONE, "0")
    sysctl.change(run, ONE, "1", "lan")
    sysctl.restore(run, "lan")
    assert values() == ("0", "0")


def test_what_somebody_else_changed_meanwhile_stays(run: str) -> None:
    sysctl.change(run, "ipv4/conf/wan0/rp_filter", "2", "lan")
    put("ipv4/conf/wan0/rp_filter", "1")
    sysctl.restore(run, "lan")
    assert sysctl.read("ipv4/conf/wan0/rp_filter") == "1"


def test_the_undo_puts_back_one_and_leaves_the_other(run: str) -> None:
    sysctl.change(run, ONE, "1", "lan")
    sysctl.change(run, TWO, "1", "lan")()
    assert values() == ("1", "0")
    sysctl.restore(run, "lan")
    assert values() == ("0", "0")


def test_a_link_that_is_gone_is_no_error(run: str) -> None:
    sysctl.change(run, ONE, "1", "lan")
    ip("link", "delete", "wan0")
    sysctl.restore(run, "lan")
    sysctl.change(run, ONE, "1", "lan")
    assert sysctl.read(ONE) is None
    sysctl.restore(run, "lan")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"x": 5}', '{"x": {}}', '{"x": {"users": 5}}', "\xff\x00"])
def test_a_damaged_book_costs_the_way_back_and_nothing_else(run: str, text: str) -> None:
    book = Path(run) / "sysctls"
    sysctl.change(run, ONE, "1", "lan")
    book.write_text(text, encoding="latin-1")
    assert sysctl.changed(run) == {}
    sysctl.restore(run, "lan")
    assert values() == ("1", "0")
    book.write_text(text, encoding="latin-1")
    sysctl.change(run, TWO, "1", "lan")
    sysctl.restore(run, "lan")
    assert values() == ("1", "0")


def test_a_book_with_one_bad_entry_keeps_the_good_ones(run: str) -> None:
    book = Path(run) / "sysctls"
    sysctl.change(run, ONE, "1", "lan")
    book.write_text(json.dumps({**json.loads(book.read_text()), "bad": {"users": "lan"}}))
    sysctl.restore(run, "lan")
    assert values() == ("0", "0")
