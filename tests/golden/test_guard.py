"""The guard's rules as files to read in a change. KVMRUN_GOLDEN=1 rewrites them."""

import os
from pathlib import Path

import pytest
from support.builders import PORT

from kvmrun.config.load_lab import load_lab
from kvmrun.plan.network import nft_guard

HERE = Path(__file__).parent
CARD = PORT.replace(subnet="192.168.0.0/24", bridge_mac="52:54:00:00:00:fe")
HOSTS6 = ("fd00:77::1", "fe80::5054:ff:fe00:fe")
PORTS = {
    "mac": CARD.replace(guard="mac", prefix6="fd00:77::/64", hosts6=HOSTS6),
    "address": CARD.replace(guard="address"),
    "address6": CARD.replace(guard="address", prefix6="fd00:77::/64", hosts6=HOSTS6),
    "router": CARD.replace(guard="address", forwarding=True),
    "serves": CARD.replace(guard="mac", forwarding=True, prefix6="fd00:77::/64", serves=("dhcp", "ra")),
    "serves-address": CARD.replace(guard="address", prefix6="fd00:77::/64", hosts6=HOSTS6, serves=("dhcp", "ra")),
}


@pytest.mark.parametrize("kind", PORTS)
def test_the_rules_are_those_in_the_file(kind: str) -> None:
    step = nft_guard.load_step("vm1", (PORTS[kind],), "/run/guard")
    assert step
    file = HERE / f"guard-{kind}.txt"
    if os.environ.get("KVMRUN_GOLDEN"):
        file.write_text(step.text)
    assert step.text == file.read_text()


def test_a_port_without_a_guard_has_no_chain() -> None:
    ports = (PORTS["mac"], CARD.replace(name="eth1", tap="tap-vm1-eth1"))
    step = nft_guard.load_step("vm1", ports, "/run/guard")
    assert step
    assert "from_vm1_eth0" in step.text
    assert "eth1" not in step.text
    assert nft_guard.load_step("vm1", ports[1:], "/run/guard") is None


@pytest.mark.parametrize(
    ("network", "nic", "wanted"),
    [
        ("", "", "mac"),
        ('guard = "address"', "", "address"),
        ('guard = "none"', "", "none"),
        ('guard = "address"', 'guard = "mac"', "mac"),
        ('guard = "address"', 'guard = "none"', "none"),
        ('external = true\nguard = "address"', 'address = "192.168.0.7"', "address"),
    ],
)
def test_a_card_has_the_guard_of_its_network_unless_it_says_otherwise(
    lab: Path, network: str, nic: str, wanted: str
) -> None:
    (lab / "networks.toml").write_text(f"[network.lan]\n{network}\n")
    (lab / "vm1.toml").write_text(f"[[nic]]\n{nic}\n")
    found = load_lab(str(lab), "/images")
    assert not found.problems
    assert found.ports()["vm1"][0].guard == wanted


@pytest.mark.parametrize(
    ("network", "nic", "key", "wanted"),
    [
        ('external = true\nguard = "address"', "", "nic[0].guard", "an address on this NIC"),
        ("external = true", 'guard = "address"', "nic[0].guard", "an address on this NIC"),
        ("", 'guard = "arp"', "nic[0].guard", 'one of "none", "mac", "address"'),
        ("", "guard = false", "nic[0].guard", 'one of "none", "mac", "address"'),
    ],
)
def test_a_guard_that_cannot_be_is_told(lab: Path, network: str, nic: str, key: str, wanted: str) -> None:
    (lab / "networks.toml").write_text(f"[network.lan]\n{network}\n")
    (lab / "vm1.toml").write_text(f"[[nic]]\n{nic}\n")
    (problem,) = load_lab(str(lab), "/images").problems
    assert (problem.file, problem.key) == ("vm1.toml", key)
    assert wanted in problem.wanted


def test_the_hosts_addresses_on_the_link_are_those_of_its_bridge(lab: Path) -> None:
    (lab / "networks.toml").write_text('[network.lan]\nipv6 = "fd00:77::/64"\n')
    (lab / "vm1.toml").write_text("")
    port = load_lab(str(lab), "/images").ports()["vm1"][0]
    assert (port.prefix6, port.hosts6) == ("fd00:77::/64", ("fd00:77::1", "fe80::5054:41ff:fe31:053f"))
