"""The packet filter as text: whole tables are golden, here is what each key adds or takes away."""

import re

import pytest
from support.builders import LAN

from kvmrun.model.network.network import Forward, Network, Uplink
from kvmrun.model.scalars import LinkName, NicName
from kvmrun.plan.network import nft_network

UPLINKS = {
    name: Uplink(name=NicName(name), interface=LinkName(link))
    for name, link in (("wire", "eth0"), ("air", "wlan0"), ("wire2", "eth0"))
}
WEB = Forward(protocol="tcp", port=8080, guest="vm1", to=80)


def told(network: Network, addresses: dict[str, str] | None = None) -> list[str]:
    bridges = ["br0", "br1"]
    text = nft_network.network_text(network, bridges, UPLINKS, addresses or {})
    return [nft_network.spelled_out(line, bridges) for line in text.splitlines()]


def chains(network: Network) -> list[str]:
    return re.findall(r"chain (\w+)", "\n".join(told(network, {"vm1": "192.168.0.1"})))


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        (LAN, ["forward", "input", "raw", "postrouting"]),
        (LAN.replace(nat=False), ["forward", "input", "raw"]),
        (LAN.replace(nat=False, forward=(WEB,)), ["forward", "input", "raw", "prerouting", "output", "postrouting"]),
    ],
)
def test_there_are_only_chains_that_do_something(network: Network, wanted: list[str]) -> None:
    assert chains(network) == wanted


def test_it_is_one_table_of_our_own() -> None:
    assert [line for line in told(LAN) if "table" in line] == ["table inet kvmrun_lan {"]


@pytest.mark.parametrize(
    ("nat", "out"),
    [
        (True, 'oifname != { "br0", "br1" }'),
        ((NicName("air"),), 'oifname { "wlan0" }'),
        ((NicName("wire"), NicName("air"), NicName("wire2")), 'oifname { "eth0", "wlan0" }'),
    ],
)
def test_it_masquerades_out_of_any_uplink_or_those_named(nat: tuple[NicName, ...] | bool, out: str) -> None:
    found = [line.strip() for line in told(LAN.replace(nat=nat)) if "masquerade" in line]
    assert found == [f"ip saddr 192.168.0.0/24 {out} masquerade"]


@pytest.mark.parametrize(("isolate", "verdict"), [(False, "accept"), (True, "counter drop")])
def test_guest_to_guest_is_said_first(isolate: bool, verdict: str) -> None:
    found = [line.strip() for line in told(LAN.replace(isolate=isolate)) if "iifname" in line]
    assert found[0] == f'iifname "br0" oifname "br0" {verdict}'


@pytest.mark.parametrize(("policy", "closed"), [("private", True), ("open", False)])
def test_new_flows_from_outside_are_dropped_and_counted_unless_it_is_open(policy: str, closed: bool) -> None:
    assert ('    oifname "br0" counter drop' in told(LAN.replace(policy=policy))) is closed


def test_a_port_leads_to_the_guest_from_everywhere_and_of_the_loopback_by_one_address() -> None:
    found = [line for line in told(LAN.replace(forward=(WEB,)), {"vm1": "192.168.0.1"}) if "dnat ip" in line]
    assert all(line.endswith("tcp dport 8080 dnat ip to 192.168.0.1:80") for line in found)
    assert ["fib daddr type local ip daddr != 127.0.0.0/8" in line for line in found] == [True, False]
    assert "ip daddr != { 127.0.0.0/32, 127.0.0.2-127.255.255.255 }" in found[1]


@pytest.mark.parametrize("port", [53, 67])
def test_a_port_of_our_own_servers_leads_to_a_guest_by_other_addresses_than_theirs(port: int) -> None:
    network = LAN.replace(forward=(WEB.replace(protocol="udp", port=port),))
    around = nft_network.Surroundings(servers=("192.168.0.254", "192.168.1.254"))
    text = nft_network.network_text(network, ["br0"], {}, {"vm1": "192.168.0.1"}, around)
    assert text.count("ip daddr != { 127.0.0.0/8, 192.168.0.254, 192.168.1.254 } udp") == 2


def test_with_uplinks_named_guests_leave_by_no_other_link() -> None:
    (found,) = [line.strip() for line in told(LAN.replace(nat=(NicName("air"),))) if "reject" in line]
    assert found == 'iifname "br0" oifname != { "br0", "br1", "wlan0" } ct direction original counter reject'
    assert not [line for line in told(LAN) if "reject" in line]


@pytest.mark.parametrize("addresses", [{}, {"vm1": ""}])
def test_a_port_to_a_guest_without_an_address_leads_nowhere(addresses: dict[str, str]) -> None:
    assert "dnat ip" not in "".join(told(LAN.replace(forward=(WEB,)), addresses))
