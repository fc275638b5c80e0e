"""The lab written for others: into directories, and run by the real Shorewall."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.cli import Cli, guests
from fakes.elsewhere import Elsewhere, elsewhere
from fakes.world import ip, until

EXAMPLE = Path(__file__).parents[2] / "vms.d"
SHOREWALL = shutil.which("shorewall", path="/usr/sbin:/sbin:/usr/bin")
UPLINK = '[uplink.avvanta]\ninterface = "eth0"\n'
ONE = f"""
firewall = "shorewall"
[network.lan]
forward = ["tcp 8080 -> ursa-vm1:80"]
{UPLINK}
"""
TWO = """
firewall = "shorewall"
[network.lan]
[uplink.comcast]
interface = "eth0"
gateway = "172.20.1.1"
table = 101
[uplink.avvanta]
interface = "eth0"
gateway = "172.20.1.254"
table = 102
"""
WORLD = "198.51.100.1"


class TestDirectory:
    """Where the files go."""

    @pytest.fixture(autouse=True)
    def networks(self, lab: Path) -> None:
        guests(lab, "vm1", text="autostart = true\n")
        (lab / "networks.toml").write_text(f"[network.lan]\n{UPLINK}")

    @pytest.mark.parametrize("kind", ["shorewall", "systemd"])
    def test_without_one_everything_is_printed_under_its_name(self, kvmrun: Cli, kind: str) -> None:
        out = kvmrun.ok("export", kind).out
        names = [line[4:] for line in out.splitlines() if line.startswith("### ")]
        assert {"shorewall": "zones", "systemd": "kvmrun@vm1.service"}[kind] in names
        assert out.count(f"# kvmrun export {kind}: ") == len(names)

    @pytest.mark.parametrize("kind", ["shorewall", "systemd"])
    def test_it_is_made_and_may_be_written_again(self, kvmrun: Cli, tmp_path: Path, kind: str) -> None:
        target = tmp_path / "new/here"
        kvmrun.ok("export", kind, str(target))
        before = {path.name: path.read_text() for path in target.iterdir()}
        assert {stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()} == {0o644}
        assert stat.S_IMODE(target.stat().st_mode) == 0o755
        kvmrun.ok("export", kind, str(target))
        assert {path.name: path.read_text() for path in target.iterdir()} == before

    def test_what_the_lab_no_longer_asks_for_goes_away(self, lab: Path, kvmrun: Cli, tmp_path: Path) -> None:
        kvmrun.ok("export", "systemd", str(tmp_path / "units"))
        guests(lab, "vm1", text="")
        kvmrun.ok("export", "systemd", str(tmp_path / "units"))
        assert os.listdir(tmp_path / "units") == ["kvmrun-net.service"]

    @pytest.mark.parametrize("name", ["zones", "other", "a-link", "a-directory"])
    def test_files_of_others_are_refused_and_unchanged(self, kvmrun: Cli, tmp_path: Path, name: str) -> None:
        target = tmp_path / "etc"
        target.mkdir()
        if name == "a-link":
            (target / name).symlink_to("/etc/passwd")
        elif name == "a-directory":
            (target / name).mkdir()
        else:
            (target / name).write_text("mine\n")
        result = kvmrun("export", "shorewall", str(target))
        assert (result.code, name in result.err, "--force" in result.err) == (6, True, True)
        assert os.listdir(target) == [name]

    def test_force_replaces_those_of_the_same_names_only(self, kvmrun: Cli, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.write_text("not to be written through\n")
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/zones").symlink_to(other)
        (tmp_path / "etc/params").write_text("mine\n")
        kvmrun.ok("export", "shorewall", "--force", str(tmp_path / "etc"))
        assert (tmp_path / "etc/zones").read_text().startswith("# kvmrun export shorewall: zones\n")
        assert (tmp_path / "etc/params").read_text() == "mine\n"
        assert other.read_text() == "not to be written through\n"

    def test_units_are_not_taken_for_files_of_shorewall(self, kvmrun: Cli, tmp_path: Path) -> None:
        kvmrun.ok("export", "systemd", str(tmp_path / "here"))
        assert kvmrun("export", "shorewall", str(tmp_path / "here")).code == 6

    def test_a_place_that_cannot_be_written_is_told(self, kvmrun: Cli, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        result = kvmrun("export", "shorewall", str(tmp_path / "file/below"))
        assert (result.code, "cannot write to" in result.err) == (1, True)

    def test_networks_with_errors_are_refused(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "networks.toml").write_text('[network.lan]\nsubnet = "nonsense"\n')
        assert kvmrun("export", "shorewall").code == 5

    def test_an_invalid_guest_is_named_and_left_out(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "bad", text="nonsense = 1\nautostart = true\n")
        result = kvmrun.ok("export", "systemd")
        assert ("bad is invalid" in result.err, "kvmrun@bad" in result.out) == (True, False)

    def test_the_wrong_firewall_is_told(self, kvmrun: Cli) -> None:
        assert 'set firewall = "shorewall"' in kvmrun.ok("export", "shorewall").err


@pytest.mark.usefixtures("_own_mounts")
@pytest.mark.skipif(not SHOREWALL, reason="needs shorewall")
def test_an_old_shorewall_is_refused(lab: Path, kvmrun: Cli, tmp_path: Path) -> None:
    (lab / "networks.toml").write_text(ONE.replace("forward", "# forward"))
    old = tmp_path / "shorewall"
    old.write_text("#!/bin/sh\necho 4.6.4.3\n")
    old.chmod(0o755)
    subprocess.run(["mount", "--bind", str(old), str(SHOREWALL)], check=True)
    try:
        result = kvmrun("export", "shorewall", str(tmp_path / "out"))
        assert (result.code, "Shorewall 4.6.4 is too old" in result.err) == (69, True)
        assert not (tmp_path / "out").exists()
        kvmrun.ok("export", "shorewall", "--force", str(tmp_path / "out"))
    finally:
        subprocess.run(["umount", str(SHOREWALL)], check=True)


@pytest.mark.usefixtures("netns", "tun")
@pytest.mark.skipif(not SHOREWALL, reason="needs shorewall: apt install shorewall")
class TestShorewall:
    """The example lab under the real Shorewall, in a namespace, with other hosts around it."""

    @pytest.fixture(autouse=True)
    def example(self, lab: Path, own_directories: Path) -> Iterator[None]:
        for path in EXAMPLE.iterdir():
            shutil.copyfile(path, lab / path.name)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/lib/shorewall"], check=True)
        yield
        subprocess.run([str(SHOREWALL), "clear"], capture_output=True, check=False, timeout=60)
        subprocess.run(["umount", "/var/lib/shorewall"], check=True)

    @pytest.fixture
    def files(self, own_directories: Path) -> Path:
        return own_directories / "shorewall"

    @pytest.mark.parametrize("networks", [ONE, TWO], ids=["single", "shared"])
    def test_it_takes_the_files(self, lab: Path, kvmrun: Cli, files: Path, networks: str) -> None:
        (lab / "networks.toml").write_text(networks)
        with elsewhere("isp") as (isp,):
            isp.wired("eth0", "172.20.1.254/24")
            ip("address", "add", "172.20.1.130/24", "dev", "eth0")
            kvmrun.ok("export", "shorewall", str(files))
        out = shorewall("check", files)
        assert "Shorewall configuration verified" in out
        assert "WARNING" not in out

    def test_it_takes_every_kind_of_network(self, lab: Path, kvmrun: Cli, files: Path) -> None:
        more = """
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
        (lab / "networks.toml").write_text(ONE + more)
        kvmrun.ok("export", "shorewall", str(files))
        assert "Shorewall configuration verified" in shorewall("check", files)

    def test_guests_reach_out_masqueraded_and_nobody_reaches_in(self, lab: Path, kvmrun: Cli, files: Path) -> None:
        (lab / "networks.toml").write_text(ONE)
        with elsewhere("isp", "vm1", "vm2") as (isp, vm1, vm2):
            isp.wired("eth0", "172.20.1.254/24")
            ip("address", "add", "172.20.1.130/24", "dev", "eth0")
            ip("route", "add", "default", "via", "172.20.1.254")
            isp("ip", "route", "add", "192.168.0.0/24", "via", "172.20.1.130")
            kvmrun.ok("net", "up")
            kvmrun.ok("export", "shorewall", str(files))
            vm1.plugged("br0", "192.168.0.1/24", via="192.168.0.254")
            vm2.plugged("br0", "192.168.0.2/24", via="192.168.0.254")
            assert "done." in shorewall("start", files)
            isp.serves(7)
            vm1.serves(80)
            assert vm1.hears("172.20.1.254", 7) == "isp to 172.20.1.130"
            assert vm2.hears("192.168.0.1", 80) == "vm1 to 192.168.0.2"
            assert "timed out" in isp.hears("192.168.0.1", 80)
            assert isp.hears("172.20.1.130", 8080) == "vm1 to 172.20.1.254"
            assert "0% packet loss" in vm1("ping", "-c1", "-W2", "192.168.0.254")
            assert kvmrun.ok("net", "status").out.startswith("lan: up\n")
            assert nft_tables().isdisjoint({"kvmrun_lan"})
            assert in_the_way(kvmrun) == []

    def test_a_stricter_policy_leaves_guests_addresses_and_names(self, lab: Path, kvmrun: Cli, files: Path) -> None:
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

    def test_two_gateways_on_one_wire(self, lab: Path, kvmrun: Cli, files: Path) -> None:
        """Ursa's form: both must answer when Shorewall starts, one is everybody's, one guest is sent to the other."""
        (lab / "networks.toml").write_text(TWO)
        with elsewhere("office", "comcast", "avvanta", "vm1", "vm2") as (office, comcast, avvanta, vm1, vm2):
            wire(office, comcast, avvanta)
            ip("address", "add", "172.20.1.130/24", "dev", "eth0")
            kvmrun.ok("net", "up")
            kvmrun.ok("export", "shorewall", str(files))
            (files / "rtrules").write_text("192.168.0.2\t-\tavvanta\t1001\n")
            vm1.plugged("br0", "192.168.0.1/24", via="192.168.0.254")
            vm2.plugged("br0", "192.168.0.2/24", via="192.168.0.254")
            assert "done." in shorewall("start", files)
            assert vm1.hears(WORLD, 7) == "comcast to 172.20.1.130"
            assert vm2.hears(WORLD, 7) == "avvanta to 172.20.1.130"
            assert vm1.hears("192.168.0.2", 9).endswith("refused")
            assert in_the_way(kvmrun) == []


