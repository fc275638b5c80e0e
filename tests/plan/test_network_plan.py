"""A whole network as wanted and as found: bridge, settings, rules, names, each only where it is not right."""

from ipaddress import IPv4Address, IPv6Network
from typing import Any

import pytest
from support.builders import BRIDGE, LAN, guest, lab_of

from kvmrun.errors import NotPermitted, Refused
from kvmrun.model import derive
from kvmrun.model.guest.nic import Nic, PersistentTap
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Dhcp, Dns, Forward, Network, Uplink, Upstream
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import LinkName, NicName
from kvmrun.plan.host_facts import Bridge, ChangedSysctl, Link, NetworkFacts, PortOwner, Route
from kvmrun.plan.network import dnsmasq_config
from kvmrun.plan.network.dnsmasq_plan import note as names_note
from kvmrun.plan.network.dnsmasq_plan import texts as names_texts
from kvmrun.plan.network.ip_forwarding import DEFAULT, asked, carries, foreign_links, wanted_sysctls
from kvmrun.plan.network.network_plan import down_steps, rules_text, up_steps
from kvmrun.plan.network.nft_network import spelled_out
from kvmrun.plan.steps.guest_steps import PlugTap, RemoveTap
from kvmrun.plan.steps.network_steps import (
    AddAddress,
    DropRules,
    LoadRules,
    ReloadDnsmasq,
    RemoveAddress,
    RemoveBridge,
    RestoreSysctls,
    SetBridge,
    SetLinkUp,
    SetSysctl,
    StartDnsmasq,
    StopDnsmasq,
    WriteDnsmasqFiles,
)

WHERE = Paths(vms="/lab", run="/run", state="/state", root=True)
AT = dnsmasq_config.dnsmasq_paths("/state", "lan")
NOTE = names_note(WHERE, LAN)
BARE = LAN.replace(dhcp=None, dns=None, nat=False)
SIX = LAN.replace(ipv6=IPv6Network("fd00:77::/64"))
EXTERNAL = LAN.replace(external=True)
LINKS = ("br0", "docker0", "eth0", "wlan0")
FORWARDING = {DEFAULT, *(f"ipv4/conf/{link}/forwarding" for link in LINKS)}
LOOSE = Link(name="tap-vm1", index=7, alias="kvmrun:vm1:eth0", mac="fe:00:00:00:00:01", up=True, carrier=True,
             operational=0, mtu=1500, queue_length=1000, master="")  # fmt: skip
UPLINKS = {"wire": Uplink(name=NicName("wire"), interface=LinkName("eth0"))}
TAP = "ipv4/conf/tap7/forwarding"
EXIT = "ipv4/conf/eth0/forwarding"
LOCAL = "ipv4/conf/br0/route_localnet"
CHANGED = ChangedSysctl(before="0", general="0", users=("lan",))
GUESTS = {
    name: guest(name, nic=(Nic(address=IPv4Address(f"192.168.0.{number}")),))
    for number, name in enumerate(("vm1", "vm2"), 1)
}


def lab(network: Network, **changes: Any) -> Lab:
    whole = lab_of(*GUESTS.values(), networks={network.name: network}, uplinks=UPLINKS)
    return whole.replace(**changes)


def wire(network: Network, whole: Lab | None = None, **changes: Any) -> NetworkFacts:
    """Everything as `network` wants it, but for `changes`."""
    whole = whole or lab(network)
    six = [address] if (address := network.host_address6()) else []
    bridge = BRIDGE.replace(addresses=(str(network.host_address()), *six), mtu=network.mtu)
    now = NetworkFacts(bridge=bridge, dnsmasq=7 if network.needs_dnsmasq() else 0, uplinks=("eth0",), links=LINKS)
    now = now.replace(changed={DEFAULT: CHANGED} if carries(network) else {})
    files = names_texts(whole, network, WHERE, now) if network.needs_dnsmasq() else {}
    rules, sysctls = derive.digest(rules_text(whole, network, now)), wanted_sysctls(whole, network, now)
    return now.replace(**{"files": files, "rules": rules, "sysctls": sysctls, **changes})


