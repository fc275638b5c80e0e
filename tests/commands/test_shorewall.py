"""The example lab under the real Shorewall, in a namespace, with the hosts of its providers around it."""

import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from fakes.cli import Cli
from fakes.elsewhere import elsewhere
from fakes.hosts import Host, fetch, host, served
from fakes.world import ip, until

SHOREWALL = shutil.which("shorewall", path="/usr/sbin:/sbin:/usr/bin")
EXAMPLE = Path(__file__).parents[2] / "vms.d"
WORLD = "198.51.100.1"
README = Path(__file__).parents[2] / "README.md"
ONE, TWO = re.findall(r"```toml\n(firewall = \"shorewall\"\n.*?)```", README.read_text(), re.DOTALL)
"""The recipes people are given."""
TWO_WIRES = """
firewall = "shorewall"
[network.lan]
[uplink.linksys]
interface = "wlan0"
gateway = "172.20.1.1"
table = 101
[uplink.firewall]
interface = "eth0"
gateway = "192.168.1.254"
table = 102
"""
"""What Ursa had before that."""
MORE = """
[network.office]
bridge = "br2"
subnet = "10.2.0.0/24"
nat = false
[network.dmz]
bridge = "br1"
subnet = "10.1.0.0/24"
isolate = true
policy = "open"
ipv6 = "fd00:7::/64"
"""

pytestmark = [
    pytest.mark.usefixtures("netns", "tun"),
    pytest.mark.skipif(not SHOREWALL, reason="needs shorewall: apt install shorewall"),
]


@pytest.fixture(autouse=True)
def example(netns: None, lab: Path) -> Iterator[None]:
    for path in EXAMPLE.iterdir():
        shutil.copyfile(path, lab / path.name)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib/shorewall"], check=True)
    yield
    subprocess.run([str(SHOREWALL), "clear"], capture_output=True, check=False, timeout=60)
    subprocess.run(["umount", "/var/lib/shorewall"], check=True)


@pytest.fixture
def files(own_directories: Path) -> Path:
    return own_directories / "shorewall"


@pytest.fixture
def started(kvmrun: Cli, demo: str, own_directories: Path) -> None:
    """Real guests can be started."""
    (own_directories / "state").mkdir()
    (own_directories / "state/images").symlink_to(demo)
    kvmrun.limit = 200


@contextmanager
def office(*gateways: str) -> Iterator[list[Host]]:
    """Ursa's wire: our eth0 is 172.20.1.130, and on it are the gateways .1 and .254, all of them ways to one world."""
    with ExitStack() as stack:
        switch = stack.enter_context(host("eth0"))  # in a namespace of its own: Shorewall would filter its frames
        switch("ip", "link", "add", "sw", "up", "type", "bridge", "forward_delay", "0")
        switch("ip", "link", "set", "eth0", "master", "sw")
        ip("address", "add", "172.20.1.130/24", "dev", "eth0")
        found = []
        for name, address in zip(gateways, ("172.20.1.1", "172.20.1.254"), strict=False):
            one = stack.enter_context(host(name, address=f"{address}/24"))
            ip("link", "set", name, "netns", f"/proc/{os.getpid()}/fd/{switch.fd}")
            switch("ip", "link", "set", name, "master", "sw", "up")
            one("ip", "address", "add", f"{WORLD}/32", "dev", "lo")
            one("ip", "route", "add", "192.168.0.0/24", "via", "172.20.1.130")  # as a stranger would try
            stack.enter_context(served(one))
            until(partial(page, address))
            found.append(one)
        yield found


def page(address: str) -> str:
    """The page there as this host sees it."""
    with socket.socket() as at:
        at.settimeout(1.0)
        return fetch(at, address)


def seen(guest: str, address: str = WORLD) -> str:
    """The page at `address` as a guest sees it, or why it does not."""
    try:
        answer = urllib.request.urlopen(f"http://{guest}/cgi-bin/get?{address}", timeout=30)
    except urllib.error.HTTPError as why:
        answer = why
    with answer:
        return str(answer.read().decode()).strip()


def shorewall(verb: str, files: Path) -> str:
    words = [str(SHOREWALL), verb, str(files)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def in_the_way(kvmrun: Cli) -> list[str]:
    """What the doctor finds in the way of the networks."""
    found = kvmrun("doctor", "--timeout", "0.1", "-o", "json").json()["findings"]
    return [one["text"] for one in found if one["level"] == "problem" and one["subject"] != "kvm"]


def tables() -> str:
    return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("networks", "uplink"),
    [(ONE, ""), (TWO, "avvanta"), (TWO_WIRES, "firewall"), (ONE + MORE, "")],
    ids=["single", "shared", "two wires", "more"],
)
def test_it_takes_the_files(lab: Path, kvmrun: Cli, files: Path, networks: str, uplink: str) -> None:
    (lab / "networks.toml").write_text(networks)
    (lab / "vm2.toml").write_text((f'uplink = "{uplink}"\n' if uplink else "") + (lab / "vm2.toml").read_text())
    with office("comcast", "avvanta"):
        kvmrun.ok("export", "shorewall", str(files))
    out = shorewall("check", files)
    assert "Shorewall configuration verified" in out
    assert "WARNING" not in out