def wire(office: Elsewhere, *gateways: Elsewhere) -> None:
    """A switch at the far end of our eth0, with gateways on it that all lead to the same world."""
    office("ip", "link", "add", "sw", "type", "bridge", "forward_delay", "0")
    office("ip", "link", "set", "sw", "up")
    office.wired("eth0")
    office("ip", "link", "set", "eth0", "master", "sw")
    for number, one in enumerate(gateways):
        address = f"172.20.1.{(1, 254)[number]}/24"
        one("ip", "link", "add", "eth0", "type", "veth", "peer", "name", f"g{number}", "netns", str(office.pid))
        one("ip", "address", "add", address, "dev", "eth0")
        one("ip", "link", "set", "eth0", "up")
        one("ip", "address", "add", f"{WORLD}/32", "dev", "lo")
        office("ip", "link", "set", f"g{number}", "master", "sw", "up")
        one.serves(7)
    until(lambda: "0% packet loss" in gateways[0]("ping", "-c1", "-W1", "172.20.1.254"))


def shorewall(verb: str, files: Path) -> str:
    words = [str(SHOREWALL), verb, str(files)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def in_the_way(kvmrun: Cli) -> list[str]:
    """What the doctor finds in the way of the networks."""
    found = kvmrun("doctor", "--timeout", "0.1", "-o", "json").json()["findings"]
    return [one["text"] for one in found if one["level"] == "problem" and one["subject"] != "kvm"]


def nft_tables() -> set[str]:
    out = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return {line.split()[2] for line in out.splitlines()}
