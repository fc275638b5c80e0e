"""The packet filter for real: loaded whole, known again, removed whole, and what others drop."""

import json
import subprocess
from pathlib import Path

import pytest
from support.builders import LAN, lab_of, network
from support.world import run_nft, world

from kvmrun.errors import KvmrunError
from kvmrun.host.firewall import nfnetlink, nft, ruleset
from kvmrun.model import derive
from kvmrun.model.network.network import Forward, Network
from kvmrun.model.scalars import LinkName, NicName
from kvmrun.plan.doctor import doctor_firewall
from kvmrun.plan.doctor.doctor_facts_model import HostNetworkFacts
from kvmrun.plan.network import nft_network

pytestmark = pytest.mark.usefixtures("netns")

TEXT = nft_network.network_text(LAN, ["br0"], {}, {})
OTHER = nft_network.network_text(network(isolate=True), ["br0"], {}, {})
DIGEST = derive.digest(TEXT)
TABLE = "inet kvmrun_lan"


def handle() -> str:
    """The number of the first rule of our forward chain."""
    listing = run_nft("-a", "list", "chain", *TABLE.split(), "forward").splitlines()
    return next(line.split()[-1] for line in listing if "iifname" in line)


@pytest.fixture
def record(own_directories: Path) -> str:
    return str(own_directories / "rules")


def test_what_was_loaded_is_known_again_until_it_is_dropped(record: str) -> None:
    before = world()["nft"]
    assert nft.loaded_digest(TABLE, record) == ""
    nft.load_ruleset(TABLE, TEXT, record, DIGEST)
    assert nft.loaded_digest(TABLE, record) == DIGEST
    nft.load_ruleset(TABLE, TEXT, record, DIGEST)
    assert nft.loaded_digest(TABLE, record) == DIGEST
    nft.drop_ruleset(TABLE, record)
    assert nft.loaded_digest(TABLE, record) == ""
    nft.drop_ruleset(TABLE, record)
    assert world()["nft"] == before
    assert not Path(record).exists()


@pytest.mark.parametrize(
    "harm",
    [
        "flush ruleset",
        "flush table inet kvmrun_lan",
        "delete table inet kvmrun_lan",
        "flush chain inet kvmrun_lan forward",
        "delete rule inet kvmrun_lan forward handle {number}",
        "insert rule inet kvmrun_lan forward drop",
        "replace rule inet kvmrun_lan forward handle {number} counter accept",
        "add chain inet kvmrun_lan another",
        "add chain inet kvmrun_lan forward {{ policy drop ; }}",
    ],
)
def test_any_change_to_it_is_seen_and_mended_by_loading_again(record: str, harm: str) -> None:
    nft.load_ruleset(TABLE, TEXT, record, DIGEST)
    listing = run_nft("list", "table", *TABLE.split())
    run_nft(harm.format(number=handle()))
    assert nft.loaded_digest(TABLE, record) == "changed"
    nft.load_ruleset(TABLE, TEXT, record, DIGEST)
    assert (nft.loaded_digest(TABLE, record), run_nft("list", "table", *TABLE.split())) == (DIGEST, listing)


def test_the_work_of_others_is_no_change(record: str) -> None:
    nft.load_ruleset(TABLE, TEXT, record, DIGEST)
    run_nft("add table ip others; add chain ip others forward { type filter hook forward priority 0; policy drop; }")
    assert nft.loaded_digest(TABLE, record) == DIGEST
    nft.drop_ruleset(TABLE, record)
    assert "table ip others" in run_nft("list", "ruleset")


def test_the_kernel_counts_changes() -> None:
    first = nfnetlink.generation_id()
    assert first == nfnetlink.generation_id() > 0
    run_nft("add", "table", "ip", "others")
    assert nfnetlink.generation_id() > first


def test_rules_the_kernel_refuses_change_nothing(record: str) -> None:
    nft.load_ruleset(TABLE, TEXT, record, DIGEST)
    before = world()["nft"]
    with pytest.raises(KvmrunError) as refused:
        nft.load_ruleset(TABLE, TEXT.replace("masquerade", "masquerade to nowhere"), record, "other")
    assert "nowhere" in "".join(refused.value.lines)
    assert (world()["nft"], nft.loaded_digest(TABLE, record)) == (before, DIGEST)


