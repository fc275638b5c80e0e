"""A network of which neither a definition nor a record is left, but a bridge and tables with the lab's mark."""

import os
import shutil
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.world import ip, link, world, world_after

from kvmrun.host.firewall import nfnetlink

pytestmark = pytest.mark.usefixtures("netns", "tun")
OTHER = '[network.lan]\n[network.dmz]\nbridge = "br7"\nsubnet = "10.7.0.0/24"\n'


@pytest.fixture
def lost(lab: Path, kvmrun: Cli) -> Cli:
    """The network dmz was up when its definition and the run directory were removed."""
    (lab / "networks.toml").write_text(OTHER)
    kvmrun.ok("net", "up", "dmz")
    (lab / "networks.toml").unlink()
    shutil.rmtree(os.environ["KVMRUN_RUN_DIR"])
    assert "inet kvmrun_dmz" in nfnetlink.existing_parts("inet")
    return kvmrun


def is_left() -> tuple[bool, bool, list[str]]:
    return link("br7") is not None, "inet kvmrun_dmz" in nfnetlink.existing_parts("inet"), world()["processes"]


@pytest.mark.parametrize("words", [("net", "down", "dmz"), ("net", "down"), ("repair",)])
def test_it_is_removed(lost: Cli, words: tuple[str, ...]) -> None:
    lost.ok(*words)
    assert is_left() == (False, False, [])
    assert lost("net", "down", "dmz").code == 5
    lost.ok("repair", "-n")


def test_its_table_alone_is_removed(lost: Cli) -> None:
    ip("link", "delete", "br7")
    lost.ok("net", "down", "dmz")
    assert is_left() == (False, False, [])


def test_repair_tells_of_it(lost: Cli) -> None:
    told = lost("repair", "-n")
    assert (told.code, "network dmz: " in told.out) == (1, True), told
    assert is_left()[:2] == (True, True)


def test_what_guests_use_stays(lost: Cli) -> None:
    ip("link", "add", "guest0", "type", "veth", "peer", "name", "guest1")
    ip("link", "set", "guest0", "master", "br7")
    refused = lost("net", "down", "dmz")
    assert (refused.code, "guest0" in refused.err) == (6, True), refused
    told = lost("repair")
    assert (told.code, "kvmrun net down --force dmz" in told.out + told.err) == (1, True), told
    assert is_left()[:2] == (True, True)
    lost.ok("net", "down", "--force", "dmz")
    assert is_left() == (False, False, [])


def test_what_another_lab_has_marked_stays(lost: Cli, own_directories: Path) -> None:
    other = own_directories / "other"
    other.mkdir()
    guests(other, "vm1", text=TCG)
    second = Cli([*lost.words[:-1], str(other)])
    before = world()
    refused = second("net", "down", "dmz")
    assert (refused.code, "dmz" in refused.err) == (5, True)
    second.ok("repair", "-n")
    assert world_after(before, limit=1.0) == before
    lost.ok("net", "down")
