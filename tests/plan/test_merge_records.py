"""What holds now: records of what runs and what was done over the definitions of today."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from support.builders import LAN, guest, lab_of

from kvmrun.errors import Refused
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import Nic
from kvmrun.model.lab import Lab, Problem
from kvmrun.model.network.network import Uplink
from kvmrun.model.network.network_record import NetworkRecord
from kvmrun.model.paths import Paths
from kvmrun.model.scalars import LinkName, Mac, NicName
from kvmrun.plan import merge_records
from kvmrun.plan.guest.start_plan import launch_record as guest_record
from kvmrun.plan.merge_records import Recorded, merge
from kvmrun.plan.network import uplink_routing
from kvmrun.plan.network.network_plan import record as network_record

WHERE = Paths(vms="/lab", run="/run", state="/state", root=True, lab="/lab")
WAN = Uplink(name=NicName("wan"), interface=LinkName("wan0"), gateway=IPv4Address("10.0.0.1"))


def lab(*guests: Guest, identity: str = "/lab", **keys: Any) -> Lab:
    return lab_of(*guests, directory=identity, identity=identity, **{"uplinks": {"wan": WAN}} | keys)


def started(one: Lab, *names: str) -> dict[str, Record]:
    """The records of guests that were started from that lab."""
    places = one.derived_runtimes(WHERE)
    return {
        name: guest_record(one.guests[name], places[name], (), one.uplinks.get(one.guests[name].uplink or ""))
        for name in names
    }


def brought_up(one: Lab, *names: str) -> dict[str, NetworkRecord]:
    return {name: network_record(one, one.networks[name], WHERE) for name in names or one.networks}


def recorded(one: Lab, *names: str, gone: tuple[str, ...] = ()) -> Recorded:
    return Recorded(guests=started(one, *names), networks=brought_up(one), gone=frozenset(gone))


class TestGuests:
    @pytest.mark.parametrize(
        "today",
        [
            (),
            (guest("a", nic=(Nic(address=IPv4Address("192.168.0.77")),)),),
            (guest("a", nic=(Nic(mac=Mac("52:54:00:00:00:77")), Nic())),),
            (guest("a", uplink=None), guest("0"), guest("1")),
            (guest("z", uplink=NicName("wan")),),
        ],
    )
    def test_one_that_runs_keeps_all_it_was_started_with(self, today: tuple[Guest, ...]) -> None:
        before = lab(guest("a", uplink=NicName("wan")))
        now = merge(lab(*today), recorded(before, "a"))
        assert now.ports()["a"] == before.ports()["a"]
        assert now.uplink_of("a") == "wan"
        assert now.derived_runtimes(WHERE)["a"].uuid == before.derived_runtimes(WHERE)["a"].uuid
        assert {*uplink_routing.rules(now, LAN)} >= {*uplink_routing.rules(before, LAN)}

    def test_an_uplink_that_is_gone_from_the_file_is_that_of_the_start(self) -> None:
        now = merge(lab(uplinks={}), recorded(lab(guest("a", uplink=NicName("wan"))), "a").replace(networks={}))
        assert now.uplinks["wan"] == WAN

    @pytest.mark.parametrize("told", ["", "a", "b", "c"])
    @pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a"), ("b", "c", "a")])
    def test_uplinks_stay_in_the_order_of_the_file(self, names: tuple[str, ...], told: str) -> None:
        """Shorewall's first provider is the one that everybody takes who is told nothing else."""
        uplinks = {name: WAN.replace(name=NicName(name)) for name in names}
        one = lab(guest("g", uplink=NicName(told) if told else None), uplinks=uplinks)
        assert list(merge(one, recorded(one, "g")).uplinks) == list(names)
        assert list(merge(one, recorded(one)).uplinks) == list(names)
        missing = one.replace(uplinks={name: each for name, each in uplinks.items() if name != told})
        assert {*merge(missing, recorded(one, "g")).uplinks} == {*names}

    def test_a_newcomer_that_would_derive_the_same_address_steps_aside(self) -> None:
        names = [f"g{number}" for number in range(300)]
        alone = {name: lab(guest(name)).ports()[name][0].address for name in names}
        first, second = next((a, b) for a in names for b in names if a > b and alone[a] == alone[b])
        before, after = lab(guest(first)), lab(guest(first), guest(second))
        assert after.ports()[second][0].address == alone[first]  # it sorts first, and would take it away
        now = merge(after, recorded(before, first))
        assert now.ports()[first][0].address == alone[first]
        assert now.ports()[second][0].address != alone[first]
        merge_records.refuse_taken(now, second)

    @pytest.mark.parametrize("nic", [Nic(address=IPv4Address("192.168.0.9")), Nic(mac=Mac("52:54:00:00:00:09"))])
    def test_one_that_is_given_what_another_has_is_refused_with_its_name(self, nic: Nic) -> None:
        before = lab(guest("web", nic=(nic.replace(mac=Mac("52:54:00:00:00:09"), address=IPv4Address("192.168.0.9")),)))
        now = merge(lab(guest("mail", nic=(nic,))), recorded(before, "web"))
        assert now.ports()["mail"][0].address is None
        with pytest.raises(Refused, match="mail cannot have") as refused:
            merge_records.refuse_taken(now, "mail")
        assert "web runs with it" in refused.value.reason
        merge_records.refuse_taken(now.replace(now=now.now.without("web")), "mail")

    def test_on_a_network_that_was_begun_anew_it_has_another_address(self) -> None:
        moved = LAN.replace(subnet=IPv4Network("10.7.0.0/24"), bridge=LinkName("br7"))
        now = merge(lab(networks={"lan": moved}), recorded(lab(guest("a")), "a").replace(networks={}))
        (port,) = now.ports()["a"]
        assert (port.bridge, port.subnet) == ("br7", "10.7.0.0/24")
        assert port.address
        assert IPv4Address(port.address) in moved.subnet


