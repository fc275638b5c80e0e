"""Facts of a host to findings: those a test cannot stage, or only at a price."""

from ipaddress import IPv6Network
from typing import Any

import pytest
from support.builders import guest, lab_of, network

from kvmrun.model.finding import Finding
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.nic import PersistentTap
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import Size
from kvmrun.plan.doctor import doctor_host, doctor_networks
from kvmrun.plan.doctor.doctor_facts_model import BootTest, HostNetworkFacts, MachineFacts
from kvmrun.plan.host_facts import Bridge, NetworkFacts, PortOwner

WHERE = Paths(vms="/vms.d", run="/run/kvmrun", state="/state", root=True)
GOOD = MachineFacts(
    root=True, vms="/vms.d", kvm="ready", kvm_mode="root:kvm 0660", extension="kvm_intel",
    trials=(BootTest(cpu="host", worked=True, seconds=0.2),), qemu="/usr/bin/qemu", qemu_given=False,
    qemu_version=(7, 2, 0), qemu_says="", tun="ready", vhost=True, missing={}, memory=16 << 30, available=8 << 30,
    state="/state", state_writable=True, state_free=20 << 30, units=None,
)  # fmt: skip
HOST = BootTest(cpu="host", worked=False, seconds=0.1, reason="QEMU died of SIGABRT")
PLAIN = BootTest(cpu="qemu64", worked=True, seconds=3.3)


def found(subject: str, now: MachineFacts, some: Lab | None = None) -> Finding:
    (one,) = [one for one in doctor_host.machine_findings(some or lab_of(guest()), now) if one.subject == subject]
    assert one.fix if one.level != "ok" else not one.fix
    return one


def test_a_good_machine_has_nothing_to_mend() -> None:
    assert {one.level for one in doctor_host.machine_findings(lab_of(guest()), GOOD)} == {"ok"}


class TestKvm:
    """KVM is judged by what the lab's guests ask of it."""

    @pytest.mark.parametrize(
        ("guests", "level"),
        [
            ((), "warning"),
            ((guest(),), "problem"),
            ((guest(cpu="qemu64"),), "ok"),
            ((guest(accel="tcg"),), "ok"),
            ((guest(accel="tcg"), guest("vm2")), "problem"),
        ],
    )
    def test_a_refused_processor(self, guests: tuple[Guest, ...], level: str) -> None:
        one = found("kvm", GOOD.replace(trials=(HOST, PLAIN)), lab_of(*guests))
        assert one.level == level
        if level != "ok":
            assert one.fix == 'cpu = "qemu64" in /vms.d/defaults.toml'

    @pytest.mark.parametrize(
        ("guests", "level"), [((), "problem"), ((guest(),), "problem"), ((guest(accel="tcg"),), "warning")]
    )
    def test_none_at_all(self, guests: tuple[Guest, ...], level: str) -> None:
        for now in (GOOD.replace(kvm="absent"), GOOD.replace(kvm="forbidden"), GOOD.replace(trials=(HOST,))):
            assert found("kvm", now, lab_of(*guests)).level == level

    def test_the_module_is_that_of_the_processor(self) -> None:
        assert found("kvm", GOOD.replace(kvm="absent", extension="kvm_amd")).fix == "modprobe kvm_amd"
        assert "firmware" in found("kvm", GOOD.replace(kvm="absent", extension="")).text

    @pytest.mark.parametrize(
        ("mode", "fix"),
        [
            ("root:kvm 0660", "sudo usermod -aG kvm $USER && newgrp kvm"),
            ("root:root 0600", "sudo sh -c 'groupadd -rf kvm; chgrp kvm /dev/kvm; chmod 660 /dev/kvm' && sudo usermod"),
            ("root:kvm 0600", "sudo sh -c 'groupadd -rf kvm;"),
        ],
    )
    def test_without_root_the_mend_is_for_sudo(self, mode: str, fix: str) -> None:
        assert found("kvm", GOOD.replace(kvm="forbidden", root=False, kvm_mode=mode)).fix.startswith(fix)

    def test_without_qemu_it_cannot_be_tried(self) -> None:
        assert found("kvm", GOOD.replace(trials=(), qemu="")).level == "warning"