def test_the_undo_brings_back_what_was_there(record: str) -> None:
    nft.load_ruleset(TABLE, TEXT, record, DIGEST)()
    assert (nft.loaded_digest(TABLE, record), "kvmrun" in run_nft("list", "ruleset")) == ("", False)
    nft.load_ruleset(TABLE, TEXT, record, DIGEST)
    listing = run_nft("list", "ruleset")
    undo = nft.load_ruleset(TABLE, OTHER, record, derive.digest(OTHER))
    assert run_nft("list", "ruleset") != listing
    undo()
    assert (nft.loaded_digest(TABLE, record), run_nft("list", "ruleset")) == (DIGEST, listing)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "{}", '{"digest": 1}', "\x00"])
def test_a_damaged_record_means_they_may_be_anything(record: str, text: str) -> None:
    nft.load_ruleset(TABLE, TEXT, record, DIGEST)
    Path(record).write_text(text)
    assert nft.loaded_digest(TABLE, record) == "changed"
    nft.load_ruleset(TABLE, TEXT, record, DIGEST)
    assert json.loads(Path(record).read_text())["digest"] == DIGEST


OUT, BACK = "what guests send out", "what comes back to them"
ADDRESS, NAMES = "guests' requests for an address", "guests' questions for names"
POLICY, RULE = "its policy is drop", "it drops what no rule of it accepts"


def in_the_way(*bridges: str) -> list[str]:
    """What is found in the way of a network on each of `bridges`, as it is told; once each is mended, nothing."""
    names = {bridge: NicName(f"lan{number}") for number, bridge in enumerate(bridges)}
    networks = {name: Network(name=name, bridge=LinkName(bridge)) for bridge, name in names.items()}
    now = HostNetworkFacts(ruleset=ruleset.read_ruleset(), way_out="eth0 via 10.0.0.1")
    found = list(doctor_firewall.dropped_packets(lab_of(networks=networks), now))
    for one in found:
        subprocess.run(["sh", "-ec", one.fix], check=True)
    after = doctor_firewall.dropped_packets(lab_of(networks=networks), now.replace(ruleset=ruleset.read_ruleset()))
    assert list(after) == []
    return [one.text.partition(";")[0] for one in found]


