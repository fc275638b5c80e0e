"""The laptop's network with real Linux guests: addresses, names, each other, two ways out, and nothing left behind."""

import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli
from support.hosts import Host, ask, name_server, name_servers, own_etc, reverse, uplink
from support.world import ip, world, world_after

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("netns", "tun", "plain")]

NAMES = {"ursa-vm1": "192.168.0.1", "vm2": "192.168.0.2", "vm3": "192.168.0.3"}
HOST = "192.168.0.254"
GUEST = """
accel = "tcg"
memory = "128M"
[boot]
kernel = "demo-vmlinuz"
initrd = "demo-initrd"
cmdline = "console=ttyS0 quiet hostname={name}"
[[nic]]
address = "{address}"
"""


@pytest.fixture
def plain(netns: None, own_directories: Path) -> Iterator[None]:
    """A host that forwards nothing, has a list of name servers of its own, and hands bridged frames to netfilter."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not switch.exists():
        pytest.skip("needs br_netfilter")
    switch.write_text("1")
    (own_directories / "etc").mkdir()
    with own_etc(own_directories / "etc"):
        yield


@pytest.fixture(autouse=True)
def images(demo: str, own_directories: Path) -> None:
    (own_directories / "state").mkdir()
    (own_directories / "state/images").symlink_to(demo)


@pytest.fixture
def outside() -> Iterator[tuple[Host, Host]]:
    """Two ways out, the first of them preferred; behind it the name server the host asks."""
    with uplink("eth0", 1) as one, uplink("wlan0", 2, metric=600) as two, name_server(one, "10.1.0.1", "203.0.113.80"):
        name_servers("10.1.0.1")
        yield one, two


def write(lab: Path, names: dict[str, str], network: str = "") -> None:
    (lab / "networks.toml").write_text(f"[network.lan]\n{network}\n")
    for name, address in names.items():
        (lab / f"{name}.toml").write_text(GUEST.format(name=name, address=address))


def page(guest: str, path: str = "/") -> str:
    """A page of a guest as the host sees it; what the guest could not do is in it, too."""
    try:
        with urllib.request.urlopen(f"http://{NAMES[guest]}{path}", timeout=20) as answer:
            return str(answer.read().decode()).strip()
    except urllib.error.HTTPError as refused:
        return f"{refused.code} {refused.read().decode().strip()}"


def sees(guest: str, where: str) -> str:
    """The page at `where` as the guest sees it."""
    return page(guest, f"/cgi-bin/get?{where}")


def looks_up(guest: str, name: str) -> str:
    """What the guest's own resolver says, after the lines about the server itself."""
    return page(guest, f"/cgi-bin/lookup?{name}").partition("\n\n")[2]


def status(kvmrun: Cli) -> dict[str, Any]:
    return dict(kvmrun.ok("net", "status", "-o", "json").json())


def start(kvmrun: Cli) -> list[str]:
    """Starts every guest, waits until each has its address, and returns the addresses as dnsmasq has given them."""
    kvmrun.limit = 150
    kvmrun.ok("up", "--all", "--wait=console:ready", "--timeout", "120")
    rows = kvmrun.rows()
    assert {row["state"] for row in rows.values()} == {"running"}
    given = {lease["mac"]: lease["address"] for lease in status(kvmrun)["networks"][0]["leases"]}
    assert given == {row["nics"][0]["mac"]: row["nics"][0]["address"] for row in rows.values()}
    return list(given.values())


def test_the_network_of_the_laptop(lab: Path, kvmrun: Cli, outside: tuple[Host, Host]) -> None:
    write(lab, NAMES, 'forward = ["tcp 8080 -> ursa-vm1:80"]')
    before = world()
    kvmrun.ok("net", "up")
    assert sorted(start(kvmrun)) == sorted(NAMES.values())
    for name in NAMES:
        assert page(name) == f"I am {name}"
    names_resolve()
    guests_reach_each_other_unless_others_drop_it(kvmrun)
    both_ways_out_are_used(outside)
    assert "QEMU" not in kvmrun.ok("stop", "--all", "--timeout", "60").out
    kvmrun.ok("net", "down")
    assert world_after(before) == before


def names_resolve() -> None:
    """From a guest and from the host: guests by short, full and reverse name, the host, and the world."""
    own = socket.gethostname().partition(".")[0].lower()
    for name in ("vm2", "vm2.lan"):
        assert NAMES["vm2"] in looks_up("vm3", name)
        assert ask(HOST, name) == [NAMES["vm2"]]
    assert "vm2.lan" in looks_up("vm3", NAMES["vm2"])
    assert ask(HOST, reverse(NAMES["vm2"]), "PTR") == ["vm2.lan"]
    for name in (own, f"{own}.lan"):
        answer = looks_up("vm3", name)
        assert HOST in answer
        assert "127." not in answer
        assert ask(HOST, name) == [HOST]
    assert "203.0.113.80" in looks_up("vm3", "outside.example")
    assert ask(HOST, "outside.example") == ["203.0.113.80"]


def guests_reach_each_other_unless_others_drop_it(kvmrun: Cli) -> None:
    """With bridge netfilter on, another's forward chain drops it: it is named, and its mend mends it."""
    assert sees("ursa-vm1", NAMES["vm2"]) == sees("ursa-vm1", "vm2.lan") == "I am vm2"
    assert status(kvmrun)["problems"] == []
    chain = "ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    subprocess.run(["nft", f"add table ip filter; add chain {chain}"], check=True)
    assert "I am" not in sees("ursa-vm1", NAMES["vm2"])
    (problem,) = status(kvmrun)["problems"]
    assert "ip filter FORWARD" in problem
    subprocess.run(["sh", "-ec", problem.partition("; fix: ")[2]], check=True)
    assert sees("ursa-vm1", NAMES["vm2"]) == "I am vm2"
    subprocess.run(["nft", "delete table ip filter"], check=True)


def both_ways_out_are_used(outside: tuple[Host, Host]) -> None:
    """Each sees an address of the host's; what the routes prefer is taken; the way in is the one port."""
    two = outside[1]
    assert sees("ursa-vm1", "10.1.0.1") == "you are 10.1.0.2 at eth0"
    assert sees("vm3", "10.2.0.1") == "you are 10.2.0.2 at wlan0"
    assert sees("vm3", "203.0.113.9") == "you are 10.1.0.2 at eth0"
    assert two.page("10.2.0.2", 8080) == "I am ursa-vm1"
    two("ip", "route", "add", "192.168.0.0/24", "via", "10.2.0.2")
    assert not two.reaches(NAMES["vm2"])
    ip("link", "set", "eth0", "down")
    assert sees("vm3", "203.0.113.9") == "you are 10.2.0.2 at wlan0"
    ip("link", "set", "eth0", "up")
    ip("route", "add", "default", "via", "10.1.0.1", "metric", "100")


def test_a_bridge_made_again_has_its_guests_again(lab: Path, kvmrun: Cli) -> None:
    write(lab, {name: NAMES[name] for name in ("vm2", "vm3")})
    start(kvmrun)
    ip("link", "delete", "br0")
    assert {row["state"] for row in kvmrun.rows().values()} == {"degraded"}
    kvmrun.ok("net", "up")
    assert sees("vm2", "vm3") == "I am vm3"
    assert {row["state"] for row in kvmrun.rows().values()} == {"running"}
