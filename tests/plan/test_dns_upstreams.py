"""Name servers that ask each other: who has somebody else to ask in the end."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
from support import builders
from support.builders import lab_of

from kvmrun.model.network.network import Dns, Network, Upstream
from kvmrun.model.scalars import LinkName
from kvmrun.plan.network.dns_upstreams import circular_upstreams, upstream_names

LAN, DMZ = "192.168.0.254", "192.168.1.254"


def network(name: str, number: int, *upstream: str) -> Network:
    dns = Dns(upstream=Upstream(IPv4Address(one) for one in upstream))
    subnet, six = IPv4Network(f"192.168.{number}.0/24"), IPv6Network(f"fd00:{number}::/64")
    return builders.network(name, bridge=LinkName(f"br{number}"), subnet=subnet, dns=dns, ipv6=six)


@pytest.mark.parametrize(
    ("lan", "dmz", "servers", "lost"),
    [
        ((), (), ("9.9.9.9",), ""),
        ((), (), ("127.0.0.53",), ""),
        ((), (), (LAN, "9.9.9.9"), ""),
        ((), (), (LAN,), "lan dmz"),
        ((), (), ("fd00:0::1",), ""),
        ((), (), ("fd00::1",), "lan dmz"),
        ((), (), (), ""),  # a host without a network
        (("9.9.9.9",), (), (LAN,), ""),
        (("9.9.9.9",), (LAN,), (DMZ,), ""),
        ((DMZ,), (LAN,), ("9.9.9.9",), "lan dmz"),
        ((DMZ,), (), ("9.9.9.9",), ""),
        ((LAN,), (), ("9.9.9.9",), "lan"),
        ((DMZ, "9.9.9.9"), (LAN,), (), ""),
    ],
)
def test_who_has_nobody_to_ask(lan: tuple[str, ...], dmz: tuple[str, ...], servers: tuple[str, ...], lost: str) -> None:
    both = {"lan": network("lan", 0, *lan), "dmz": network("dmz", 1, *dmz)}
    lab = lab_of(networks=both)
    assert " ".join(name for name, one in both.items() if circular_upstreams(lab, one, servers)[0]) == lost


def test_the_servers_of_a_file() -> None:
    assert upstream_names("# x\nnameserver 9.9.9.9\nsearch lan\nnameserver\n nameserver\tfd00::1 # two\n") == (
        "9.9.9.9",
        "fd00::1",
    )