FIXED = {
    "subnet": IPv4Network("10.7.0.0/24"),
    "host": IPv4Address("192.168.0.1"),
    "bridge": LinkName("br7"),
    "mtu": 1400,
    "isolate": True,
    "external": True,
}
FREE = {"policy": "open", "guard": "none", "nat": False, "dhcp": None, "dns": None, "uplink": NicName("wan")}


class TestNetworks:
    @pytest.mark.parametrize("key", FIXED)
    def test_what_guests_would_notice_waits_for_them(self, key: str) -> None:
        before, after = lab(guest("a")), lab(guest("a"), networks={"lan": LAN.replace(**{key: FIXED[key]})})
        found = recorded(before, "a")
        assert merge_records.changed(after, found) == {"lan": (key,)}
        now = merge(after, found, {"lan": ("a",)})
        assert now.networks["lan"] == LAN
        with pytest.raises(Refused, match=key) as refused:
            merge_records.refuse_pending(now, "lan")
        assert refused.value.fix.startswith("kvmrun net restart lan")
        assert "a" in refused.value.reason
        merge_records.refuse_pending(merge(after, found), "lan")  # with nobody attached

    @pytest.mark.parametrize("key", FREE)
    def test_what_harms_no_guest_is_in_force_at_once(self, key: str) -> None:
        after = lab(guest("a"), networks={"lan": LAN.replace(**{key: FREE[key]})})
        found = recorded(lab(guest("a")), "a")
        assert merge_records.changed(after, found) == {}
        assert merge(after, found).networks["lan"] == after.networks["lan"]

    def test_one_that_is_no_longer_defined_is_as_it_was_brought_up(self) -> None:
        now = merge(lab(networks={}), recorded(lab(guest("a")), "a"))
        assert (now.networks["lan"], now.now.undefined) == (LAN, ("lan",))

    def test_with_a_file_that_cannot_be_read_it_is_filtered_as_before(self) -> None:
        broken = lab(networks={}, problems=(Problem(file="networks.toml", key="", found="", wanted="TOML"),))
        assert merge(broken, recorded(lab(firewall="shorewall"))).firewall == "shorewall"

    def test_what_follows_from_the_seed_is_as_it_was(self) -> None:
        before, after = lab(seed="one"), lab(seed="other")
        now = merge(after, recorded(before))
        assert now.bridge_mac(LAN) == before.bridge_mac(LAN) != after.bridge_mac(LAN)
        assert now.dnsmasq_uid("lan") == before.dnsmasq_uid("lan") != after.dnsmasq_uid("lan")


class TestLabs:
    def test_what_another_lab_has_is_told_and_not_taken_over(self) -> None:
        other = lab(guest("a"), identity="/other")
        now = merge(lab(guest("a"), guest("b")), recorded(other, "a"))
        assert now.now.running == now.now.up == {}
        assert now.now.guests_elsewhere == {"a": "/other"}
        with pytest.raises(Refused, match="up for another lab") as refused:
            merge_records.refuse_elsewhere(now, "lan")
        assert "/other" in refused.value.reason
        assert "kvmrun -C /other" in refused.value.fix

    @pytest.mark.parametrize(
        ("was", "gone", "own"),
        [("", (), True), ("/lab", (), True), ("/moved", ("/moved",), True), ("/moved", (), False)],
        ids=["0.1.0", "this lab", "moved", "another"],
    )
    def test_records_without_a_lab_or_of_one_that_was_moved_are_adopted(
        self, was: str, gone: tuple[str, ...], own: bool
    ) -> None:
        now = merge(lab(guest("a")), recorded(lab(guest("a"), identity=was), "a", gone=gone))
        assert ("a" in now.now.running, "lan" in now.now.up) == (own, own)

    def test_they_are_not_adopted_by_a_lab_that_does_not_define_them(self) -> None:
        found = recorded(lab(guest("a"), identity="/moved"), "a", gone=("/moved",))
        now = merge(lab(guest("b"), networks={}), found)
        assert (now.now.running, now.now.up, now.now.guests_elsewhere) == ({}, {}, {})
        assert merge(lab(guest("a", uuid="6b766d72-756e-4d8a-9c0e-5b3f1d2a7c64")), found).now.running == {}

    def test_a_broken_file_still_adopts_its_guest(self) -> None:
        found = recorded(lab(guest("a"), identity=""), "a")
        assert "a" in merge(lab(invalid=("a",)), found).now.running