@pytest.mark.parametrize(
    ("changes", "subject", "level", "fix"),
    [
        ({"qemu": ""}, "qemu", "problem", "apt install qemu-system-x86"),
        ({"qemu_version": (7, 1, 9)}, "qemu", "problem", "apt install qemu-system-x86"),
        ({"qemu_version": (), "qemu_given": True}, "qemu", "problem", "unset KVMRUN_QEMU"),
        ({"tun": "absent"}, "tun", "problem", "modprobe tun"),
        ({"tun": "forbidden"}, "tun", "problem", "sudo chmod 666 /dev/net/tun"),
        ({"vhost": False}, "vhost", "warning", "modprobe vhost_net"),
        ({"missing": {"nft": "apt install nftables"}}, "programs", "problem", "apt install nftables"),
        ({"missing": {"qemu-img": "apt install qemu-utils"}}, "programs", "warning", "apt install qemu-utils"),
        ({"available": 100 << 20}, "memory", "warning", "less memory"),
        ({"memory": 256 << 20}, "memory", "problem", 'memory = "128M" in /vms.d/vm1.toml'),
        ({"state_free": 1 << 20}, "state", "warning", "KVMRUN_STATE_DIR"),
        ({"state_writable": False, "root": False}, "state", "problem", "export KVMRUN_STATE_DIR"),
    ],
)
def test_what_a_machine_lacks(changes: dict[str, Any], subject: str, level: str, fix: str) -> None:
    one = found(subject, GOOD.replace(**changes), lab_of(guest(memory=Size(512 << 20))))
    assert (one.level, fix in one.fix) == (level, True)


def test_units_are_wanted_only_for_guests_that_start_at_boot() -> None:
    assert found("boot", GOOD.replace(units=False)).level == "ok"
    assert found("boot", GOOD.replace(units=False), lab_of(guest(autostart=True))).fix.startswith(
        "kvmrun export systemd"
    )
    two = lab_of(guest(autostart=True), guest("vm2", autostart=True))
    one = found("boot", GOOD.replace(units=True, started=frozenset({"vm1"})), two)
    assert (one.level, one.text[:4]) == ("warning", "vm2:")
    assert found("boot", GOOD.replace(units=True, started=frozenset({"vm1", "vm2"})), two).level == "ok"


