"""Settings of the kernel, changed for several who need them and put back by the last."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.world import ip, world

from kvmrun.host import sysctl
from kvmrun.host.process import process
from kvmrun.model.paths import Paths

ONE, TWO = "ipv4/conf/wan0/forwarding", "ipv4/conf/wan1/forwarding"


@pytest.fixture(autouse=True)
def links(netns: None) -> None:
    ip("link", "add", "wan0", "type", "veth", "peer", "name", "wan1")
    for name in (ONE, TWO):
        put(name, "0")


@pytest.fixture
def run(own_directories: Path) -> Iterator[Paths]:
    path, state = own_directories / "run", own_directories / "state"
    path.mkdir()
    before = world()
    yield Paths(vms="", run=str(path), state=str(state), root=True)
    assert world()["files"] == before["files"]
    assert not list(state.glob("*"))


def put(name: str, value: str) -> None:
    Path(f"/proc/sys/net/{name}").write_text(value)


def values() -> tuple[str | None, str | None]:
    return sysctl.read(ONE), sysctl.read(TWO)


def test_the_last_who_needed_it_puts_it_back(run: Paths) -> None:
    sysctl.set_and_remember(run, ONE, "1", "lan")
    sysctl.set_and_remember(run, ONE, "1", "dmz")
    sysctl.restore_settings(run, "lan")
    assert values() == ("1", "0")
    assert [one.users for one in sysctl.changed_settings(run).values()] == [("dmz",)]
    sysctl.restore_settings(run, "dmz")
    assert values() == ("0", "0")


def test_a_copy_that_stays_is_told_and_removed_the_next_time(run: Paths) -> None:
    sysctl.set_and_remember(run, ONE, "1", "lan")
    copy = Path(run.state) / "sysctls"
    kept = copy.read_bytes()
    copy.unlink()
    (copy / "in-the-way").mkdir(parents=True)
    with pytest.raises(OSError, match="sysctls"):
        sysctl.restore_settings(run, "lan")
    assert values() == ("0", "0")
    (copy / "in-the-way").rmdir()
    copy.rmdir()
    copy.write_bytes(kept)
    assert sysctl.changed_settings(run)
    sysctl.restore_settings(run, "lan")
    assert not sysctl.changed_settings(run)


def test_what_was_there_first_is_what_comes_back(run: Paths) -> None:
    sysctl.set_and_remember(run, ONE, "1", "lan")
    put(ONE, "0")
    sysctl.set_and_remember(run, ONE, "1", "lan")
    sysctl.restore_settings(run, "lan")
    assert values() == ("0", "0")


def test_what_somebody_else_changed_meanwhile_stays(run: Paths) -> None:
    sysctl.set_and_remember(run, "ipv4/conf/wan0/rp_filter", "2", "lan")
    put("ipv4/conf/wan0/rp_filter", "1")
    sysctl.restore_settings(run, "lan")
    assert sysctl.read("ipv4/conf/wan0/rp_filter") == "1"


def test_the_undo_puts_back_one_and_leaves_the_other(run: Paths) -> None:
    sysctl.set_and_remember(run, ONE, "1", "lan")
    sysctl.set_and_remember(run, TWO, "1", "lan")()
    assert values() == ("1", "0")
    sysctl.restore_settings(run, "lan")
    assert values() == ("0", "0")


def test_a_link_that_is_gone_is_no_error(run: Paths) -> None:
    sysctl.set_and_remember(run, ONE, "1", "lan")
    ip("link", "delete", "wan0")
    sysctl.restore_settings(run, "lan")
    sysctl.set_and_remember(run, ONE, "1", "lan")
    assert sysctl.read(ONE) is None
    sysctl.restore_settings(run, "lan")


DAMAGED = ["", "{", "[]", "null", '{"x": 5}', '{"x": {}}', '{"x": {"users": 5}}', "\xff\x00"]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_book_is_read_from_its_copy(run: Paths, text: str) -> None:
    book = Path(run.run) / "sysctls"
    sysctl.set_and_remember(run, ONE, "1", "lan")
    before = sysctl.changed_settings(run)
    book.write_text(text, encoding="latin-1")
    assert sysctl.changed_settings(run) == before
    sysctl.restore_settings(run, "lan")
    assert values() == ("0", "0")


@pytest.mark.parametrize("text", DAMAGED)
def test_with_both_damaged_the_settings_stay_and_nothing_else_fails(run: Paths, text: str) -> None:
    sysctl.set_and_remember(run, ONE, "1", "lan")
    for path in (Path(run.run) / "sysctls", Path(run.state) / "sysctls"):
        path.write_text(text, encoding="latin-1")
    assert sysctl.changed_settings(run) == {}
    sysctl.restore_settings(run, "lan")
    assert values() == ("1", "0")
    sysctl.set_and_remember(run, TWO, "1", "lan")
    sysctl.restore_settings(run, "lan")
    assert values() == ("1", "0")


def test_the_book_outlives_the_run_directory(run: Paths) -> None:
    sysctl.set_and_remember(run, ONE, "1", "lan")
    (Path(run.run) / "sysctls").unlink()
    sysctl.set_and_remember(run, TWO, "1", "dmz")
    (Path(run.run) / "sysctls").unlink()
    sysctl.restore_settings(run, "lan")
    assert values() == ("0", "1")
    (Path(run.run) / "sysctls").unlink()
    sysctl.restore_settings(run, "dmz")
    assert values() == ("0", "0")


def _of_another_boot(copy: Path) -> None:
    copy.write_text(copy.read_text().replace(process.boot_id(), "another"))


def _of_another_run_directory(copy: Path) -> None:
    copy.write_text(copy.read_text().replace("/run\n", "/other\n"))


def _of_another_namespace(copy: Path) -> None:
    boot, _, rest = copy.read_text().split("/", 2)
    copy.write_text(f"{boot}/0/{rest}")


def _of_another_user(copy: Path) -> None:
    os.chown(copy, 1000, 1000)


def _behind_a_link(copy: Path) -> None:
    copy.rename(copy.with_name("real"))
    copy.symlink_to("real")


@pytest.mark.parametrize(
    "harm",
    [_of_another_boot, _of_another_run_directory, _of_another_namespace, _of_another_user, _behind_a_link],
)
def test_a_copy_of_something_else_is_ignored(run: Paths, harm: Callable[[Path], None]) -> None:
    sysctl.set_and_remember(run, ONE, "1", "lan")
    harm(Path(run.state) / "sysctls")
    (Path(run.run) / "sysctls").unlink()
    assert sysctl.changed_settings(run) == {}
    sysctl.restore_settings(run, "lan")
    assert values() == ("1", "0")
    (Path(run.state) / "real").unlink(missing_ok=True)


def test_a_copy_that_cannot_be_written_costs_nothing_else(run: Paths) -> None:
    Path(run.state).write_text("no directory")
    sysctl.set_and_remember(run, ONE, "1", "lan")
    sysctl.restore_settings(run, "lan")
    assert values() == ("0", "0")


def test_a_book_with_one_bad_entry_keeps_the_good_ones(run: Paths) -> None:
    book = Path(run.run) / "sysctls"
    sysctl.set_and_remember(run, ONE, "1", "lan")
    book.write_text(json.dumps({**json.loads(book.read_text()), "bad": {"users": "lan"}}))
    sysctl.restore_settings(run, "lan")
    assert values() == ("0", "0")


class TestDefault:
    """A default that new links take over."""

    default, later = "ipv4/conf/default/forwarding", "ipv4/conf/later0/forwarding"

    @pytest.fixture(autouse=True)
    def off(self, links: None) -> None:
        put("ipv4/ip_forward", "1")
        put("ipv4/ip_forward", "0")

    def test_links_that_come_later_get_what_they_would_have_had(self, run: Paths) -> None:
        put(TWO, "1")  # somebody else's wish
        sysctl.set_and_remember(run, self.default, "1", "lan")
        sysctl.set_and_remember(run, ONE, "1", "lan")
        ip("link", "add", "later0", "type", "veth", "peer", "name", "later1")
        assert sysctl.read(self.later) == "1"
        assert sysctl.changed_settings(run)[self.default].links == ("wan1",)
        sysctl.restore_settings(run, "lan")
        assert (sysctl.read(self.default), sysctl.read(self.later), *values()) == ("0", "0", "0", "1")

    def test_one_that_another_network_needs_stays_until_that_one_lets_go(self, run: Paths) -> None:
        """What it was before is what it would have been without the default of the first."""
        sysctl.set_and_remember(run, self.default, "1", "lan")
        ip("link", "add", "later0", "type", "veth", "peer", "name", "later1")
        sysctl.set_and_remember(run, self.later, "1", "dmz")
        sysctl.restore_settings(run, "lan")
        assert sysctl.read(self.later) == "1"
        sysctl.restore_settings(run, "dmz")
        assert sysctl.read(self.later) == "0"

    def test_a_host_that_somebody_has_made_a_router_since_stays_one(self, run: Paths) -> None:
        for name in (self.default, ONE):
            sysctl.set_and_remember(run, name, "1", "lan")
        put("ipv4/ip_forward", "1")
        sysctl.restore_settings(run, "lan")
        assert (sysctl.read(self.default), *values()) == ("1", "1", "1")

    def test_a_global_flag_that_is_written_again_as_it_is_changes_nothing(self, run: Paths) -> None:
        for name in (self.default, ONE):
            sysctl.set_and_remember(run, name, "1", "lan")
        put("ipv4/ip_forward", "0")
        assert (sysctl.read(self.default), *values()) == ("1", "1", "0")
        sysctl.restore_settings(run, "lan")