def kinds(steps: tuple[Any, ...]) -> list[str]:
    return [type(step).__name__ for step in steps]


NETWORKS = [
    LAN,
    BARE,
    BARE.replace(nat=True),
    SIX,
    LAN.replace(dhcp=None),
    LAN.replace(dns=None),
    LAN.replace(dhcp=None, dns=None, ipv6=IPv6Network("fd00:77::/64")),
    LAN.replace(isolate=True, mtu=9000, policy="open"),
    LAN.replace(nat=(NicName("wire"),)),
    LAN.replace(forward=(Forward(protocol="tcp", port=80, guest="vm1", to=80),)),
]


@pytest.mark.parametrize("network", NETWORKS)
def test_nothing_is_done_to_a_network_that_is_right(network: Network) -> None:
    assert up_steps(lab(network), network, WHERE, wire(network)) == ()


def test_a_network_that_is_not_there_is_made_from_the_bridge_up() -> None:
    steps = up_steps(lab(LAN), LAN, WHERE, NetworkFacts(bridge=None, uplinks=("eth0",), sysctls={EXIT: "0"}))
    assert list(dict.fromkeys(kinds(steps))) == [
        "MakeBridge",
        "SetBridge",
        "LoadRules",  # before anything is forwarded
        "SetSysctl",  # before an address makes anything reachable
        "AddAddress",
        "SetLinkUp",
        "WriteDnsmasqFiles",
        "StartDnsmasq",
    ]


def sysctl(name: str, value: str) -> SetSysctl:
    return SetSysctl(name=name, value=value, user="lan")


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"bridge": BRIDGE.replace(mac="02:00:00:00:00:01")}, [SetBridge]),
        ({"bridge": BRIDGE.replace(mtu=1300)}, [SetBridge]),
        ({"bridge": BRIDGE.replace(addresses=())}, [AddAddress]),
        ({"bridge": BRIDGE.replace(addresses=("192.168.0.254/24", "192.168.0.77/24"))}, [RemoveAddress]),
        ({"bridge": BRIDGE.replace(up=False)}, [SetLinkUp]),
        ({"rules": ""}, [LoadRules]),
        ({"rules": "changed"}, [LoadRules]),
        ({"dnsmasq": 0}, [StartDnsmasq]),
        ({"files": {}}, [WriteDnsmasqFiles, WriteDnsmasqFiles, WriteDnsmasqFiles, StartDnsmasq]),
        ({"hostname": "another"}, [WriteDnsmasqFiles, ReloadDnsmasq]),
        ({"resolv": "/run/resolv.conf"}, [WriteDnsmasqFiles, StartDnsmasq]),
        ({"ports": {"tap-vm1": LOOSE, "tap-vm2": LOOSE}}, [PlugTap, PlugTap]),
        ({"leftovers": ("tap-vm9",)}, [RemoveTap]),
        ({"sysctls": {"ipv4/conf/br0/forwarding": "0"}}, [SetSysctl]),
        ({"sysctls": {"ipv4/conf/docker0/forwarding": "0"}}, [SetSysctl]),
        ({"sysctls": {DEFAULT: "0"}}, [SetSysctl]),
        ({"changed": {DEFAULT: CHANGED, "ipv4/conf/usb0/forwarding": CHANGED}}, []),  # a link that is gone
        ({"changed": {DEFAULT: CHANGED, TAP: CHANGED}, "sysctls": {DEFAULT: "1", TAP: "1"}}, []),  # a port by now
        (
            {"changed": {DEFAULT: CHANGED, LOCAL: CHANGED}, "sysctls": {LOCAL: "1"}},
            [RestoreSysctls],
        ),  # no more forwards
        ({"sysctls": {"ipv6/conf/br0/disable_ipv6": "0"}}, [SetSysctl]),
        ({"sysctls": {}}, []),  # an uplink that is absent, a kernel without IPv6
        ({"routes": (Route(destination="192.168.0.0/16", link="eth0"),)}, []),  # it has stood beside that before
        ({"owners": (PortOwner(port=53, address="0.0.0.0", process="named"),)}, []),  # and so has dnsmasq
        ({"changed": {DEFAULT: CHANGED, "ipv6/conf/br0/disable_ipv6": CHANGED}}, []),
    ],
)
def test_only_what_is_wrong_is_done(changes: dict[str, Any], wanted: list[type[Any]]) -> None:
    assert kinds(up_steps(lab(LAN), LAN, WHERE, wire(LAN, **changes))) == [kind.__name__ for kind in wanted]