class TestOthers:
    """Chains of others that would drop what our guests send; each mend mends."""

    head = "add table ip others; add chain ip others FWD { type filter hook %s priority 0; policy %s; }"
    pair = 'iifname "%s" accept', 'oifname "%s" accept'

    def load(self, hook: str, policy: str, *rules: str) -> None:
        run_nft("; ".join([self.head % (hook, policy), *(f"add rule ip others FWD {one}" for one in rules)]))

    @pytest.mark.parametrize(
        ("policy", "rules", "what", "reason"),
        [
            ("drop", [], f"{OUT}, {BACK}", POLICY),
            ("drop", ['iifname "eth0" accept'], OUT, POLICY),
            ("drop", ['iifname "br0" accept'], BACK, POLICY),
            ("drop", ['oifname "br0" accept', 'iifname "br0" ip saddr 10.0.0.1 accept'], OUT, POLICY),
            ("drop", ['oifname "br0" accept', 'iifname != "br0" accept'], OUT, POLICY),
            ("accept", ["drop"], f"{OUT}, {BACK}", RULE),
            ("accept", ["ct state established accept", "counter reject"], OUT, RULE),
            ("accept", ["drop", 'iifname "br0" accept', 'oifname "br0" accept'], f"{OUT}, {BACK}", RULE),
        ],
    )
    def test_what_drops_between_guests_and_the_world(
        self, policy: str, rules: list[str], what: str, reason: str
    ) -> None:
        self.load("forward", policy, *rules)
        assert in_the_way("br0") == [f"chain ip others FWD drops {what} ({reason})"]

    @pytest.mark.parametrize(
        ("policy", "rules"),
        [
            ("accept", []),
            ("accept", ["tcp dport 25 drop"]),
            ("accept", ["accept", "drop"]),
            ("drop", ["accept"]),
            ("drop", ['iifname "br0" accept', 'oifname "br0" counter accept']),
            ("drop", ['iifname "br0" accept', "ct state established accept"]),
            ("accept", ['iifname "br0" accept', 'oifname "br0" accept', "drop"]),
        ],
    )
    def test_what_lets_our_guests_pass_is_not_named(self, policy: str, rules: list[str]) -> None:
        self.load("forward", policy, *rules)
        assert in_the_way("br0") == []

    @pytest.mark.parametrize(
        ("policy", "rules", "what"),
        [
            ("drop", ["tcp dport 22 accept"], f"{ADDRESS}, {NAMES}"),
            ("drop", ["udp dport 67 accept"], NAMES),
            ("drop", ["udp dport 60-70 accept", "udp dport { 53, 123 } accept"], ""),
            ("drop", ['iifname "br0" accept'], ""),
            ("accept", ["udp dport 53 reject"], NAMES),
            ("accept", ["tcp dport 53 drop", "th dport 67 drop"], ADDRESS),
        ],
    )
    def test_what_drops_between_guests_and_this_host(self, policy: str, rules: list[str], what: str) -> None:
        self.load("input", policy, *rules)
        reason = POLICY if policy == "drop" else RULE
        assert in_the_way("br0") == ([f"chain ip others FWD drops {what} ({reason})"] if what else [])

    def test_sets_and_maps_with_names_are_looked_into(self) -> None:
        run_nft(
            "add table ip others; add set ip others mine { type ifname; elements = { br0, br1 }; };"
            "add set ip others nets { type ipv4_addr; flags interval, timeout; };"
            "add element ip others nets { 192.168.0.0/16 timeout 1h };"
            "add map ip others ways { type ifname : verdict; }; add chain ip others ok; add rule ip others ok accept;"
            "add element ip others ways { br0 : jump ok }"
        )
        run_nft("add chain ip others FWD { type filter hook forward priority 0; policy drop; }")
        run_nft("add rule ip others FWD iifname @mine ip saddr @nets accept; add rule ip others FWD oifname vmap @ways")
        assert in_the_way("br0") == []
        assert in_the_way("br1") == [f"chain ip others FWD drops {BACK} ({POLICY})"]
        run_nft("flush set ip others nets")
        assert in_the_way("br0") == [f"chain ip others FWD drops {OUT} ({POLICY})"]

    def test_what_drops_between_a_port_forward_and_its_guest(self) -> None:
        self.load("forward", "drop", 'iifname "br0" accept', "ct state established accept")
        web = network(forward=(Forward(protocol="tcp", port=8080, guest="vm1", to=80),))
        lab = lab_of(firewall="none", networks={"lan": web.replace(nat=False)})
        (found,) = doctor_firewall.dropped_packets(
            lab, HostNetworkFacts(ruleset=ruleset.read_ruleset(), way_out="eth0")
        )
        assert found.text.startswith("chain ip others FWD drops what ports of this host lead to them (its policy")
        subprocess.run(["sh", "-ec", found.fix], check=True)
        assert (
            list(doctor_firewall.dropped_packets(lab, HostNetworkFacts(ruleset=ruleset.read_ruleset(), way_out="eth0")))
            == []
        )

    def test_only_the_bridges_it_drops_are_mended(self) -> None:
        self.load("forward", "drop", *(one % "br1" for one in self.pair))
        assert in_the_way("br0", "br1", "br2") == [f"chain ip others FWD drops {OUT}, {BACK} ({POLICY})"]
        assert 'iifname "br1"' in run_nft("list", "ruleset")
        assert run_nft("list", "ruleset").count('iifname "br1"') == 1

    def test_our_own_tables_are_no_matter(self, record: str) -> None:
        nft.load_ruleset(TABLE, OTHER, record, "")
        assert in_the_way("br0") == []

    @pytest.mark.parametrize("hook", ["output", "postrouting", "prerouting"])
    def test_every_hook_on_a_packet_s_way_is_looked_at(self, hook: str) -> None:
        answers = "what this host answers them"
        link = "iifname" if hook == "prerouting" else "oifname"
        self.load(hook, "accept", f'{link} "br0" drop')
        what = {"output": answers, "postrouting": f"{BACK}, {answers}", "prerouting": f"{OUT}, {ADDRESS}, {NAMES}"}[
            hook
        ]
        assert in_the_way("br0") == [f"chain ip others FWD drops {what} ({RULE})"]

    def test_a_rule_that_cannot_be_judged_is_shown(self) -> None:
        self.load("forward", "accept", 'iifname "br0" numgen random mod 2 == 1 drop')
        (found,) = doctor_firewall.dropped_packets(
            lab_of(),
            HostNetworkFacts(ruleset=ruleset.read_ruleset(), way_out="eth0 via 10.0.0.1"),
        )
        assert (found.level, found.fix) == ("warning", "nft list chain ip others FWD")
        unsure = 'a rule in ip others FWD is not understood: iifname "br0" numgen random mod 2 1 drop'
        assert found.text == f"whether chain ip others FWD lets {OUT} pass is not known: {unsure}"
