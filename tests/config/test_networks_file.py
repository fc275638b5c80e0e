"""networks.toml: every key, every way to get it wrong, and what an error costs."""

from pathlib import Path

import pytest
from support.builders import loaded_lab

from kvmrun.config.load_lab import load_lab
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network

OTHER = '[network.dmz]\nbridge = "br1"\nsubnet = "10.0.0.0/24"\n'
HERE, THERE = "", '[[nic]]\nnetwork = "dmz"\n'


def lan(directory: Path, text: str, **guests: str) -> Network:
    found = loaded_lab(directory, f"[network.lan]\n{text}", **guests)
    assert found.problems == ()
    return found.networks["lan"]


def said(lab: Lab, file: str = "networks.toml") -> list[str]:
    return [str(problem) for problem in lab.problems if problem.file == file]


def test_every_key_is_taken(lab: Path) -> None:
    text = """
        bridge = "br-lab"
        subnet = "10.1.0.0/16"
        host = "10.1.0.1"
        domain = "lab.example"
        dhcp = { pool = "10.1.9.1-10.1.9.9", lease = "7d", options = { 19 = "0", 47 = "", 42 = "10.1.0.1,10.1.0.2" } }
        dns = { upstream = ["9.9.9.9"], search = "example" }
        nat = ["wire"]
        policy = "open"
        isolate = true
        external = false
        mtu = 9000
        ipv6 = "fd00:77::/64"
        forward = ["tcp 8080 -> vm1:80", "udp 53->vm1:5353"]
        [uplink.wire]
        interface = "eth0"
        gateway = "172.20.1.254"
        table = 102
    """
    found = lan(lab, text, vm1="")
    assert found.dhcp
    assert found.dns
    assert (found.bridge, str(found.host_address()), found.domain) == ("br-lab", "10.1.0.1/16", "lab.example")
    assert (str(found.pool()), found.dhcp.lease) == ("10.1.9.1-10.1.9.9", "7d")
    assert dict(found.dhcp.options) == {"19": "0", "47": "", "42": "10.1.0.1,10.1.0.2"}
    assert (list(map(str, found.dns.upstream)), found.dns.search) == (["9.9.9.9"], "example")
    assert (found.nat, found.policy, found.isolate, found.mtu) == (("wire",), "open", True, 9000)
    assert found.host_address6() == "fd00:77::1/64"
    assert list(map(str, found.forward)) == ["tcp 8080 -> vm1:80", "udp 53 -> vm1:5353"]


def test_what_is_not_said_is_as_on_the_laptop(lab: Path) -> None:
    found = lan(lab, "")
    assert (found.bridge, str(found.host_address()), str(found.pool())) == (
        "br0",
        "192.168.0.254/24",
        "192.168.0.200-192.168.0.219",
    )
    assert (found.nat, found.isolate, found.external, found.ipv6) == (True, False, False, None)
    assert found.needs_dnsmasq()


@pytest.mark.parametrize(
    ("text", "key"),
    [("dhcp = false", "dhcp"), ("dns = false", "dns"), ("nat = false", "nat"), ("ipv6 = false", "ipv6")],
)
def test_what_can_be_off_is_off_with_false(lab: Path, text: str, key: str) -> None:
    assert not getattr(lan(lab, text), key)


@pytest.mark.parametrize(
    ("subnet", "host", "pool"),
    [
        ("10.0.0.0/28", "10.0.0.14", "10.0.0.12-10.0.0.13"),
        ("10.0.0.0/24", "10.0.0.254", "10.0.0.200-10.0.0.219"),
        ("10.0.0.0/16", "10.0.255.254", "10.0.200.0-10.0.219.0"),
        ("10.0.0.0/8", "10.255.255.254", "10.200.0.0-10.219.0.0"),
    ],
)
def test_host_and_pool_are_where_they_are_in_any_subnet(lab: Path, subnet: str, host: str, pool: str) -> None:
    found = lan(lab, f'subnet = "{subnet}"')
    assert (str(found.host_address().ip), str(found.pool())) == (host, pool)