def test_a_provider_that_does_not_answer_is_told_before_shorewall_finds_out(
    lab: Path, kvmrun: Cli, files: Path
) -> None:
    (lab / "networks.toml").write_text(TWO)
    with office("comcast"):
        said = kvmrun.ok("export", "shorewall", str(files)).err
    assert "uplink avvanta: 172.20.1.254 on eth0 does not answer; Shorewall will not start without it" in said
    assert "comcast" not in said


@pytest.mark.slow
@pytest.mark.usefixtures("started")
def test_guests_reach_out_masqueraded_and_nobody_reaches_in(lab: Path, kvmrun: Cli, files: Path) -> None:
    (lab / "networks.toml").write_text(ONE)
    with office("isp") as (isp,):
        ip("route", "add", "default", "via", "172.20.1.1")
        kvmrun.ok("net", "up")
        kvmrun.ok("export", "shorewall", str(files))
        assert "done." in shorewall("start", files)
        kvmrun.ok("ursa-vm1", "vm2", "--accel", "tcg", "--wait=console:ready", "--timeout", "120")
        assert seen("192.168.0.1") == "you are 172.20.1.130 at isp"
        assert seen("192.168.0.2") == "you are 172.20.1.130 at isp"
        assert seen("192.168.0.2", "192.168.0.1") == "I am ursa-vm1"
        assert seen("192.168.0.2", "ursa-vm1") == "I am ursa-vm1"
        assert not isp.reaches("192.168.0.1")
        assert isp.page("172.20.1.130", 8080) == "I am ursa-vm1"
        assert kvmrun.ok("net", "status").out.startswith("lan: up\n")
        assert "kvmrun_lan" not in tables()
        assert in_the_way(kvmrun) == []


@pytest.mark.slow
@pytest.mark.usefixtures("started")
def test_two_gateways_on_one_wire(lab: Path, kvmrun: Cli, files: Path) -> None:
    """Ursa's form, from the lab alone: one provider is everybody's, and one guest is told to take the other."""
    (lab / "networks.toml").write_text(TWO)
    (lab / "vm2.toml").write_text(f'uplink = "avvanta"\n{(lab / "vm2.toml").read_text()}')
    with office("comcast", "avvanta") as (comcast, avvanta):
        kvmrun.ok("net", "up")
        kvmrun.ok("export", "shorewall", str(files))
        assert "192.168.0.2\t-\tavvanta\t1001" in (files / "rtrules").read_text()
        assert "done." in shorewall("start", files)
        kvmrun.ok("ursa-vm1", "vm2", "--accel", "tcg", "--wait=console:ready", "--timeout", "120")
        assert seen("192.168.0.1") == "you are 172.20.1.130 at comcast"
        assert seen("192.168.0.2") == "you are 172.20.1.130 at avvanta"
        assert seen("192.168.0.1", "192.168.0.2") == "I am vm2"
        assert not comcast.reaches("192.168.0.1")
        assert not avvanta.reaches("192.168.0.2")
        status = kvmrun.ok("net", "status").out
        assert "egress   eth0 via 172.20.1.1 (comcast): ursa-vm1 (192.168.0.1), vm3 (192.168.0.3)" in status
        assert "egress   eth0 via 172.20.1.254 (avvanta): vm2 (192.168.0.2)" in status
        assert in_the_way(kvmrun) == []


def test_of_two_wires_one_may_be_absent(lab: Path, kvmrun: Cli, files: Path) -> None:
    (lab / "networks.toml").write_text(TWO_WIRES)
    (lab / "vm2.toml").write_text(f'uplink = "linksys"\n{(lab / "vm2.toml").read_text()}')
    with host("eth0", address="192.168.1.254/24") as isp, ExitStack() as stack:
        ip("address", "add", "192.168.1.5/24", "dev", "eth0")
        isp("ip", "address", "add", f"{WORLD}/32", "dev", "lo")
        stack.enter_context(served(isp))
        kvmrun.ok("net", "up")
        kvmrun.ok("export", "shorewall", str(files))
        assert "done." in shorewall("start", files)
        for number in (1, 2):
            vm = stack.enter_context(host(f"v{number}", bridge="br0", address=f"192.168.0.{number}/24"))
            vm("ip", "route", "add", "default", "via", "192.168.0.254")
            assert vm.page(WORLD) == "you are 192.168.1.5 at eth0"
        status = kvmrun.ok("net", "status").out
        assert "by eth0 via 192.168.1.254 (firewall), not by linksys as told: vm2 (192.168.0.2)" in status
        assert "warning  uplink linksys of 192.168.0.2: wlan0 is not there or down" in status


def test_a_stricter_policy_leaves_guests_addresses_and_names(lab: Path, kvmrun: Cli, files: Path) -> None:
    (lab / "networks.toml").write_text(ONE)
    with elsewhere("vm1", "vm2") as (vm1, vm2):
        ip("link", "add", "eth0", "type", "veth", "peer", "name", "isp")
        kvmrun.ok("net", "up")
        kvmrun.ok("export", "shorewall", str(files))
        policy = (files / "policy").read_text()
        assert "lan\tall\tACCEPT" in policy
        (files / "policy").write_text(policy.replace("lan\tall\tACCEPT", "lan\tnet\tACCEPT"))
        vm1.plugged("br0", "192.168.0.1/24", via="192.168.0.254")
        vm2.plugged("br0")
        shorewall("start", files)
        assert vm1.asks("vm2", "192.168.0.254") == "192.168.0.2"
        assert vm1.hears("192.168.0.254", 22).endswith("refused")
        assert vm2.is_offered() in {f"192.168.0.{last}" for last in range(200, 220)}