def test_taps_rejoin_as_they_were() -> None:
    apart = LAN.replace(isolate=True)
    (found,) = [
        one for one in up_steps(lab(apart), apart, WHERE, wire(LAN, ports={"tap-vm1": LOOSE})) if type(one) is PlugTap
    ]
    assert (found.tap, found.bridge, found.isolated) == ("tap-vm1", "br0", True)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (LAN, LAN.replace(dhcp=Dhcp(options={"19": "0"})), [WriteDnsmasqFiles, StartDnsmasq]),  # type: ignore[dict-item]
        (LAN, LAN.replace(dns=None), [WriteDnsmasqFiles, StartDnsmasq]),
        (LAN, LAN.replace(nat=False), [RestoreSysctls, LoadRules]),
        (LAN, LAN.replace(isolate=True), [LoadRules]),
        (LAN, LAN.replace(policy="open"), [LoadRules]),
        (LAN, LAN.replace(mtu=9000), [SetBridge, WriteDnsmasqFiles, StartDnsmasq]),
        (LAN, LAN.replace(dhcp=None), [WriteDnsmasqFiles, StartDnsmasq]),
        (LAN, BARE.replace(nat=True), [StopDnsmasq]),
        (LAN, LAN.replace(host=IPv4Address("192.168.0.99")), [
            LoadRules, RemoveAddress, AddAddress, WriteDnsmasqFiles, WriteDnsmasqFiles, StartDnsmasq,
        ]),
        (LAN, SIX, [LoadRules, SetSysctl, AddAddress, WriteDnsmasqFiles, WriteDnsmasqFiles, StartDnsmasq]),
        (SIX, LAN, [LoadRules, SetSysctl, RemoveAddress, WriteDnsmasqFiles, WriteDnsmasqFiles, StartDnsmasq]),
    ],
)  # fmt: skip
def test_an_edit_costs_what_it_changes(before: Network, after: Network, wanted: list[type[Any]]) -> None:
    assert kinds(up_steps(lab(after), after, WHERE, wire(before))) == [kind.__name__ for kind in wanted]


def test_another_guest_is_told_to_the_dnsmasq_that_runs() -> None:
    more = lab(LAN, guests={**GUESTS, "vm3": guest("vm3", nic=(Nic(),))})
    steps = up_steps(more, LAN, WHERE, wire(LAN))
    assert kinds(steps) == ["WriteDnsmasqFiles", "WriteDnsmasqFiles", "ReloadDnsmasq"]
    assert {step.path for step in steps if isinstance(step, WriteDnsmasqFiles)} == {AT.hosts, AT.reservations}


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        (LAN, FORWARDING),
        (LAN.replace(nat=(NicName("wire"),)), FORWARDING),
        (LAN.replace(nat=False), set()),
        (LAN.replace(nat=False, forward=(Forward(protocol="tcp", port=80, guest="vm1", to=80),)), FORWARDING),
    ],
)
def test_every_link_forwards_that_is_there_or_comes_later_where_anything_does(
    network: Network, wanted: set[str]
) -> None:
    found = wanted_sysctls(lab(network), network, wire(LAN))
    assert {name for name, value in found.items() if name.endswith("/forwarding")} == wanted
    assert all(value == "1" for name, value in found.items() if name.startswith("ipv4/"))
    assert set(asked(lab(network), network, wire(LAN))) == wanted or not wanted


