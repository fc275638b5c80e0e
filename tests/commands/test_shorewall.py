"""The example lab under the real Shorewall, in a namespace, with the hosts of its providers around it."""

import json
import os
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from support.cli import Cli, has_line
from support.hosts import Host, ask, fetch, guest_host, host, served
from support.lan import forwarding
from support.world import ip, run_nft, until

from kvmrun.cli.manual_pages import topics

SHOREWALL = shutil.which("shorewall", path="/usr/sbin:/sbin:/usr/bin")
EXAMPLE = Path(__file__).parents[2] / "vms.d"
WORLD = "198.51.100.1"
PAGE = topics.find("firewalls", "help").markdown()
ONE, TWO = re.findall(r"```toml\n(firewall = \"shorewall\"\n.*?)```", PAGE, re.DOTALL)
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
    with (lab / "defaults.toml").open("a") as defaults:
        defaults.write('accel = "tcg"\n')
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
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return str(answer.read().decode()).strip()


def shorewall(verb: str, files: Path) -> str:
    """What Shorewall says; what it has started it stops without being told the files."""
    words = [str(SHOREWALL), verb, *([str(files)] if verb != "stop" else [])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def in_the_way(kvmrun: Cli) -> list[str]:
    """What the doctor finds in the way of the networks."""
    found = kvmrun("doctor", "-o", "json").json()["findings"]
    texts = [one["text"] for one in found if one["level"] == "problem" and one["subject"] != "kvm"]
    return [text for text in texts if not text.startswith("the name server")]  # none of these worlds has any


def provider(kvmrun: Cli, name: str) -> tuple[bool, bool]:
    """Whether Shorewall has it enabled, and whether it answers."""
    network = kvmrun.network()
    (state,) = (one for one in network["providers"] if one.startswith(f"{name}:"))
    return ", enabled," in state, state.endswith(", answers")


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
    assert (has_line(said, "avvanta", "172.20.1.254", "eth0"), "comcast" in said) == (True, False)


@pytest.mark.slow
@pytest.mark.usefixtures("started")
def test_guests_reach_out_masqueraded_and_nobody_reaches_in(lab: Path, kvmrun: Cli, files: Path) -> None:
    (lab / "networks.toml").write_text(ONE)
    with office("isp") as (isp,):
        ip("route", "add", "default", "via", "172.20.1.1")
        kvmrun.ok("net", "up")
        kvmrun.ok("export", "shorewall", str(files))
        assert "done." in shorewall("start", files)
        kvmrun.ok("ursa-vm1", "vm2", "--wait=console:ready", "--timeout", "120")
        assert seen("192.168.0.1") == "you are 172.20.1.130 at isp"
        assert seen("192.168.0.2") == "you are 172.20.1.130 at isp"
        assert seen("192.168.0.2", "192.168.0.1") == "I am ursa-vm1"
        assert seen("192.168.0.2", "ursa-vm1") == "I am ursa-vm1"
        assert not isp.reaches("192.168.0.1")
        assert isp.page("172.20.1.130", 8080) == "I am ursa-vm1"
        assert kvmrun.ok("net", "status").out.startswith("lan: up\n")
        assert "kvmrun_lan" not in run_nft("list", "tables")
        assert in_the_way(kvmrun) == []


def test_two_gateways_on_one_wire(lab: Path, kvmrun: Cli, files: Path) -> None:
    """Ursa's form, from the lab alone: one provider is everybody's, and one guest is told to take the other."""
    (lab / "networks.toml").write_text(TWO)
    (lab / "vm2.toml").write_text(f'uplink = "avvanta"\n{(lab / "vm2.toml").read_text()}')
    with office("comcast", "avvanta") as (comcast, avvanta):
        kvmrun.ok("net", "up")
        kvmrun.ok("export", "shorewall", str(files))
        assert "192.168.0.2\t-\tavvanta\t11001" in (files / "rtrules").read_text()
        assert "done." in shorewall("start", files)
        with plugged(1, 2) as (vm1, vm2):
            assert vm1.page(WORLD) == "you are 172.20.1.130 at comcast"
            assert vm2.page(WORLD) == "you are 172.20.1.130 at avvanta"
            assert vm1.page("192.168.0.2") == "you are 192.168.0.1 at v2"
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
        assert has_line(status, "egress", "eth0 via 192.168.1.254 (firewall)", "linksys", "vm2")
        assert has_line(status, "warning", "linksys", "192.168.0.2", "wlan0")


def test_a_stricter_policy_leaves_guests_addresses_and_names(lab: Path, kvmrun: Cli, files: Path) -> None:
    (lab / "networks.toml").write_text(ONE)
    with ExitStack() as stack:
        ip("link", "add", "eth0", "type", "veth", "peer", "name", "isp")
        kvmrun.ok("net", "up")
        kvmrun.ok("export", "shorewall", str(files))
        policy = (files / "policy").read_text()
        assert "lan\tall\tACCEPT" in policy
        (files / "policy").write_text(policy.replace("lan\tall\tACCEPT", "lan\tnet\tACCEPT"))
        vm1, vm2 = stack.enter_context(guest_host(1)), stack.enter_context(host("port2", bridge="br0"))
        shorewall("start", files)
        assert ask("192.168.0.254", "vm2", at=vm1.socket(socket.SOCK_DGRAM)) == ["192.168.0.2"]
        with vm1.socket() as at, pytest.raises(ConnectionRefusedError):
            at.connect(("192.168.0.254", 22))
        assert vm2.lease()["ip"] in {f"192.168.0.{last}" for last in range(200, 220)}


@contextmanager
def two_wires() -> Iterator[list[Host]]:
    """The providers of TWO_WIRES, each on an interface of its own, and a client at WORLD behind each."""
    with ExitStack() as stack:
        found = []
        for link, own, gateway in (("wlan0", "172.20.1.130", "172.20.1.1"), ("eth0", "192.168.1.5", "192.168.1.254")):
            one = stack.enter_context(host(link, address=f"{gateway}/24"))
            ip("address", "add", f"{own}/24", "dev", link)
            one("ip", "address", "add", f"{WORLD}/32", "dev", "lo")
            one("ip", "route", "add", "192.168.0.0/24", "via", own)
            stack.enter_context(served(one))
            found.append(one)
        yield found


@contextmanager
def plugged(*numbers: int) -> Iterator[list[Host]]:
    """Hosts with the addresses of guests on br0, each with a page."""
    with ExitStack() as stack:
        found = []
        for number in numbers:
            vm = stack.enter_context(host(f"v{number}", bridge="br0", address=f"192.168.0.{number}/24"))
            vm("ip", "route", "add", "default", "via", "192.168.0.254")
            stack.enter_context(served(vm))
            found.append(vm)
        forwarding(*(f"v{number}" for number in numbers))
        yield found


def from_world(one: Host, address: str, port: int) -> str:
    """What a client with an address of the world sees at a port of this host."""
    with one.socket(limit=3.0) as at:
        at.bind((WORLD, 0))
        return fetch(at, address, port)


FORWARD = 'forward = ["tcp 8080 -> vm2:80"]\n'


@pytest.mark.parametrize("wires", ["two", "one"])
def test_an_answer_leaves_where_the_request_came_in(lab: Path, kvmrun: Cli, files: Path, wires: str) -> None:
    """Whatever uplink the guest is told to take, which it takes for what it begins itself."""
    networks, told = (TWO, "avvanta") if wires == "one" else (TWO_WIRES, "firewall")
    (lab / "networks.toml").write_text(networks.replace("[network.lan]\n", f"[network.lan]\n{FORWARD}"))
    (lab / "vm2.toml").write_text(f'uplink = "{told}"\n{(lab / "vm2.toml").read_text()}')
    with ExitStack() as stack:
        isps = stack.enter_context(office("comcast", "avvanta") if wires == "one" else two_wires())
        own = ["172.20.1.130", "172.20.1.130" if wires == "one" else "192.168.1.5"]
        kvmrun.ok("net", "up")
        assert "192.168.0.2" not in subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout
        kvmrun.ok("export", "shorewall", str(files))
        shorewall("start", files)
        vm1, vm2 = stack.enter_context(plugged(1, 2))
        for isp, address in zip(isps, own, strict=True):
            assert from_world(isp, address, 8080) == f"you are {WORLD} at v2"
        assert vm2.page(WORLD) == f"you are {own[1]} at {isps[1].link}"
        assert vm1.page(WORLD) == f"you are {own[0]} at {isps[0].link}"
        for isp, address in zip(isps, own, strict=True):
            assert from_world(isp, address, 8080) == f"you are {WORLD} at v2"


def test_of_two_providers_one_dies(lab: Path, kvmrun: Cli, files: Path) -> None:
    """The doctor says which, and what takes it out; nobody is told to put a route into table main."""
    (lab / "networks.toml").write_text(TWO_WIRES)
    with two_wires() as (linksys, _):
        kvmrun.ok("net", "up")
        kvmrun.ok("export", "shorewall", str(files))
        shorewall("start", files)
        assert provider(kvmrun, "linksys") == (True, True)
        linksys("ip", "address", "flush", "dev", "eth0")
        ip("neigh", "flush", "all")
        found = json.loads(kvmrun("doctor", "-o", "json").out)["findings"]
        (dead,) = [one for one in found if one["subject"] == "uplink linksys"]
        assert (dead["level"], dead["fix"]) == ("problem", "shorewall disable wlan0")
        assert not [one for one in found if "ip route" in one["fix"]]
        assert provider(kvmrun, "linksys") == (True, False)
        subprocess.run([str(SHOREWALL), "disable", "wlan0"], check=True, capture_output=True)
        found = json.loads(kvmrun("doctor", "-o", "json").out)["findings"]
        assert not [one for one in found if one["level"] == "problem" and "uplink" in one["subject"]]
        assert provider(kvmrun, "linksys") == (False, False)
        ip("route", "add", "default", "via", "192.168.1.254", "dev", "eth0")
        (beside,) = in_the_way(kvmrun)
        assert has_line(beside, "table main", "via 192.168.1.254 dev eth0")
        shorewall("restart", files)
        assert not [one for one in in_the_way(kvmrun) if "table main" in one]
        subprocess.run(["iptables", "-I", "OUTPUT", "-o", "br0", "-j", "DROP"], check=True)
        assert any("ip filter OUTPUT" in one for one in in_the_way(kvmrun))


def test_a_gateway_that_is_silent_does_not_keep_shorewall_from_its_start(lab: Path, kvmrun: Cli, files: Path) -> None:
    """Its MAC is in the file: as the kernel knew it when the file was written, or as the lab gives it."""
    (lab / "networks.toml").write_text(TWO)
    with office("comcast", "avvanta") as (_, avvanta):
        mac = avvanta("ip", "-br", "link", "show", "eth0").split()[2]
        kvmrun.ok("export", "shorewall", str(files))
        assert f"172.20.1.254,{mac}" in (files / "providers").read_text()
        avvanta("ip", "link", "set", "eth0", "down")
        ip("neigh", "flush", "dev", "eth0")
        shutil.rmtree(files)
        given = TWO.replace('gateway = "172.20.1.254"\n', f'gateway = "172.20.1.254"\ngateway_mac = "{mac}"\n')
        (lab / "networks.toml").write_text(given)
        assert "avvanta" not in kvmrun.ok("export", "shorewall", str(files)).err
        kvmrun.ok("net", "up")
        assert "done." in shorewall("start", files)


def test_stopped_it_is_closed_to_the_world_and_open_to_guests(lab: Path, kvmrun: Cli, files: Path) -> None:
    (lab / "networks.toml").write_text(ONE.replace("ursa-vm1", "vm2"))
    with office("isp") as (isp,), ExitStack() as stack:
        ip("route", "add", "default", "via", "172.20.1.1")
        kvmrun.ok("net", "up")
        kvmrun.ok("export", "shorewall", str(files))
        shorewall("start", files)
        vm1, vm2 = stack.enter_context(plugged(1, 2))
        assert vm1.page(WORLD) == "you are 172.20.1.130 at isp"
        with vm1.socket(socket.SOCK_DGRAM) as open_before, isp.socket(socket.SOCK_DGRAM) as there:
            there.bind((WORLD, 7))
            open_before.sendto(b"before", (WORLD, 7))
            _, known = there.recvfrom(100)
            assert known[0] == "172.20.1.130"
            shorewall("stop", files)
            open_before.sendto(b"after", (WORLD, 7))
            there.settimeout(1.0)
            with suppress(TimeoutError):
                assert there.recvfrom(100)[1] == known  # as before, or not at all: never with a guest's own address
        assert not vm1.reaches(WORLD)
        assert not isp.reaches("192.168.0.1")
        assert not isp.reaches("172.20.1.130", 8080)
        assert ask("192.168.0.254", "vm2", at=vm1.socket(socket.SOCK_DGRAM)) == ["192.168.0.2"]
        assert vm1.page("192.168.0.2") == "you are 192.168.0.1 at v2"
        assert page("192.168.0.2") == "you are 192.168.0.254 at v2"
        assert vm2.lease()["ip"]


SAMPLE = Path("/usr/share/doc/shorewall/examples/two-interfaces")


def by_hand(files: Path) -> None:
    """A configuration as somebody writes one who begins with Shorewall's own example."""
    files.mkdir()
    for name in ("interfaces", "policy", "rules", "snat", "stoppedrules", "zones", "shorewall.conf"):
        shutil.copyfile(SAMPLE / name, files / name)
    (files / "interfaces").write_text((files / "interfaces").read_text().replace("physical=eth1", "physical=br0"))
    (files / "shorewall.conf").write_text((SAMPLE / "shorewall.conf").read_text().replace("ENABLED=No", "ENABLED=Yes"))


def added(files: Path, said: str) -> None:
    """Do with the lines what is said above them."""
    for part in said.split("### ")[1:]:
        path, _, lines = part.partition("\n")
        text = Path(path).read_text() if Path(path).exists() else ""
        for name in re.findall(r"in place of the line of (\w+)", lines):
            text = re.sub(rf"(?m)^\w+\s+{name}\s.*$", "", text)
        Path(path).write_text(f"{text}\n{lines}")


@pytest.mark.skipif(not SAMPLE.exists(), reason="needs shorewall's examples")
def test_lines_for_a_configuration_that_somebody_wrote(lab: Path, kvmrun: Cli, files: Path) -> None:
    """What it lacks is found by the doctor, printed, and enough; what it has is not printed again."""
    by_hand(files)
    before = {path.name: path.read_text() for path in files.iterdir()}
    (lab / "networks.toml").write_text(ONE.replace("ursa-vm1", "vm2"))
    with office("isp") as (isp,), ExitStack() as stack:
        ip("route", "add", "default", "via", "172.20.1.1")
        kvmrun.ok("net", "up")
        vm1, _ = stack.enter_context(plugged(1, 2))
        shorewall("start", files)
        with pytest.raises(OSError, match="refused"), vm1.socket(socket.SOCK_DGRAM) as at:
            ask("192.168.0.254", "vm2", at=at)
        assert not isp.reaches("172.20.1.130", 8080)
        found = json.loads(kvmrun("doctor", "-o", "json").out)["findings"]
        permanent = [one["permanent"] for one in found if " drops " in one["text"]]
        assert len(permanent) > 1
        assert set(permanent) == {"kvmrun export shorewall --lines"}
        said = kvmrun.ok("export", "shorewall", "--lines", str(files)).out
        assert {path.name: path.read_text() for path in files.iterdir()} == before
        assert "DNS(ACCEPT)\tloc\t$FW" in said
        assert "DNAT\tnet\tloc:192.168.0.2:80\ttcp\t8080" in said
        assert "routeback,dhcp" in said
        assert "MASQUERADE" not in said
        added(files, said)
        shorewall("restart", files)
        assert ask("192.168.0.254", "vm2", at=vm1.socket(socket.SOCK_DGRAM)) == ["192.168.0.2"]
        assert isp.page("172.20.1.130", 8080) == "you are 172.20.1.1 at v2"
        assert vm1.page(WORLD) == "you are 172.20.1.130 at isp"
        assert in_the_way(kvmrun) == []
        assert kvmrun.ok("export", "shorewall", "--lines", str(files)).out == ""
