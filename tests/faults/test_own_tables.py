"""Our tables of the packet filter, changed by others in every way nft has: each reader says it, repair undoes it."""

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.tally import Tally
from support.world import load_rules, ruleset

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(900)]

LAB = '[network.lan]\nforward = ["tcp 8080 -> vm2:80"]\ndns = false\n'
NETWORK, GUARD, KEPT = "inet kvmrun_lan", "netdev kvmrun", "netdev kvmrun_net_lan"
TABLES = (NETWORK, GUARD, KEPT)
FOREIGN = (
    "add table inet {0} {{ {1}; }}\nadd chain inet {0} ahead {{ type filter hook forward priority 5; policy drop; }}\n"
)


def rules(table: str) -> list[tuple[str, int]]:
    """The chain and the handle of each rule of a table."""
    words = ["nft", "-j", "-a", "list", "table", *table.split()]
    listed = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["nftables"]
    return [(one["rule"]["chain"], one["rule"]["handle"]) for one in listed if "rule" in one]


def flushed_chain(table: str) -> str:
    chain, _ = rules(table)[0]
    return f"flush chain {table} {chain}"


def no_chain(table: str) -> str:
    chain, _ = rules(table)[0]
    return f"flush chain {table} {chain}\ndelete chain {table} {chain}"


def no_rule(table: str) -> str:
    chain, handle = rules(table)[-1]
    return f"delete rule {table} {chain} handle {handle}"


def replaced(table: str) -> str:
    chain, handle = rules(table)[0]
    return f"replace rule {table} {chain} handle {handle} accept"


def inserted(table: str) -> str:
    chain, _ = rules(table)[0]
    return f"insert rule {table} {chain} accept"


def other_policy(table: str) -> str:
    policy = "drop" if table == NETWORK else "accept"
    return f"add chain {table} {rules(table)[0][0]} {{ policy {policy}; }}"


CHANGES: dict[str, Callable[[str], str]] = {
    "flush ruleset": lambda _: "flush ruleset",
    "delete table": lambda table: f"delete table {table}",
    "flush table": lambda table: f"flush table {table}",
    "dormant": lambda table: f"add table {table} {{ flags dormant; }}",
    "delete chain": no_chain,
    "flush chain": flushed_chain,
    "delete rule": no_rule,
    "replace rule": replaced,
    "insert rule": inserted,
    "policy": other_policy,
}
READERS: dict[str, Callable[[Cli], bool]] = {
    "list": lambda kvmrun: any(one["problem"] for one in kvmrun.rows().values()),
    "net status": lambda kvmrun: kvmrun.network()["state"] != "up" and bool(kvmrun.network()["problem"]),
    "doctor": lambda kvmrun: bool(findings(kvmrun)),
    "repair": lambda kvmrun: kvmrun("repair", "-n").code == 1,
}


def findings(kvmrun: Cli, *subjects: str) -> list[dict[str, Any]]:
    found = kvmrun("doctor", "-o", "json").json()["findings"]
    named = subjects or ("network lan", "vm1", "filter")
    return [one for one in found if one["level"] != "ok" and one["subject"] in named]


@pytest.fixture
def running(lab: Path, kvmrun: Cli) -> Cli:
    """vm1 runs, and vm2's tap is made to stay for a user: every table of ours is there."""
    (lab / "networks.toml").write_text(LAB)
    guests(lab, "vm2", text=TCG)
    kvmrun.ok("net", "up", "--owner", "root")
    guests(lab, "vm1", text=TCG)
    kvmrun.ok("vm1", "--paused")
    return kvmrun


def test_each_change_is_said_by_each_reader_and_undone_by_repair(running: Cli, tally: Tally) -> None:
    cells = [(change, table) for change in CHANGES for table in TABLES]
    what = "each change of each table of ours: said by list, net status, doctor and repair, and undone by repair"
    row = tally.row("F-40", what, len(cells))
    right = ruleset()
    assert [name for name, says in READERS.items() if says(running)] == []
    for change, table in cells if tally.full else [*random.Random(3).sample(cells, 2), ("dormant", GUARD)]:
        with row.case(f"{change}: {table}"):
            load_rules(CHANGES[change](table))
            silent = [name for name, says in READERS.items() if not says(running)]
            running("repair")
            assert (silent, ruleset() == right) == ([], True)
            assert [name for name, says in READERS.items() if says(running)] == []
        load_rules("flush ruleset")
        running("repair")


def test_a_start_wakes_a_table_that_is_dormant(running: Cli, lab: Path) -> None:
    """One transaction cannot wake a table and add chains to it."""
    guests(lab, "vm3", text=TCG)
    load_rules(CHANGES["dormant"](GUARD))
    running.ok("vm3", "--paused")
    assert "dormant" not in "".join(ruleset())
    assert running("repair", "-n").code == 0


@pytest.mark.parametrize("ours", [(), TABLES], ids=["theirs alone", "ours as well"])
def test_what_is_dormant_does_nothing_and_hides_nothing(running: Cli, ours: tuple[str, ...]) -> None:
    """nft 1.0.6 cannot list a table with one flag as JSON, and stops there."""
    load_rules(FOREIGN.format("theirs", "flags dormant"))
    for table in ours:
        load_rules(CHANGES["dormant"](table))
    assert findings(running, "filter") == []
    load_rules(FOREIGN.format("also", ""))
    (found,) = findings(running, "filter")
    assert "inet also ahead" in found["text"]
    load_rules("add table inet theirs")
    assert any("inet theirs ahead" in one["text"] for one in findings(running, "filter"))