def test_taps_of_guests_are_no_links_that_packets_are_routed_through() -> None:
    """They are loose for a moment when a network is restarted."""
    assert wanted_sysctls(lab(LAN), LAN, wire(LAN, links=(*LINKS, "tap-vm1"))) == wanted_sysctls(
        lab(LAN), LAN, wire(LAN)
    )


def test_the_bridge_of_another_network_of_ours_is_left_to_that_one() -> None:
    other = Network(name=NicName("dmz"), bridge=LinkName("br1"))
    whole = lab(LAN).replace(networks={"lan": LAN, "dmz": other})
    now = wire(LAN, links=(*LINKS, "br1"))
    assert "ipv4/conf/br1/forwarding" not in wanted_sysctls(whole, LAN, now.replace(own=("br1",)))
    assert "ipv4/conf/br1/forwarding" in wanted_sysctls(whole, LAN, now)  # somebody else's, who has taken the name


@pytest.mark.parametrize("before", ["0", "1"])
def test_without_a_way_out_a_bridge_is_as_new_links_were_before(before: str) -> None:
    name = "ipv4/conf/br0/forwarding"
    now = wire(BARE, changed={DEFAULT: CHANGED.replace(before=before, users=("dmz",))})
    assert wanted_sysctls(lab(BARE), BARE, now)[name] == before
    own = wire(BARE, changed={name: CHANGED.replace(before=before)}, sysctls={name: before})
    assert (
        up_steps(lab(BARE), BARE, WHERE, own) == ()
    )  # nor is there anything to be done once the other network is down


def test_what_was_changed_for_a_network_that_leads_nowhere_any_more_is_put_back_first() -> None:
    now = wire(BARE, changed={DEFAULT: CHANGED, EXIT: CHANGED})
    steps = up_steps(lab(BARE), BARE, WHERE, now)
    assert steps[0] == RestoreSysctls(user="lan", names=(DEFAULT, EXIT))


@pytest.mark.parametrize(("network", "off"), [(LAN, "1"), (SIX, "0")])
def test_a_bridge_has_no_ipv6_nobody_asked_for_and_never_a_route_from_a_guest(network: Network, off: str) -> None:
    found = wanted_sysctls(lab(network), network, wire(network))
    assert (found["ipv6/conf/br0/disable_ipv6"], found["ipv6/conf/br0/accept_ra"]) == (off, "0")


@pytest.mark.parametrize("firewall", ["shorewall", "none"])
def test_with_another_firewall_there_are_no_rules_of_ours(firewall: str) -> None:
    whole = lab(LAN, firewall=firewall)
    assert up_steps(whole, LAN, WHERE, wire(LAN, whole, rules="")) == ()
    assert kinds(up_steps(whole, LAN, WHERE, wire(LAN, whole))) == ["DropRules"]
    assert "LoadRules" not in kinds(up_steps(whole, LAN, WHERE, NetworkFacts(bridge=None)))


@pytest.mark.parametrize(
    "found",
    [
        BRIDGE.replace(alias=""),
        BRIDGE.replace(kind=""),
        BRIDGE.replace(kind="veth"),
        BRIDGE.replace(alias="kvmrun:net:dmz"),
    ],
)
def test_what_is_not_ours_is_refused(found: Bridge) -> None:
    with pytest.raises(Refused, match="br0 exists and is not ours"):
        up_steps(lab(LAN), LAN, WHERE, wire(LAN, bridge=found))
    with pytest.raises(Refused, match="not ours"):
        down_steps(lab(LAN), LAN, WHERE, wire(LAN, bridge=found), force=True)


