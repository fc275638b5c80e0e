"""Transactions of many threads at once: each is told of its own, and few processes are needed."""

import subprocess
import threading
from pathlib import Path

import pytest

from kvmrun.errors import KvmrunError
from kvmrun.host.firewall import nft, nft_batch

pytestmark = pytest.mark.usefixtures("netns")


def text(name: str, rule: str = "accept") -> str:
    table = f"netdev kvmrun_{name}"
    chain = f'chain a {{ type filter hook ingress device "lo" priority 0; {rule}; }}'
    return f"table {table} {{}}\ndelete table {table}\ntable {table} {{\n {chain}\n}}\n"


def tables() -> set[str]:
    shown = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return {line.removeprefix("table netdev kvmrun_") for line in shown.splitlines()}


def all_at_once(names: list[str], refused: set[str], at: Path) -> dict[str, KvmrunError]:
    errors: dict[str, KvmrunError] = {}

    def one(name: str) -> None:
        try:
            nft.load_ruleset(
                f"netdev kvmrun_{name}", text(name, "nonsense" if name in refused else "accept"), str(at / name), name
            )
        except KvmrunError as error:
            errors[name] = error

    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def slow() -> str:
    """A transaction that takes long enough for others to come meanwhile."""
    return text("slow", "policy accept; " + "ip saddr 10.0.0.1 accept; " * 4000)


def test_those_that_come_while_one_is_at_work_go_together() -> None:
    tickets = [nft_batch.submit(slow()), *(nft_batch.submit(text(f"g{number}")) for number in range(40))]
    assert [ticket.wait() for ticket in tickets] == [(0, "")] * 41
    assert len({id(ticket.run) for ticket in tickets}) <= 5
    assert len(tables()) == 41


def test_many_at_once_are_all_loaded_and_known(own_directories: Path) -> None:
    names = [f"g{number}" for number in range(40)]
    assert all_at_once(names, set(), own_directories) == {}
    assert tables() == set(names)
    assert {nft.loaded_digest(f"netdev kvmrun_{name}", str(own_directories / name)) for name in names} == set(names)


def test_one_that_is_refused_costs_the_others_nothing(own_directories: Path) -> None:
    names, bad = [f"g{number}" for number in range(20)], {"g3", "g11"}
    errors = all_at_once(names, bad, own_directories)
    assert set(errors) == bad
    assert tables() == set(names) - bad
    assert not any((own_directories / name).exists() for name in bad)


def test_one_given_up_before_it_began_is_never_loaded() -> None:
    first, second = nft_batch.submit(slow()), nft_batch.submit(text("b"))
    assert second.run is None
    second.queue.forget(second)
    assert second.wait()[0] != 0
    assert first.wait() == (0, "")
    assert tables() == {"slow"}


def test_those_that_go_are_removed_together_and_one_gone_already_is_no_matter(own_directories: Path) -> None:
    names = [f"g{number}" for number in range(20)]
    all_at_once(names, set(), own_directories)
    subprocess.run(["nft", "delete", "table", "netdev", "kvmrun_g5"], check=True)
    drop = [
        threading.Thread(target=nft.drop_ruleset, args=(f"netdev kvmrun_{name}", str(own_directories / name)))
        for name in names
    ]
    for thread in drop:
        thread.start()
    for thread in drop:
        thread.join()
    assert tables() == set()
    assert not any((own_directories / name).exists() for name in names)