class TestNetworks:
    """What is found of networks, from facts that are hard to come by."""

    good = HostNetworkFacts(networks={"lan": NetworkFacts(bridge=None)}, way_out="eth0 via 10.0.0.1", ruleset=())

    def of(self, subject: str, some: Lab | None = None, **changes: Any) -> list[Finding]:
        all_of = doctor_networks.network_findings(some or lab_of(), WHERE, self.good.replace(**changes))
        return [one for one in all_of if one.subject == subject and one.level != "ok"]

    def test_a_good_one_has_nothing_to_mend(self) -> None:
        assert {one.level for one in doctor_networks.network_findings(lab_of(), WHERE, self.good)} == {"ok"}

    def test_without_root_the_packet_filter_is_not_looked_at(self) -> None:
        (one,) = self.of("filter", ruleset=None, uid=1000)
        assert (one.level, one.fix) == ("warning", "sudo kvmrun doctor")

    def test_root_is_not_told_that_only_root_may_look(self) -> None:
        (one,) = self.of("filter", ruleset=None)
        assert (one.level, "root" in one.text) == ("warning", False)

    def test_what_could_not_be_looked_at_is_a_problem(self) -> None:
        assert self.of("host", errors=("netlink said no",))[0].level == "problem"

    @pytest.mark.parametrize(
        ("address", "link", "counts"),
        [
            ("0.0.0.0", "", True),
            ("::", "", True),
            ("192.168.0.254", "", True),
            ("127.0.0.53", "", False),
            ("0.0.0.0", "virbr0", False),
            ("0.0.0.0", "br0", True),
        ],
    )
    def test_only_those_who_listen_where_we_must_are_in_the_way(self, address: str, link: str, *, counts: bool) -> None:
        owner = PortOwner(port=53, address=address, process="named (pid 7)", link=link)
        found = self.of("network lan", networks={"lan": NetworkFacts(bridge=None, owners=(owner,))})
        assert bool(found) == counts
        assert not counts or found[0].fix.startswith("dns = false in network.lan")

    def test_one_whose_process_is_not_known_is_to_be_looked_for(self) -> None:
        owner = PortOwner(port=67, address="0.0.0.0", process="another process")
        (one,) = self.of("network lan", networks={"lan": NetworkFacts(bridge=None, owners=(owner,))})
        assert one.fix.startswith("dhcp = false in network.lan; or")
        assert one.fix.endswith("ss -lnp 'sport = :67'")

    def test_a_network_that_is_not_as_it_should_be_is_told_with_what_is_missing(self) -> None:
        ours = Bridge(kind="bridge", alias="kvmrun:net:lan", mac="02:00:00:00:00:01", addresses=(), up=False, mtu=1500)
        (one,) = self.of("network lan", networks={"lan": NetworkFacts(bridge=ours, dnsmasq=1)})
        assert (one.level, one.fix) == ("warning", "kvmrun net up lan")

    def test_a_user_needs_taps_of_their_own_and_no_ports(self) -> None:
        ours = Bridge(kind="bridge", alias="kvmrun:net:lan", mac="", addresses=(), up=True, mtu=1500)
        owner = PortOwner(port=53, address="0.0.0.0", process="another process")
        now = self.good.replace(networks={"lan": NetworkFacts(bridge=ours, owners=(owner,))}, uid=1000)
        user = WHERE.replace(root=False)
        (one,) = [one for one in doctor_networks.network_findings(lab_of(guest()), user, now) if one.level == "problem"]
        assert (one.subject, one.fix) == ("network lan", "sudo kvmrun net up lan --owner $USER")
        tap = PersistentTap(name="tap-vm1", alias="", owner=1000, held=False, queues=1)
        mine = now.replace(networks={"lan": NetworkFacts(bridge=ours, kept={"tap-vm1": tap})})
        assert [
            one for one in doctor_networks.network_findings(lab_of(guest()), user, mine) if one.level == "problem"
        ] == []

    def test_networks_without_masquerading_need_no_way_out(self) -> None:
        alone = lab_of().replace(networks={"lan": network(nat=False)})
        assert self.of("uplink", alone, way_out="")[0].level == "warning"
        assert self.of("uplink", way_out="")[0].level == "problem"

    def test_ipv6_is_a_way_out_of_networks_that_forward_it(self) -> None:
        six = network("six", ipv6=IPv6Network("fd00:77::/64"), ipv6_egress="nat")
        networks = {"six": six, "lan": network()}
        only: dict[str, Any] = {"way_out": "", "way_out6": "eth0 via fe80::1", "networks": {}}
        assert self.of("uplink", lab_of().replace(networks={"six": six}), **only) == []
        (both,) = self.of("uplink", lab_of().replace(networks=networks), **only)
        assert (both.level, "not forwarded for lan" in both.text) == ("problem", True)
        assert both.fix == 'a prefix in ipv6, and ipv6_egress = "nat" in network.lan'

    def test_with_shorewall_the_fix_is_to_start_it_or_lines_for_its_files(self) -> None:
        """Never an export over files that somebody wrote."""
        (one,) = self.of("filter", lab_of(firewall="shorewall"))
        assert one.fix == "shorewall start"
        closed = {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "prio": 0, "policy": "drop"}
        for one in self.of("filter", lab_of(firewall="shorewall"), ruleset=({"chain": closed},)):
            assert (one.fix, one.permanent) == ("shorewall start", "")
        started = {"family": "ip", "table": "filter", "name": "shorewall"}
        (one,) = self.of("filter", lab_of(firewall="shorewall"), ruleset=({"chain": started},))
        assert one.fix == "kvmrun export shorewall --lines"

    def test_the_older_iptables_is_mended_where_it_drops(self) -> None:
        where = {"family": "legacy", "table": "filter"}
        chain = {**where, "name": "FORWARD", "hook": "forward", "prio": 0, "policy": "drop"}

        def rule(line: str) -> dict[str, Any]:
            return {
                "rule": {**where, "chain": "FORWARD", "expr": [{"xt": {}}], "saved": f"-A FORWARD {line} -j ACCEPT"}
            }

        half = ({"chain": chain}, rule("-i br0"))
        (one,) = self.of("filter", ruleset=half)
        state = "-m conntrack --ctstate RELATED,ESTABLISHED"
        assert one.fix == f"iptables-legacy -I FORWARD -i eth0 -o br0 {state} -j ACCEPT"
        assert one.lasts == "whoever made the chain loads its rules again, or the next boot"
        assert self.of("filter", ruleset=(*half, rule(f"-o br0 {state}"))) == []