def test_a_subnet_that_overlaps_a_route_is_refused() -> None:
    with pytest.raises(Refused, match="overlaps") as refused:
        up_steps(
            lab(LAN), LAN, WHERE, NetworkFacts(bridge=None, routes=(Route(destination="192.168.0.0/16", link="eth0"),))
        )
    assert "eth0" in refused.value.reason


@pytest.mark.parametrize("found", [BRIDGE, BRIDGE.replace(alias="", mac="", addresses=(), up=False)])
def test_an_external_network_is_left_as_it_is(found: Bridge) -> None:
    assert up_steps(lab(EXTERNAL), EXTERNAL, WHERE, NetworkFacts(bridge=found)) == ()
    assert down_steps(lab(EXTERNAL), EXTERNAL, WHERE, NetworkFacts(bridge=found), force=True) == ()


@pytest.mark.parametrize("found", [None, BRIDGE.replace(kind="veth")])
def test_an_external_network_must_be_a_bridge(found: Bridge | None) -> None:
    with pytest.raises(Refused, match="br0"):
        up_steps(lab(EXTERNAL), EXTERNAL, WHERE, NetworkFacts(bridge=found))


def taken(port: int, address: str, network: Network, link: str = "") -> NetworkFacts:
    owner = PortOwner(port=port, address=address, process="named (pid 7)", link=link)
    return wire(network, dnsmasq=0, owners=(owner,))


@pytest.mark.parametrize("link", ["", "br0"])
@pytest.mark.parametrize("port", [53, 67])
@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.0.254"])
def test_a_port_somebody_has_is_a_refusal_that_names_them(port: int, address: str, link: str) -> None:
    with pytest.raises(Refused, match=rf"port {port} is taken by named \(pid 7\)") as refused:
        up_steps(lab(LAN), LAN, WHERE, taken(port, address, LAN, link))
    assert address in refused.value.reason
    assert "network.lan" in refused.value.fix


@pytest.mark.parametrize(
    ("port", "address", "link", "network"),
    [
        (53, "127.0.0.53", "", LAN),
        (53, "127.0.0.1", "", LAN),
        (53, "::1", "", LAN),
        (53, "172.20.1.130", "", LAN),
        (53, "0.0.0.0", "virbr0", LAN),
        (67, "0.0.0.0", "virbr0", LAN),
        (53, "0.0.0.0", "", LAN.replace(dns=None)),
        (67, "0.0.0.0", "", LAN.replace(dhcp=None)),
    ],
)
def test_a_port_we_do_not_need_may_be_anybodys(port: int, address: str, link: str, network: Network) -> None:
    assert kinds(up_steps(lab(network), network, WHERE, taken(port, address, network, link))) == ["StartDnsmasq"]


def test_dnsmasq_is_started_as_an_account_of_its_own_with_files_of_its_own() -> None:
    (step,) = up_steps(lab(LAN), LAN, WHERE, wire(LAN, dnsmasq=0))
    assert isinstance(step, StartDnsmasq)
    assert len({step.uid, step.log_uid, derive.uid("", "lan")}) == 3
    assert step.uid >= 0x70000000
    assert (step.config, step.leases, step.bridge) == ("/state/net/lan/config", "/state/net/lan/leases", "br0")


def test_names_follow_the_hosts_own_servers_or_those_given() -> None:
    given = LAN.replace(dns=Dns(upstream=Upstream((IPv4Address("9.9.9.9"),))))
    texts = [names_texts(lab(one), one, WHERE, wire(one, resolv="/r"))[AT.config] for one in (LAN, given)]
    assert [("resolv-file=/r" in text, "server=9.9.9.9" in text) for text in texts] == [(True, False), (False, True)]


