"""A whole network as wanted and as found: bridge, settings, rules, names, each only where it is not right."""

from typing import Any

import pytest

from kvmrun.errors import Refused
from kvmrun.model import derive
from kvmrun.model.derive import digest
from kvmrun.model.lab import Lab
from kvmrun.model.network import Network
from kvmrun.model.place import Directories
from kvmrun.model.values import NicName
from kvmrun.plan.facts import Bridge, Owner, Wire
from kvmrun.plan.network import down, names_texts, rules_text, settings, up
from kvmrun.plan.steps import LoadRules, ReloadNames, RemoveBridge, SetSysctl, StartNames, StopNames, WriteNames

WHERE = Directories(vms="/lab", run="/run", state="/state", root=True)
LAN = Network(name=NicName("lan"))
BARE = LAN.but(dhcp=None, dns=None, nat=False)
EXTERNAL = LAN.but(external=True)
MAC = derive.mac("", "bridge", "br0")
OURS = Bridge(kind="bridge", alias="kvmrun:net:lan", mac=MAC, addresses=("192.168.0.254/24",), up=True, mtu=1500)


def lab(network: Network) -> Lab:
    return Lab(directory="/lab", networks={network.name: network})


def wire(network: Network, **changes: Any) -> Wire:
    """Everything as `network` wants it, but for `changes`."""
    whole, now = lab(network), Wire(bridge=OURS, dnsmasq=7)
    files = names_texts(whole, network, WHERE, now) if network.needs_dnsmasq() else {}
    rules, sysctls = digest(rules_text(whole, network)), settings(whole, network, now)
    return now.but(**{"files": files, "rules": rules, "sysctls": sysctls, **changes})


def kinds(steps: tuple[Any, ...]) -> list[str]:
    return [type(step).__name__ for step in steps]


@pytest.mark.parametrize("network", [LAN, BARE.but(nat=True), LAN.but(dhcp=None), LAN.but(isolate=True, mtu=1500)])
def test_nothing_is_done_to_a_network_that_is_right(network: Network) -> None:
    found = wire(network, dnsmasq=7 if network.needs_dnsmasq() else 0)
    assert up(lab(network), network, WHERE, found) == ()


def test_a_network_that_is_not_there_is_made_from_the_bridge_up() -> None:
    steps = kinds(up(lab(LAN), LAN, WHERE, Wire(bridge=None)))
    order = ["MakeBridge", "SetSysctl", "AddAddress", "WriteNames", "StartNames"]
    assert [step for step in dict.fromkeys(steps) if step in order] == order
    assert steps[-1] == "StartNames"


@pytest.mark.parametrize(
    ("network", "changes", "wanted"),
    [
        (LAN, {"rules": ""}, [LoadRules]),
        (LAN, {"rules": "of another time"}, [LoadRules]),
        (LAN, {"dnsmasq": 0}, [StartNames]),
        (LAN, {"files": {}}, [WriteNames, WriteNames, WriteNames, StartNames]),
        (LAN, {"hostname": "another"}, [WriteNames, ReloadNames]),
        (LAN, {"sysctls": {"ipv4/conf/br0/forwarding": "0"}}, [SetSysctl]),
        (LAN, {"sysctls": {}}, []),
        (BARE, {"dnsmasq": 7}, [StopNames]),
    ],
)
def test_only_what_is_wrong_is_done(network: Network, changes: dict[str, Any], wanted: list[type[Any]]) -> None:
    assert kinds(up(lab(network), network, WHERE, wire(network, **changes))) == [kind.__name__ for kind in wanted]


@pytest.mark.parametrize("found", [OURS, OURS.but(alias="", mac="", addresses=(), up=False)])
def test_an_external_network_is_left_as_it_is(found: Bridge) -> None:
    assert up(lab(EXTERNAL), EXTERNAL, WHERE, Wire(bridge=found)) == ()
    assert down(lab(EXTERNAL), EXTERNAL, WHERE, Wire(bridge=found), force=True) == ()


def taken(port: int, address: str, network: Network) -> Wire:
    return wire(network, dnsmasq=0, owners=(Owner(port=port, address=address, process="named"),))


@pytest.mark.parametrize(
    ("port", "address"), [(53, "0.0.0.0"), (53, "::"), (53, "192.168.0.254"), (67, "0.0.0.0"), (67, "192.168.0.254")]
)
def test_a_port_somebody_has_is_a_refusal(port: int, address: str) -> None:
    with pytest.raises(Refused, match=f"port {port} is taken by named") as refused:
        up(lab(LAN), LAN, WHERE, taken(port, address, LAN))
    assert "network.lan" in refused.value.hint


@pytest.mark.parametrize(
    ("port", "address", "network"),
    [(53, "127.0.0.53", LAN), (53, "0.0.0.0", LAN.but(dns=None)), (67, "0.0.0.0", LAN.but(dhcp=None))],
)
def test_a_port_we_do_not_need_may_be_anybodys(port: int, address: str, network: Network) -> None:
    assert kinds(up(lab(network), network, WHERE, taken(port, address, network)))[-1] == "StartNames"


def test_down_takes_everything_away_the_bridge_after_those_who_use_it() -> None:
    steps = kinds(down(lab(LAN), LAN, WHERE, wire(LAN), force=False))
    assert steps == ["StopNames", "DropRules", "RestoreSysctls", "RemoveBridge", "RemoveFiles"]


def test_down_of_nothing_is_nothing() -> None:
    assert down(lab(LAN), LAN, WHERE, Wire(bridge=None), force=False) == ()


def test_down_names_the_ports_that_are_in_use() -> None:
    found = wire(LAN, bridge=OURS.but(ports=("tap-vm1", "tap-vm2")))
    with pytest.raises(Refused, match="lan is in use") as refused:
        down(lab(LAN), LAN, WHERE, found, force=False)
    assert refused.value.why == "tap-vm1, tap-vm2 on br0"
    assert "--force lan" in refused.value.hint
    assert RemoveBridge(name="br0") in down(lab(LAN), LAN, WHERE, found, force=True)


@pytest.mark.parametrize("found", [OURS.but(alias=""), OURS.but(kind=""), OURS.but(alias="kvmrun:net:dmz")])
def test_down_never_touches_what_is_not_ours(found: Bridge) -> None:
    with pytest.raises(Refused, match="not ours"):
        down(lab(LAN), LAN, WHERE, wire(LAN, bridge=found), force=True)
