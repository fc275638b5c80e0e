"""Chains of several owners in one table: each owner's are known, replaced and removed by themselves."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.world import run_nft

from kvmrun.errors import KvmrunError
from kvmrun.host.firewall import nfnetlink, nft

pytestmark = pytest.mark.usefixtures("netns")

TABLE = "netdev kvmrun"
GONE = "flush chain netdev kvmrun from_a_eth0; delete chain netdev kvmrun from_a_eth0"
OWNERS = [f"g{number}" for number in range(20)]


def part(owner: str) -> str:
    return f"{TABLE} from_{owner}_"


def text(owner: str, *cards: str, rule: str = "accept") -> str:
    hook = 'type filter hook ingress device "lo" priority 0;'
    return "".join(f"table {TABLE} {{ chain from_{owner}_{card} {{ {hook} {rule}; }}; }}\n" for card in cards)


def load(at: Path, owner: str, *cards: str, rule: str = "accept") -> None:
    nft.load_ruleset(
        part(owner), text(owner, *(cards or ("eth0",)), rule=rule), str(at / owner), f"{owner} {cards} {rule}"
    )


def chains() -> set[str]:
    return {line.split()[1] for line in run_nft("list", "ruleset").splitlines() if line.strip().startswith("chain ")}


def side_by_side(do: Callable[[str], None]) -> None:
    threads = [threading.Thread(target=do, args=(owner,)) for owner in OWNERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_each_is_known_by_itself(own_directories: Path) -> None:
    load(own_directories, "a")
    load(own_directories, "b", "eth0", "eth1")
    assert nfnetlink.existing_parts("netdev") == {TABLE, part("a"), part("b")}
    assert nft.is_modified({part(owner): str(own_directories / owner) for owner in "ab"}) == set()
    run_nft("add rule netdev kvmrun from_b_eth1 drop")
    assert nft.is_modified({part(owner): str(own_directories / owner) for owner in "ab"}) == {part("b")}
    assert nft.loaded_digest(part("a"), str(own_directories / "a")).startswith("a ")
    assert nft.loaded_digest(part("b"), str(own_directories / "b")) == "changed"


def test_what_is_told_of_one_alone_is_what_is_told_of_it_among_all(own_directories: Path) -> None:
    for owner in "abc":
        load(own_directories, owner, "eth0", "eth1", rule="ip saddr 10.0.0.1 counter accept")
    every = [part(owner) for owner in "abc"]
    among = nfnetlink.fingerprints(every)
    assert [nfnetlink.fingerprints([one])[one] for one in every] == [among[one] for one in every]
    assert len(set(among.values())) == 3
    assert nfnetlink.fingerprints([TABLE, *every])[TABLE] not in among.values()


@pytest.mark.parametrize(
    "harm",
    [
        "flush chain netdev kvmrun from_a_eth0",
        GONE,
        "delete table netdev kvmrun",
        "flush ruleset",
        "add rule netdev kvmrun from_a_eth0 drop",
        "add chain netdev kvmrun from_a_eth9; add rule netdev kvmrun from_a_eth9 drop",
        f"{GONE}; add chain netdev kvmrun from_a_eth0 {{ type filter hook ingress device lo priority 5; }}",
        'add chain netdev kvmrun from_a_eth0 { type filter hook ingress device "lo" priority 0; policy drop; }',
    ],
)
def test_loading_it_again_puts_it_back_whole_and_leaves_the_others(own_directories: Path, harm: str) -> None:
    load(own_directories, "a")
    load(own_directories, "b")
    before = {line.strip() for line in run_nft("list", "ruleset").splitlines()}
    run_nft(harm)
    load(own_directories, "a")
    if "from_b" not in run_nft("list", "ruleset"):
        load(own_directories, "b")
    assert {line.strip() for line in run_nft("list", "ruleset").splitlines()} == before
    assert nft.loaded_digest(part("a"), str(own_directories / "a")) != "changed"


def test_the_table_goes_with_the_last_of_them_and_not_before(own_directories: Path) -> None:
    load(own_directories, "a", "eth0", "eth1")
    load(own_directories, "ab")
    nft.drop_ruleset(part("a"), str(own_directories / "a"))
    assert chains() == {"from_ab_eth0"}
    nft.drop_ruleset(part("a"), str(own_directories / "a"))
    nft.drop_ruleset(part("nobody"), str(own_directories / "nobody"))
    assert chains() == {"from_ab_eth0"}
    nft.drop_ruleset(part("ab"), str(own_directories / "ab"))
    assert run_nft("list", "tables") == ""


def test_an_empty_table_goes_with_whoever_goes_next(own_directories: Path) -> None:
    run_nft("add table netdev kvmrun")
    nft.drop_ruleset(part("a"), str(own_directories / "a"))
    assert run_nft("list", "tables") == ""


def test_a_chain_that_others_still_jump_to_is_not_taken_from_them(own_directories: Path) -> None:
    load(own_directories, "a")
    run_nft("add chain netdev kvmrun from_b_eth0")
    run_nft("add rule netdev kvmrun from_a_eth0 jump from_b_eth0")
    with pytest.raises(KvmrunError, match="netdev kvmrun from_b_"):
        nft.drop_ruleset(part("b"), str(own_directories / "b"))
    assert chains() == {"from_a_eth0", "from_b_eth0"}


def test_one_that_cannot_go_is_in_nobody_elses_way(own_directories: Path) -> None:
    run_nft("add table netdev kvmrun; add chain netdev kvmrun from_g0_eth0; add chain netdev kvmrun mine")
    run_nft("add rule netdev kvmrun mine jump from_g0_eth0")
    for owner in OWNERS[1:]:
        load(own_directories, owner)
    errors: list[KvmrunError] = []

    def gone(owner: str) -> None:
        try:
            nft.drop_ruleset(part(owner), str(own_directories / owner))
        except KvmrunError as fault:
            errors.append(fault)

    side_by_side(gone)
    assert chains() == {"from_g0_eth0", "mine"}
    assert [error.reason for error in errors] == ["Device or resource busy"]


def test_some_come_while_others_go(own_directories: Path) -> None:
    """Whoever removes what he takes for the last chain does not take the table from one that has just come."""
    for _ in range(5):
        side_by_side(lambda owner: load(own_directories, owner))
        assert chains() == {f"from_{owner}_eth0" for owner in OWNERS}

        def turn(owner: str) -> None:
            nft.drop_ruleset(part(owner), str(own_directories / owner))
            if owner in OWNERS[::2]:
                load(own_directories, owner)

        side_by_side(turn)
        assert chains() == {f"from_{owner}_eth0" for owner in OWNERS[::2]}
        for owner in OWNERS[::2]:
            assert nft.loaded_digest(part(owner), str(own_directories / owner)) not in {"", "changed"}
            nft.drop_ruleset(part(owner), str(own_directories / owner))
        assert run_nft("list", "tables") == ""
