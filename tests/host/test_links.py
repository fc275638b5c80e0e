"""Links by two ways, ioctl and netlink: they see the same and leave the same."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.world import ip, link

from kvmrun.errors import KvmrunError, Refused
from kvmrun.host.links import bridge_state, port_settings, pyroute2_links, tap_device
from kvmrun.plan.steps.guest_steps import PlugTap

pytestmark = pytest.mark.usefixtures("netns", "tun")

MAC = "fe:54:00:00:00:01"
ONE = PlugTap(tap="one", mac=MAC, bridge="br0", alias="kvmrun:vm1:eth0", mtu=1400, isolated=False)


@pytest.fixture
def taps() -> Iterator[list[int]]:
    """Descriptors to be closed."""
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


def settled(name: str) -> dict[str, Any]:
    """A link without its number and what it is called."""
    found = link(name)
    assert found
    slave = found["linkinfo"].get("info_slave_data", {})
    for key in ("port_id", "port_no", "designated_port", "id", "no"):
        slave.pop(key, None)
    return {key: value for key, value in found.items() if key not in {"ifindex", "ifname"}}


class TestBridge:
    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["link set br0 alias kvmrun:net:lan", "link set br0 address 02:00:00:00:00:09", "link set br0 up"],
            ["address add 192.168.0.254/24 dev br0", "link set br0 mtu 1400"],
            ["address add 192.168.0.254/24 dev br0", "address add 10.0.0.1/8 dev br0 label br0:x"],
            ["link set br0 type bridge stp_state 1", "link set br0 type bridge forward_delay 400"],
            ["link add veth0 type veth peer name veth1", "link set veth0 master br0", "link set veth1 master br0"],
        ],
    )
    def test_both_ways_see_the_same(self, words: list[str]) -> None:
        ip("link", "add", "br0", "type", "bridge")
        ip("link", "add", "br00", "type", "bridge")
        ip("address", "add", "172.16.0.1/16", "dev", "br00")
        for line in words:
            ip(*line.split())
        found = bridge_state.read_bridge("br0")
        assert found is not None
        assert found == pyroute2_links.read_bridge("br0")

    def test_both_see_what_is_no_bridge_or_is_not_there(self) -> None:
        ip("link", "add", "br0", "type", "veth", "peer", "name", "other")
        one, other = bridge_state.read_bridge("br0"), pyroute2_links.read_bridge("br0")
        assert one
        assert other
        assert (one.kind, other.kind) == ("virtual", "veth")
        assert bridge_state.read_bridge("br1") is None
        assert pyroute2_links.read_bridge("br1") is None

    def test_sysfs_of_another_namespace_is_not_believed(self) -> None:
        ip("link", "add", "br0", "type", "bridge")
        script = (
            "import subprocess; from kvmrun.host.links import bridge_state, bridges; "
            "subprocess.run(['ip', 'link', 'add', 'x', 'type', 'bridge'], check=True); "
            "subprocess.run(['ip', 'link', 'add', 'br0', 'type', 'bridge', 'stp_state', '1'], check=True); "
            "print(bridges.read('br0').stp)\n"
            "try: bridge_state.read_bridge('br0')\nexcept LookupError: print('another')"
        )
        words = ["unshare", "--net", "--", sys.executable, "-c", script]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split() == ["True", "another"]

    def test_what_was_made_is_what_is_read(self) -> None:
        pyroute2_links.make_bridge("br0", "kvmrun:net:lan")
        pyroute2_links.set_bridge("br0", "52:54:00:00:00:02", 1400)
        pyroute2_links.add_address("br0", "10.7.0.1/24")
        pyroute2_links.set_up("br0")
        found = bridge_state.read_bridge("br0")
        assert found
        assert (found.kind, found.alias, found.mac) == ("bridge", "kvmrun:net:lan", "52:54:00:00:00:02")
        assert (found.addresses, found.up, found.mtu) == (("10.7.0.1/24",), True, 1400)
        assert (found.stp, found.forward_delay, found.ports) == (False, 0, ())
        pyroute2_links.remove_address("br0", "10.7.0.1/24")
        assert pyroute2_links.read_bridge("br0") == found.replace(addresses=())
        pyroute2_links.remove("br0")
        pyroute2_links.remove("br0")
        assert bridge_state.read_bridge("br0") is None

    def test_one_in_use_is_not_removed_by_an_undo(self) -> None:
        pyroute2_links.make_bridge("br0", "x")
        ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        ip("link", "set", "veth0", "master", "br0")
        pyroute2_links.remove_unused("br0")
        assert bridge_state.read_bridge("br0")
        ip("link", "delete", "veth0")
        pyroute2_links.remove_unused("br0")
        assert bridge_state.read_bridge("br0") is None

    def test_the_kernels_refusals_name_the_job(self) -> None:
        pyroute2_links.make_bridge("br0", "x")
        with pytest.raises(KvmrunError, match="br0"):
            pyroute2_links.make_bridge("br0", "x")
        with pytest.raises(KvmrunError, match="br9"):
            pyroute2_links.set_up("br9")
        assert [one for one in os.listdir("/sys/class/net") if one.startswith("new~")] == []

    def test_routes_are_told_but_not_the_default_one(self) -> None:
        ip("link", "add", "wan0", "type", "veth", "peer", "name", "wan1")
        ip("address", "add", "172.20.1.130/24", "dev", "wan0")
        ip("link", "set", "wan0", "up")
        ip("route", "add", "default", "via", "172.20.1.254")
        ip("route", "add", "10.0.0.0/8", "via", "172.20.1.1", "table", "77")
        assert {(one.destination, one.link) for one in pyroute2_links.routes()} == {
            ("172.20.1.0/24", "wan0"),
            ("10.0.0.0/8", "wan0"),
        }


class TestPort:
    def test_both_ways_leave_equal_links(self, taps: list[int]) -> None:
        from pyroute2 import IPRoute

        ip("link", "add", "br0", "type", "bridge")
        ip("link", "set", "br0", "up")
        taps += tap_device.open_tap("one", 1)
        port_settings.configure_port(ONE)
        first = settled("one")
        ip("link", "delete", "one")
        taps += tap_device.open_tap("one", 1)
        with IPRoute() as route:
            number = tap_device.ifindex("one")
            route.link("set", index=number, address=MAC, mtu=1400, ifalias="kvmrun:vm1:eth0")
            route.link("set", index=number, master=tap_device.ifindex("br0"))
            route.link("set", index=number, state="up")
        assert settled("one") == first
        assert tap_device.master("one") == "br0"

    def test_a_tap_goes_with_its_last_descriptor(self) -> None:
        fds = tap_device.open_tap("one", 4)
        assert len(fds) == 4
        for fd in fds:
            assert tap_device.ifindex("one")
            os.close(fd)
        assert not tap_device.ifindex("one")

    def test_a_tap_somebody_holds_is_refused(self, taps: list[int]) -> None:
        taps += tap_device.open_tap("one", 1)
        with pytest.raises(Refused, match="one"):
            tap_device.open_tap("one", 1)

    def test_a_bridge_that_is_not_there_is_told(self, taps: list[int]) -> None:
        taps += tap_device.open_tap("one", 1)
        with pytest.raises(KvmrunError, match="br9"):
            port_settings.configure_port(ONE.replace(bridge="br9"))
        assert tap_device.master("one") == ""


class TestRelease:
    """QEMU 11 has ended a moment before the kernel closes its taps: a thread stands in for the kernel."""

    @pytest.mark.parametrize("persistent", [False, True])
    def test_a_tap_is_waited_for(self, persistent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tap_device, "_RELEASED", 60.0)
        if persistent:
            tap_device.make_persistent("one", 1, os.geteuid())
        [fd] = tap_device.open_tap("one", 1, kept=persistent)
        ip("link", "set", "one", "up")
        closing = threading.Timer(0.1, os.close, [fd])
        closing.start()
        try:
            tap_device.wait_until_released(["one"])
            now = tap_device.persistent_tap("one")
            assert bool(now) == persistent == bool(tap_device.ifindex("one"))
            assert not (now and now.held)
        finally:
            closing.join()

    def test_one_that_stays_is_not_waited_for_without_end(self, taps: list[int]) -> None:
        taps += tap_device.open_tap("one", 1)
        tap_device.wait_until_released(["one", "none"])
        assert tap_device.ifindex("one")
