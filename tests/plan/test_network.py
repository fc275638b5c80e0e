"""A network as wanted, a bridge as found: the steps between them, or the refusal."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from kvmrun.errors import Refused
from kvmrun.model import derive
from kvmrun.model.network import Network
from kvmrun.model.values import NicName
from kvmrun.plan.facts import Bridge, Route
from kvmrun.plan.network import down, is_right, up
from kvmrun.plan.steps import AddAddress, MakeBridge, RemoveAddress, RemoveBridge, SetBridge, SetUp

LAN = Network(name=NicName("lan"))
EXTERNAL = LAN.but(external=True)
MAC = derive.mac("", "bridge", "br0")
OURS = Bridge(kind="bridge", alias="kvmrun:net:lan", mac=MAC, addresses=("192.168.0.254/24",), up=True, mtu=1500)
MADE = MakeBridge(name="br0", alias="kvmrun:net:lan")
SET = SetBridge(name="br0", mac=MAC, mtu=1500)
GIVEN = AddAddress(link="br0", address="192.168.0.254/24")
UP = SetUp(link="br0")


def elsewhere(*destinations: str) -> list[Route]:
    return [Route(destination=one, link="eth0") for one in destinations]


@pytest.mark.parametrize(
    ("network", "found", "steps"),
    [
        (LAN, None, (MADE, SET, GIVEN, UP)),
        (LAN, OURS, ()),
        (LAN, OURS.but(ports=("tap-vm1",)), ()),
        (LAN, OURS.but(mac="52:54:00:00:00:01"), (SET,)),
        (LAN, OURS.but(mtu=9000), (SET,)),
        (LAN, OURS.but(stp=True), (SET,)),
        (LAN, OURS.but(forward_delay=1500), (SET,)),
        (LAN, OURS.but(addresses=()), (GIVEN,)),
        (LAN, OURS.but(addresses=("10.0.0.1/8",)), (RemoveAddress(link="br0", address="10.0.0.1/8"), GIVEN)),
        (
            LAN,
            OURS.but(addresses=("192.168.0.254/24", "10.0.0.1/8")),
            (RemoveAddress(link="br0", address="10.0.0.1/8"),),
        ),
        (
            LAN,
            OURS.but(addresses=("192.168.0.254/16",)),
            (RemoveAddress(link="br0", address="192.168.0.254/16"), GIVEN),
        ),
        (LAN, OURS.but(up=False), (UP,)),
        (LAN, OURS.but(mac="", addresses=(), up=False), (SET, GIVEN, UP)),
        (LAN.but(mtu=9000), OURS, (SET.but(mtu=9000),)),
        (LAN.but(host=IPv4Address("192.168.0.1")), OURS.but(addresses=()), (GIVEN.but(address="192.168.0.1/24"),)),
        (EXTERNAL, OURS.but(alias="", mac="", addresses=(), up=False), ()),
    ],
)
def test_up_does_what_is_still_to_be_done(network: Network, found: Bridge | None, steps: tuple[Any, ...]) -> None:
    assert up(network, "", found, ()) == steps
    assert is_right(network, "", found) == (found is not None and not steps)


@pytest.mark.parametrize(
    ("network", "found", "message", "why"),
    [
        (LAN, OURS.but(alias=""), "br0 exists and is not ours", "bridge without our mark"),
        (LAN, OURS.but(alias="my bridge"), "not ours", "bridge without our mark"),
        (LAN, OURS.but(alias="kvmrun:net:dmz"), "not ours", "another network's: kvmrun:net:dmz"),
        (LAN, OURS.but(kind=""), "not ours", "physical interface"),
        (LAN, OURS.but(kind="tun"), "not ours", "it is a tun"),
        (EXTERNAL, None, "br0 does not exist", "never made by us"),
        (EXTERNAL, OURS.but(kind=""), "br0 is not a bridge", "physical"),
        (EXTERNAL, OURS.but(kind="vlan"), "br0 is not a bridge", "vlan"),
    ],
)
def test_up_refuses_what_is_not_ours(network: Network, found: Bridge | None, message: str, why: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        up(network, "", found, ())
    assert why in refused.value.why
    assert "network.lan" in refused.value.hint


@pytest.mark.parametrize(
    "taken", ["192.168.0.0/24", "192.168.0.128/25", "192.168.0.254/32", "192.168.0.0/16", "128.0.0.0/1"]
)
def test_up_refuses_a_subnet_the_host_reaches_elsewhere(taken: str) -> None:
    with pytest.raises(Refused, match=r"subnet 192.168.0.0/24 of network lan overlaps") as refused:
        up(LAN, "", None, elsewhere("10.0.0.0/8", taken))
    assert f"{taken} through eth0" in refused.value.why


def test_the_subnet_it_proposes_is_free() -> None:
    with pytest.raises(Refused) as refused:
        up(LAN, "", None, elsewhere("192.168.0.0/24", "192.168.100.0/22"))
    assert refused.value.hint.endswith("192.168.104.0/24")


def test_with_all_of_192_168_taken_it_looks_further() -> None:
    with pytest.raises(Refused, match="overlaps") as refused:
        up(LAN, "", None, elsewhere("192.168.0.0/16"))
    assert not IPv4Network(refused.value.hint.split()[-1]).overlaps(IPv4Network("192.168.0.0/16"))


@pytest.mark.parametrize("route", [*elsewhere("192.168.1.0/24"), Route(destination="192.168.0.0/24", link="br0")])
def test_a_route_that_is_not_in_the_way_is_none_of_ours(route: Route) -> None:
    assert up(LAN, "", None, [route])[0] == MADE


@pytest.mark.parametrize(
    ("network", "found", "force", "steps"),
    [
        (LAN, None, False, ()),
        (EXTERNAL, OURS, True, ()),
        (LAN, OURS, False, (RemoveBridge(name="br0"),)),
        (LAN, OURS.but(up=False, addresses=()), False, (RemoveBridge(name="br0"),)),
        (LAN, OURS.but(ports=("tap-vm1",)), True, (RemoveBridge(name="br0"),)),
    ],
)
def test_down_removes_what_is_ours(network: Network, found: Bridge | None, force: bool, steps: tuple[Any, ...]) -> None:
    assert down(network, found, force=force) == steps


def test_down_names_the_ports_that_are_in_use() -> None:
    with pytest.raises(Refused, match="lan is in use") as refused:
        down(LAN, OURS.but(ports=("tap-vm1", "tap-vm2")), force=False)
    assert refused.value.why == "tap-vm1, tap-vm2 on br0"
    assert "--force lan" in refused.value.hint


@pytest.mark.parametrize("found", [OURS.but(alias=""), OURS.but(kind=""), OURS.but(alias="kvmrun:net:dmz")])
def test_down_never_removes_what_is_not_ours(found: Bridge) -> None:
    with pytest.raises(Refused, match="not ours"):
        down(LAN, found, force=True)


def test_every_step_says_itself() -> None:
    steps = up(LAN, "", None, ())
    assert [str(step) for step in steps][::3] == ["make bridge br0", "set br0 up"]