WRONG = [
    ('bridge = "sixteen-letters1"', "bridge", "at most 15"),
    ('bridge = "br 0"', "bridge", "an interface name"),
    ('bridge = "all"', "bridge", "an interface name"),
    ('bridge = "../br0"', "bridge", "an interface name"),
    ("bridge = 5", "bridge", "an interface name"),
    ('subnet = "192.168.0.1/24"', "subnet", "host bits are set"),
    ('subnet = "192.168.0.0/29"', "subnet", "between /8 and /28"),
    ('subnet = "fd00::/64"', "subnet", "an IPv4 subnet"),
    ('host = "10.0.0.1"', "host", "inside 192.168.0.0/24"),
    ('host = "192.168.0.0"', "host", "inside 192.168.0.0/24"),
    ('host = "192.168.0.255"', "host", "inside 192.168.0.0/24"),
    ('host = "192.168.0.300"', "host", "an IPv4 address"),
    ('host = "192.168.0.210"', "dhcp.pool", "without the host's own address 192.168.0.210"),
    ('domain = "-lan"', "domain", "a domain"),
    ('domain = "Lan"', "domain", "a domain"),
    ('domain = "lan\\nport=0"', "domain", "a domain"),
    ('dhcp = { pool = "192.168.0.1" }', "dhcp.pool", "two addresses"),
    ('dhcp = { pool = "192.168.0.9-192.168.0.1" }', "dhcp.pool", "lower address first"),
    ('dhcp = { pool = "192.168.1.1-192.168.1.9" }', "dhcp.pool", "inside 192.168.0.0/24"),
    ('dhcp = { pool = "192.168.0.1-192.168.0.255" }', "dhcp.pool", "inside 192.168.0.0/24"),
    ('dhcp = { pool = "192.168.0.1-192.168.0.254" }', "dhcp.pool", "without the host's own"),
    ('dhcp = { lease = "24" }', "dhcp.lease", "a time such as"),
    ('dhcp = { lease = "0h" }', "dhcp.lease", "a time such as"),
    ("dhcp = { lease = 24 }", "dhcp.lease", "a time such as"),
    ('dhcp = { options = { 0 = "1" } }', "dhcp.options", "1 to 254"),
    ('dhcp = { options = { 255 = "1" } }', "dhcp.options", "1 to 254"),
    ('dhcp = { options = { router = "1" } }', "dhcp.options", "1 to 254"),
    ('dhcp = { options = { "٣" = "1" } }', "dhcp.options", "1 to 254"),
    ('dhcp = { options = { 19 = "a b" } }', "dhcp.options.19", "text such as"),
    ('dhcp = { options = { 19 = "0\\nport=0" } }', "dhcp.options.19", "text such as"),
    ("dhcp = { options = { 19 = 0 } }", "dhcp.options.19", "text such as"),
    ("dhcp = { pol = 5 }", "dhcp.pol", "did you mean pool"),
    ('dns = { upstream = "hosts" }', "dns.upstream", '"host", or a list'),
    ("dns = { upstream = [] }", "dns.upstream", '"host", or a list'),
    ('dns = { upstream = ["dns.example"] }', "dns.upstream", '"host", or a list'),
    ('dns = { search = "a b" }', "dns.search", "a domain"),
    ("nat = []", "nat", "names of uplinks"),
    ('nat = "wire"', "nat", "a list"),
    ('nat = ["wire"]', "nat", "none is defined"),
    ('nat = ["wir"]\n[uplink.wire]\ninterface = "eth0"', "nat", "(wire)"),
    ("nat = [true]", "nat[0]", "a name"),
    ('policy = "drop"', "policy", '"private", "open"'),
    ('isolate = "yes"', "isolate", "true or false"),
    ("mtu = 1279", "mtu", "1280 to 65521"),
    ("mtu = 65522", "mtu", "1280 to 65521"),
    ('mtu = "1500"', "mtu", "a whole number"),
    ('ipv6 = "fd00:77::/48"', "ipv6", "a /64"),
    ('ipv6 = "192.168.0.0/24"', "ipv6", "an IPv6 prefix"),
    ("ipv6 = true", "ipv6", "an IPv6 prefix"),
    ('forward = ["80 -> vm1:80"]', "forward[0]", "a line such as"),
    ('forward = ["tcp 80 -> vm1"]', "forward[0]", "a line such as"),
    ('forward = ["tcp 0 -> vm1:80"]', "forward[0]", "a line such as"),
    ('forward = ["tcp 80 -> vm1:65536"]', "forward[0]", "a line such as"),
    ('forward = ["icmp 80 -> vm1:80"]', "forward[0]", "a line such as"),
    ('forward = ["tcp 80 -> vm1:80\\n"]', "forward[0]", "a line such as"),
    ('forward = ["tcp 80 -> vm11:80"]', "forward[0]", "did you mean vm1"),
    ('forward = ["tcp 80 -> vm1:80", "tcp 80 -> vm1:81"]', "forward[1]", "another port: network.lan.forward[0]"),
    ('brigde = "br0"', "brigde", "did you mean bridge"),
]


@pytest.mark.parametrize(("text", "key", "wanted"), WRONG)
def test_a_bad_value_is_told_and_costs_its_network_with_its_guests(lab: Path, text: str, key: str, wanted: str) -> None:
    found = loaded_lab(lab, f"{OTHER}[network.lan]\n{text}\n", vm1=HERE, vm2=THERE)
    (problem,) = said(found)
    assert problem.startswith(f"networks.toml: network.lan.{key}: ")
    assert wanted in problem
    assert problem.isprintable()
    assert (list(found.networks), list(found.guests), found.invalid) == (["dmz"], ["vm2"], ("vm1",))


