"""What dnsmasq is told: whole files are golden, here is what each key adds or takes away."""

from ipaddress import IPv4Address, IPv6Network

import pytest
from support.builders import LAN, PORT

from kvmrun.model.network.network import Dhcp, Dns, Domain, Lease, Network, OptionValue, Pool, Upstream
from kvmrun.model.scalars import LinkName
from kvmrun.plan.network import dnsmasq_config

AT = dnsmasq_config.dnsmasq_paths("/state", "lan")


def told(network: Network) -> set[str]:
    return set(dnsmasq_config.config_text(network, AT, "/etc/resolv.conf").splitlines())


@pytest.mark.parametrize(
    ("network", "more", "less"),
    [
        (LAN.replace(bridge=LinkName("br7")), {"interface=br7"}, {"interface=br0"}),
        (LAN.replace(domain=Domain("lab.example")), {
            "domain=lab.example", "local=/lab.example/", "dhcp-option=option:domain-search,lab.example",
        }, {"domain=lan", "local=/lan/", "dhcp-option=option:domain-search,lan"}),
        (LAN.replace(dns=Dns(search=Domain("example"))), {"dhcp-option=option:domain-search,example"},
         {"dhcp-option=option:domain-search,lan"}),
        (LAN.replace(dns=Dns(upstream=Upstream((IPv4Address("9.9.9.9"),)))), {"no-resolv", "server=9.9.9.9"},
         {"resolv-file=/etc/resolv.conf"}),
        (LAN.replace(mtu=9000), {"dhcp-option=option:mtu,9000"}, set()),
        (LAN.replace(dhcp=Dhcp(lease=Lease("infinite"))),
         {"dhcp-range=192.168.0.200,192.168.0.219,255.255.255.0,infinite"},
         {"dhcp-range=192.168.0.200,192.168.0.219,255.255.255.0,24h"}),
        (LAN.replace(dhcp=Dhcp(pool=Pool.parse("192.168.0.9-192.168.0.9"))),
         {"dhcp-range=192.168.0.9,192.168.0.9,255.255.255.0,24h"},
         {"dhcp-range=192.168.0.200,192.168.0.219,255.255.255.0,24h"}),
        (LAN.replace(dhcp=Dhcp(options={"44": OptionValue("0.0.0.0"), "47": OptionValue("")})),
         {"dhcp-option=44,0.0.0.0", "dhcp-option=47"}, set()),
        (LAN.replace(ipv6=IPv6Network("fd00:77::/64")),
         {"enable-ra", "quiet-ra", "quiet-dhcp6", "ra-param=br0,0,0",
          "dhcp-range=fd00:77::,ra-stateless,ra-names,64,24h"}, set()),
        (LAN.replace(ipv6=IPv6Network("fd00:77::/64"), ipv6_egress="nat"),
         {"enable-ra", "quiet-ra", "quiet-dhcp6", "dhcp-range=fd00:77::,ra-stateless,ra-names,64,24h"}, set()),
        (LAN.replace(isolate=True, nat=False, policy="open"), set(), set()),
    ],
)  # fmt: skip
def test_a_key_says_what_it_is_for_and_nothing_else(network: Network, more: set[str], less: set[str]) -> None:
    assert (told(network) - told(LAN), told(LAN) - told(network)) == (more, less)


def test_without_dns_no_port_is_opened_and_no_server_is_named() -> None:
    found = told(LAN.replace(dns=None))
    assert "port=0" in found
    assert not [line for line in found if "dns-server" in line or "domain" in line or "resolv" in line]


def test_without_dhcp_nothing_is_given_out() -> None:
    assert not [line for line in told(LAN.replace(dhcp=None)) if "dhcp" in line]


def test_with_ipv6_alone_leases_are_still_kept_where_it_may_write() -> None:
    found = told(LAN.replace(dhcp=None, ipv6=IPv6Network("fd00:77::/64")))
    assert f"dhcp-leasefile={AT.leases}" in found
    assert not [line for line in found if "192.168" in line]


@pytest.mark.parametrize("network", [LAN, LAN.replace(dns=None), LAN.replace(dhcp=None)])
def test_it_never_reads_a_file_of_the_hosts_or_listens_beyond_its_bridge(network: Network) -> None:
    assert {"no-hosts", "bind-dynamic", "interface=br0", "except-interface=lo", "pid-file"} <= told(network)
    assert not [line for line in told(network) if line.startswith(("conf-", "listen-address"))]


@pytest.mark.parametrize(("ipv6", "more"), [(None, ""), (IPv6Network("fd00:77::/64"), "fd00:77::1 ursa\n")])
def test_the_hosts_name_is_the_bridges_address(ipv6: IPv6Network | None, more: str) -> None:
    assert dnsmasq_config.hosts_text(LAN.replace(ipv6=ipv6), {}, "ursa") == f"192.168.0.254 ursa\n{more}"


def test_every_nic_on_the_network_has_a_name_and_a_reservation() -> None:
    ports = {
        "vm2": (PORT.replace(network="dmz"), PORT.replace(address="192.168.0.2", name="eth1")),
        "vm1": (PORT, PORT.replace(address="192.168.0.9", name="wan", mac="52:54:00:00:00:09")),
        "vm3": (PORT.replace(address=None),),
    }
    assert dnsmasq_config.hosts_text(LAN, ports, "ursa").splitlines()[1:] == [
        "192.168.0.1 vm1",
        "192.168.0.9 vm1-wan",
        "192.168.0.2 vm2",
    ]
    assert dnsmasq_config.dhcp_hosts_text(LAN, ports).splitlines() == [
        "52:54:00:00:00:01,id:*,192.168.0.1,vm1,24h",
        "52:54:00:00:00:09,id:*,192.168.0.9,vm1-wan,24h",
        "52:54:00:00:00:01,id:*,192.168.0.2,vm2,24h",
    ]


HOSTS_FILE = """127.0.0.1 localhost
127.0.1.1 laptop.example laptop
::1 ip6-localhost
192.168.1.7 nas NAS.example  # under the stairs
192.168.1.8 vm1
10.9.9.9 bad_name -x
300.1.1.1 odd
"""


def test_names_of_other_machines_are_answered_beside_guests() -> None:
    network = LAN.replace(names={"linksys": IPv4Address("172.20.1.1"), "fw.example": IPv4Address("10.0.0.1")})
    lines = dnsmasq_config.hosts_text(network, {"vm1": (PORT,)}, "laptop", HOSTS_FILE).splitlines()
    assert lines == [
        "192.168.0.254 laptop",
        "192.168.0.1 vm1",
        "10.0.0.1 fw.example",
        "172.20.1.1 linksys",
        "192.168.1.7 nas NAS.example",
    ]


def test_names_below_local_stay_at_home() -> None:
    assert "local=/local/" in told(LAN)
    assert "local=/local/" not in told(LAN.replace(dns=None))