@pytest.mark.parametrize(
    ("default", "changes", "wanted"),
    [
        (None, {"sysctls": {DEFAULT: "0"}}, 'iifname != { "br0" }'),
        (None, {"sysctls": {DEFAULT: "0", EXIT: "1"}}, 'iifname != { "br0", "eth0" }'),  # it forwarded before us
        (None, {"sysctls": {DEFAULT: "1", EXIT: "1"}, "routing": True}, ""),
        (None, {"sysctls": {DEFAULT: "1", EXIT: "0"}, "routing": True}, 'iifname { "eth0" }'),
        (CHANGED, {}, 'iifname != { "br0" }'),
        (CHANGED.replace(links=("wlan0",)), {"sysctls": {EXIT: "1"}}, 'iifname != { "br0", "wlan0" }'),
        (CHANGED, {"routing": True}, ""),  # somebody has made the host a router since
        (CHANGED.replace(before="1", general="1"), {"routing": True, "sysctls": {}}, ""),
        (None, {"sysctls": {DEFAULT: "1", EXIT: "1"}}, 'iifname != { "br0" }'),  # the record was lost
    ],
)
def test_strangers_are_kept_out_where_only_we_have_the_host_forward(
    default: ChangedSysctl | None, changes: dict[str, Any], wanted: str
) -> None:
    now = wire(LAN, changed={DEFAULT: default} if default else {}, **changes)
    found = [spelled_out(match, ["br0"]) for match in foreign_links(lab(LAN), LAN, now)]
    assert found == ([f"meta nfproto ipv4 {wanted}"] if wanted else [])


def test_an_external_bridge_is_nobodys_but_the_host_s_own() -> None:
    """It may be where the uplink is: guests are masqueraded there, and strangers there are strangers."""
    office = Network(name=NicName("office"), bridge=LinkName("br9"), external=True)
    text = rules_text(lab(LAN).replace(networks={"lan": LAN, "office": office}), LAN, wire(LAN))
    assert "br9" not in text


def test_a_setting_that_another_network_has_changed_is_kept_for_this_one_too() -> None:
    others = wire(LAN, changed={DEFAULT: CHANGED, EXIT: CHANGED.replace(users=("dmz",))})
    assert up_steps(lab(LAN), LAN, WHERE, others)[0] == sysctl(EXIT, "1")


class TestDown:
    def test_it_takes_everything_away_the_bridge_after_those_who_use_it(self) -> None:
        steps = kinds(down_steps(lab(LAN), LAN, WHERE, wire(LAN), force=False))
        assert steps == ["StopDnsmasq", "RestoreSysctls", "DropRules", "RemoveBridge", "RemoveFiles"]

    @pytest.mark.parametrize(
        ("found", "wanted"),
        [
            (NetworkFacts(bridge=None), []),
            (NetworkFacts(bridge=None, dnsmasq=7, files={NOTE: "7"}), ["StopDnsmasq"]),
            (NetworkFacts(bridge=None, files={NOTE: "7"}), ["RemoveFiles"]),
            (NetworkFacts(bridge=None, rules="changed"), ["DropRules"]),
            (NetworkFacts(bridge=None, changed={"ipv4/conf/eth0/forwarding": CHANGED}), ["RestoreSysctls"]),
            (NetworkFacts(bridge=None, files={AT.hosts: "x", "/etc/passwd": "y"}), ["RemoveFiles"]),
            (NetworkFacts(bridge=BRIDGE), ["RestoreSysctls", "RemoveBridge"]),
        ],
    )
    def test_it_takes_away_what_is_left(self, found: NetworkFacts, wanted: list[str]) -> None:
        steps = down_steps(lab(LAN), LAN, WHERE, found, force=False)
        assert kinds(steps) == wanted
        assert "/etc/passwd" not in f"{steps}"

    def test_leases_stay(self) -> None:
        steps = down_steps(lab(LAN), LAN, WHERE, wire(LAN), force=False)
        assert AT.leases not in f"{steps[-1]}"

    def test_ports_in_use_are_named(self) -> None:
        found = wire(LAN, bridge=BRIDGE.replace(ports=("tap-vm1", "tap-vm2")))
        with pytest.raises(Refused, match="lan is in use") as refused:
            down_steps(lab(LAN), LAN, WHERE, found, force=False)
        assert refused.value.reason == "vm1 (tap-vm1), vm2 (tap-vm2) on br0"
        assert "--force lan" in refused.value.fix
        assert RemoveBridge(name="br0") in down_steps(lab(LAN), LAN, WHERE, found, force=True)

    def test_settings_go_back_before_the_bridge_goes(self) -> None:
        steps = down_steps(lab(LAN), LAN, WHERE, NetworkFacts(bridge=BRIDGE), force=False)
        assert steps == (RestoreSysctls(user="lan"), RemoveBridge(name="br0"))