@pytest.mark.parametrize(
    ("text", "key", "wanted"),
    [
        ('[network.dmz]\nbridge = "br0"\nsubnet = "10.0.0.0/24"', "network.dmz.bridge", "network.lan has it"),
        ('[network.dmz]\nbridge = "br1"', "network.dmz.subnet", "does not overlap 192.168.0.0/24 of network.lan"),
        ('[network.dmz]\nbridge = "br1"\nsubnet = "192.168.0.0/16"', "network.dmz.subnet", "does not overlap"),
        (f'{OTHER}ipv6 = "fd00:77::/64"', "network.dmz.ipv6", "does not overlap fd00:77::/64 of network.lan"),
        (f'{OTHER}forward = ["udp 53 -> vm2:53"]', "network.dmz.forward[0]", "another port: network.lan.forward[0]"),
        (f'{OTHER}forward = ["tcp 53 -> vm1:53"]', "network.dmz.forward[0]", "a guest on network dmz"),
    ],
)
def test_two_networks_may_not_want_the_same(lab: Path, text: str, key: str, wanted: str) -> None:
    first = '[network.lan]\nipv6 = "fd00:77::/64"\nforward = ["udp 53 -> vm1:53"]\n'
    found = loaded_lab(lab, first + text, vm1=HERE, vm2=THERE)
    (problem,) = said(found)
    assert problem.startswith(f"networks.toml: {key}: ")
    assert wanted in problem
    assert (list(found.networks), list(found.guests)) == (["lan"], ["vm1"])


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("network = 5", "network"),
        ("network.lan = 5", "network.lan"),
        ("[network.LAN]", "network.LAN"),
        ("[network.a-b]", "network.a-b"),
        ('firewall = "iptables"', "firewall"),
        ("seed = 5", "seed"),
        ("[networks.lan]", "networks"),
        ("[uplink.wire]", "uplink.wire.interface"),
        ('[uplink.wire]\ninterface = "eth0"\ngateway = "x"', "uplink.wire.gateway"),
        ('[uplink.wire]\ninterface = "eth0"\ntable = "x"', "uplink.wire.table"),
    ],
)
def test_an_error_in_the_file_is_told(lab: Path, text: str, key: str) -> None:
    (problem,) = said(loaded_lab(lab, text))
    assert problem.startswith(f"networks.toml: {key}: ")


@pytest.mark.parametrize("address", ["192.168.0.200", "192.168.0.205", "192.168.0.219"])
def test_a_reservation_inside_the_pool_is_told_with_the_pool(lab: Path, address: str) -> None:
    found = loaded_lab(lab, "[network.lan]", vm1=f'[[nic]]\naddress = "{address}"', vm2="")
    (problem,) = said(found, "vm1.toml")
    assert "nor in the pool 192.168.0.200-192.168.0.219" in problem
    assert (list(found.networks), list(found.guests)) == (["lan"], ["vm2"])
    assert loaded_lab(lab, "[network.lan]\ndhcp = false").problems == ()


def test_no_derived_address_is_the_hosts_or_the_pools(lab: Path) -> None:
    text = '[network.lan]\nhost = "192.168.0.9"\ndhcp = { pool = "192.168.0.10-192.168.0.250" }'
    found = loaded_lab(lab, text, **dict.fromkeys((f"vm{number}" for number in range(12)), ""))
    addresses = {port.address for ports in found.ports().values() for port in ports}
    assert addresses == {f"192.168.0.{last}" for last in (*range(1, 9), *range(251, 255))}


def test_a_port_to_a_guest_with_errors_costs_that_guest_alone(lab: Path) -> None:
    found = loaded_lab(lab, '[network.lan]\nforward = ["tcp 80 -> vm1:80"]', vm1="cpus = 0", vm2="")
    assert said(found) == []
    assert (list(found.networks), list(found.guests), found.invalid) == (["lan"], ["vm2"], ("vm1",))


def test_all_errors_are_told_at_once(lab: Path) -> None:
    text = '[network.lan]\nmtu = "x"\nbrigde = "y"\n[network.dmz]\nmtu = 5\nforward = ["tcp 80 -> vm1:80"]'
    assert len(said(loaded_lab(lab, text))) == 3


@pytest.mark.parametrize("dhcp", ["false", '{ pool = "10.0.0.5-10.0.0.9" }'])
def test_the_candidates_are_the_addresses_a_guest_can_hold(lab: Path, dhcp: str) -> None:
    (lab / "networks.toml").write_text(f'[network.lan]\nsubnet = "10.0.0.0/28"\nhost = "10.0.0.3"\ndhcp = {dhcp}\n')
    (network,) = load_lab(str(lab), "/i").networks.values()
    every = [one for one in network.subnet if network.can_hold(one)]
    assert sorted(network.candidates(7)) == every
    assert next(network.candidates(9)) == network.subnet[10]


def test_a_lab_reduced_to_one_network_keeps_the_ports_on_it(lab: Path) -> None:
    text = (
        '[network.one]\nbridge = "br1"\nsubnet = "10.1.0.0/24"\n[network.two]\nbridge = "br2"\nsubnet = "10.2.0.0/24"\n'
    )
    found = loaded_lab(lab, text, vm1='[[nic]]\nnetwork = "one"\n[[nic]]\nnetwork = "two"\n')
    both = found.ports()["vm1"]
    assert found.replace(networks={"two": found.networks["two"]}).ports()["vm1"] == both[1:]
