"""A bridge as wanted, a bridge as found: the steps between them, or the refusal."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

import pytest
from support.builders import BRIDGE, LAN

from kvmrun.errors import Refused
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.plan.host_facts import Bridge, Route
from kvmrun.plan.network.bridge_plan import accept_external, address_steps, bridge_steps
from kvmrun.plan.steps.network_steps import AddAddress, MakeBridge, NetworkStep, RemoveAddress, SetBridge, SetLinkUp

MADE = MakeBridge(name="br0", alias="kvmrun:net:lan")
SET = SetBridge(name="br0", mac=BRIDGE.mac, mtu=1500)
GIVEN = AddAddress(link="br0", address="192.168.0.254/24")
UP = SetLinkUp(link="br0")


def right(network: Network, found: Bridge | None, routes: Iterable[Route] = ()) -> list[NetworkStep]:
    return [*bridge_steps(Lab(directory="/lab"), network, found, routes), *address_steps(network, found)]


def elsewhere(*destinations: str) -> list[Route]:
    return [Route(destination=one, link="eth0") for one in destinations]


@pytest.mark.parametrize(
    ("network", "found", "steps"),
    [
        (LAN, None, (MADE, SET, GIVEN, UP)),
        (LAN, BRIDGE, ()),
        (LAN, BRIDGE.replace(ports=("tap-vm1",)), ()),
        (LAN, BRIDGE.replace(mac="52:54:00:00:00:01"), (SET,)),
        (LAN, BRIDGE.replace(mtu=9000), (SET,)),
        (LAN, BRIDGE.replace(stp=True), (SET,)),
        (LAN, BRIDGE.replace(forward_delay=1500), (SET,)),
        (LAN, BRIDGE.replace(addresses=()), (GIVEN,)),
        (LAN, BRIDGE.replace(addresses=("10.0.0.1/8",)), (RemoveAddress(link="br0", address="10.0.0.1/8"), GIVEN)),
        (
            LAN,
            BRIDGE.replace(
                addresses=("192.168.0.254/24", "192.168.0.1/24")
            ),  # ours may have been the other's secondary
            (RemoveAddress(link="br0", address="192.168.0.1/24", keeps=("192.168.0.254/24",)),),
        ),
        (
            LAN,
            BRIDGE.replace(addresses=("192.168.0.254/24", "10.0.0.1/8", "fd00::1/64")),
            (RemoveAddress(link="br0", address="10.0.0.1/8"), RemoveAddress(link="br0", address="fd00::1/64")),
        ),
        (
            LAN,
            BRIDGE.replace(addresses=("192.168.0.254/16",)),
            (RemoveAddress(link="br0", address="192.168.0.254/16"), GIVEN),
        ),
        (LAN, BRIDGE.replace(up=False), (UP,)),
        (LAN, BRIDGE.replace(mac="", addresses=(), up=False), (SET, GIVEN, UP)),
        (LAN.replace(mtu=9000), BRIDGE, (SET.replace(mtu=9000),)),
        (
            LAN.replace(host=IPv4Address("192.168.0.1")),
            BRIDGE.replace(addresses=()),
            (GIVEN.replace(address="192.168.0.1/24"),),
        ),
        (LAN.replace(ipv6=IPv6Network("fd00:77::/64")), BRIDGE, (GIVEN.replace(address="fd00:77::1/64"),)),
    ],
)
def test_only_what_is_wrong_is_done(network: Network, found: Bridge | None, steps: tuple[Any, ...]) -> None:
    done = [one.replace(differs=()) if isinstance(one, SetBridge) else one for one in right(network, found)]
    assert tuple(done) == steps


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (BRIDGE.replace(alias=""), "bridge without our mark"),
        (BRIDGE.replace(alias="my bridge"), "bridge without our mark"),
        (BRIDGE.replace(alias="kvmrun:net:dmz"), "another network's: kvmrun:net:dmz"),
        (BRIDGE.replace(kind=""), "physical interface"),
        (BRIDGE.replace(kind="tun"), "it is a tun"),
    ],
)
def test_what_is_not_ours_is_refused(found: Bridge, reason: str) -> None:
    with pytest.raises(Refused, match="br0 exists and is not ours") as refused:
        right(LAN, found)
    assert reason in refused.value.reason
    assert "network.lan" in refused.value.fix


@pytest.mark.parametrize(
    ("found", "message", "reason"),
    [
        (None, "br0 does not exist", "never made by us"),
        (BRIDGE.replace(kind=""), "br0 is not a bridge", "physical"),
        (BRIDGE.replace(kind="vlan"), "br0 is not a bridge", "vlan"),
    ],
)
def test_an_external_bridge_must_be_one(found: Bridge | None, message: str, reason: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        accept_external(LAN, found)
    assert reason in refused.value.reason
    assert "network.lan" in refused.value.fix


def test_an_external_bridge_is_taken_as_it_is() -> None:
    accept_external(LAN, BRIDGE.replace(alias="", mac="", addresses=(), up=False))


@pytest.mark.parametrize(
    "taken", ["192.168.0.0/24", "192.168.0.128/25", "192.168.0.254/32", "192.168.0.0/16", "128.0.0.0/1"]
)
def test_a_subnet_the_host_reaches_elsewhere_is_refused(taken: str) -> None:
    with pytest.raises(Refused, match=r"subnet 192.168.0.0/24 of network lan overlaps") as refused:
        right(LAN, None, elsewhere("10.0.0.0/8", taken))
    assert f"{taken} through eth0" in refused.value.reason


def test_the_subnet_it_proposes_is_free() -> None:
    with pytest.raises(Refused) as refused:
        right(LAN, None, elsewhere("192.168.0.0/24", "192.168.100.0/22"))
    assert refused.value.fix.endswith("192.168.104.0/24")


def test_with_all_of_192_168_taken_it_looks_further() -> None:
    with pytest.raises(Refused, match="overlaps") as refused:
        right(LAN, None, elsewhere("192.168.0.0/16"))
    assert not IPv4Network(refused.value.fix.split()[-1]).overlaps(IPv4Network("192.168.0.0/16"))


@pytest.mark.parametrize("route", [*elsewhere("192.168.1.0/24"), Route(destination="192.168.0.0/24", link="br0")])
def test_a_route_that_is_not_in_the_way_is_none_of_ours(route: Route) -> None:
    assert right(LAN, None, [route])[0] == MADE


def test_every_step_says_itself() -> None:
    assert [str(step) for step in right(LAN, None)][::3] == ["make bridge br0", "set br0 up"]