class TestWithoutRoot:
    """A user takes a network as it is."""

    user = WHERE.replace(root=False)

    def test_one_that_is_there_is_used_unchanged(self) -> None:
        assert up_steps(lab(LAN), LAN, self.user, NetworkFacts(bridge=BRIDGE.replace(addresses=()))) == ()

    def test_one_that_is_down_needs_root(self) -> None:
        with pytest.raises(NotPermitted, match="network lan is down") as refused:
            up_steps(lab(LAN), LAN, self.user, NetworkFacts(bridge=None))
        assert "sudo kvmrun net up --owner" in refused.value.fix

    def test_one_that_is_not_ours_is_refused(self) -> None:
        with pytest.raises(Refused, match="not ours"):
            up_steps(lab(LAN), LAN, self.user, NetworkFacts(bridge=BRIDGE.replace(alias="")))


class TestKept:
    """Taps that stay, for a user."""

    tap = PersistentTap(name="tap-vm1", alias="kvmrun:vm1:eth0", owner=1000, queues=1, held=False)

    def test_none_is_a_port_before_it_is_guarded(self) -> None:
        steps = [one for one in kinds(up_steps(lab(LAN), LAN, WHERE, wire(LAN), 1000)) if one != "SetSysctl"]
        assert steps == ["MakePersistentTap", "MakePersistentTap", "LoadRules", "PlugTap", "PlugTap"]

    def test_one_that_is_no_port_is_made_whole(self) -> None:
        """By a crash between two steps, or with the bridge, which another tool has deleted."""
        now = wire(LAN, kept={"tap-vm1": self.tap}, ports={"tap-vm1": LOOSE, "tap-vm2": LOOSE})
        assert kinds(up_steps(lab(LAN), LAN, WHERE, now)) == ["LoadRules", "PlugTap", "PlugTap"]

    @pytest.mark.parametrize(("held", "gone"), [(False, ["RemovePersistentTap", "DropRules"]), (True, [])])
    def test_one_that_is_held_stays_and_is_guarded_on(self, held: bool, gone: list[str]) -> None:
        now = wire(LAN, kept={"tap-vm1": self.tap.replace(held=held)}, guard="digest", rules="")
        steps = down_steps(lab(LAN), LAN, WHERE, now, force=True)
        assert [one for one in kinds(steps) if one in {"RemovePersistentTap", "DropRules"}] == gone


def test_every_step_says_itself() -> None:
    steps = [
        *up_steps(lab(LAN), LAN, WHERE, NetworkFacts(bridge=None, ports={"tap-vm1": LOOSE}, leftovers=("tap-vm2",))),
        *up_steps(lab(LAN), LAN, WHERE, wire(LAN, hostname="x")),
        *down_steps(lab(LAN), LAN, WHERE, wire(LAN), force=False),
    ]
    said = [str(step) for step in steps]
    assert len(set(said)) >= 14
    assert all(text.isprintable() and len(text) < 120 for text in said)
    assert "set net.ipv4.conf.br0.forwarding = 1" in said
    assert str(DropRules(table="inet kvmrun_lan", record="/r")) in said
