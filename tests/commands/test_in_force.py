"""What runs and what was done is the truth: definitions that change, break and go do not harm what is there."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.hosts import host, uplink
from support.world import addresses, difference, ip, link, touchable, world, world_after

pytestmark = pytest.mark.usefixtures("netns", "tun")


def state(name: str) -> str:
    """One of the files of dnsmasq on lan."""
    return (Path(os.environ["KVMRUN_STATE_DIR"]) / "net/lan" / name).read_text()


def status(kvmrun: Cli) -> dict[str, tuple[str, str]]:
    """Every network of the lab with its state and what is wrong with it."""
    found = kvmrun.ok("net", "status", "-o", "json").json()["networks"]
    return {one["name"]: (one["state"], one["problem"] or "") for one in found}


def rules() -> str:
    """The source rules of the kernel."""
    return subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout


def faults(kvmrun: Cli) -> str:
    return kvmrun("repair", "-n").out


class TestLeases:
    def test_a_reservation_wins_over_an_older_lease_of_another_mac(self, lab: Path, kvmrun: Cli) -> None:
        kvmrun.ok("net", "up")
        kvmrun.ok("net", "down")
        path = Path(os.environ["KVMRUN_STATE_DIR"]) / "net/lan/leases"
        path.write_text("0 52:54:00:00:00:99 192.168.0.9 web *\n0 52:54:00:00:00:98 192.168.0.201 * *\n")
        kvmrun.ok("net", "up")
        mac = "52:54:00:00:00:0a"
        guests(lab, "mail", text=f'{TCG}[[nic]]\naddress = "192.168.0.9"\nmac = "{mac}"\n')
        assert "192.168.0.9 to 52:54:00:00:00:99" in kvmrun("check").out
        assert "192.168.0.9" in status(kvmrun)["lan"][1]
        assert "192.168.0.9" in faults(kvmrun)
        kvmrun.ok("mail", "--paused")
        assert "192.168.0.9 " not in path.read_text()
        assert "192.168.0.201 " in path.read_text()
        assert status(kvmrun)["lan"] == ("up", "")
        assert "lease" not in kvmrun("check").out + faults(kvmrun)
        kvmrun.ok("kill", "mail")
        with host("wire", mac=mac, bridge="br0") as there:
            assert there.lease()["ip"] == "192.168.0.9"


class TestRunningGuests:
    @pytest.mark.parametrize("harm", ["typo", "removed", "renamed", "changed"])
    def test_it_keeps_its_way_out_reservation_name_and_forward(self, lab: Path, kvmrun: Cli, harm: str) -> None:
        networks = '[uplink.vpn]\ninterface = "vpn0"\ngateway = "10.1.0.1"\n[network.lan]\n'
        (lab / "networks.toml").write_text(f'{networks}forward = ["tcp 8080 -> a2:80"]\n')
        guests(lab, "a2", text=f'uplink = "vpn"\n{TCG}')
        guests(lab, "a3")
        with uplink("vpn0", 1):
            kvmrun.ok("a2", "--paused")
            (port,) = kvmrun.rows()["a2"]["nics"]
            path = lab / "a2.toml"
            if harm == "typo":
                path.write_text("memory = 16\n")
            elif harm == "changed":
                path.write_text(f'{TCG}[[nic]]\naddress = "192.168.0.77"\n')
            else:
                (lab / "networks.toml").write_text(networks)  # it may not name a guest that is not there
                path.unlink() if harm == "removed" else path.rename(lab / "b2.toml")
            kvmrun.ok("a3", "--paused")
            assert f"from {port['address']} lookup" in rules()
            assert f"{port['mac']},id:*,{port['address']},a2," in state("reservations")
            assert f"{port['address']} a2\n" in state("hosts")
            assert kvmrun.rows()["a2"]["nics"] == [port]
            if harm in {"typo", "changed"}:
                assert status(kvmrun)["lan"] == ("up", "")
            ip("link", "set", "tap-a2", "nomaster")
            assert "tap-a2" in faults(kvmrun)
            kvmrun.ok("repair")
            assert (link("tap-a2") or {})["master"] == "br0"
            ip("link", "set", "tap-a2", "nomaster")
            kvmrun.ok("net", "restart")
            assert (link("tap-a2") or {})["master"] == "br0"
            assert f"from {port['address']} lookup" in rules()
            kvmrun.ok("stop", "a2", "--force")
            kvmrun.ok("net", "up")
            assert f"from {port['address']} lookup" not in rules() or harm == "typo"

    def test_an_address_that_is_in_use_is_taken(self, lab: Path, kvmrun: Cli) -> None:
        """`web` and `db408` derive the same address, and the second sorts first."""
        guests(lab, "web")
        kvmrun.ok("web", "--paused")
        address = kvmrun.rows()["web"]["nics"][0]["address"]
        guests(lab, "db408")
        kvmrun.ok("db408", "--paused")
        rows = kvmrun.rows()
        assert rows["web"]["nics"][0]["address"] == address != rows["db408"]["nics"][0]["address"]
        guests(lab, "given", text=f'{TCG}[[nic]]\naddress = "{address}"\n')
        (lab / "web.toml").unlink()
        said = kvmrun("given")
        assert (said.code, "web" in said.err) == (6, True)
        kvmrun.ok("kill", "web")
        kvmrun.ok("given", "--paused")
        assert kvmrun.rows()["given"]["nics"][0]["address"] == address


class TestNetworks:
    def test_a_subnet_is_not_changed_under_guests_and_net_restart_does_it(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "a", "b")
        kvmrun.ok("a", "--paused")
        (lab / "networks.toml").write_text('[network.lan]\nsubnet = "10.5.0.0/24"\n')
        before = touchable()
        for words in (("b",), ("net", "up")):
            said = kvmrun(*words)
            assert (said.code, "kvmrun net restart lan" in said.err) == (6, True), said.err
            assert "connection: a\n" in said.err
        assert ("subnet" in status(kvmrun)["lan"][1], "subnet" in faults(kvmrun)) == (True, True)
        assert (touchable()["links"], addresses("br0")) == (before["links"], ["192.168.0.254/24"])
        kvmrun.ok("net", "restart")
        assert addresses("br0") == ["10.5.0.254/24"]
        assert (link("tap-a") or {})["master"] == "br0"
        assert kvmrun.rows()["a"]["nics"][0]["address"].startswith("10.5.0.")
        assert kvmrun("repair", "-n").code == 0
        kvmrun.ok("b", "--paused")

    def test_with_nobody_attached_it_is_simply_applied(self, lab: Path, kvmrun: Cli) -> None:
        kvmrun.ok("net", "up")
        (lab / "networks.toml").write_text('[network.lan]\nsubnet = "10.5.0.0/24"\nbridge = "br7"\nmtu = 1400\n')
        kvmrun.ok("net", "up")
        assert (link("br0"), addresses("br7")) == (None, ["10.5.0.254/24"])
        assert status(kvmrun)["lan"] == ("up", "")
        assert kvmrun("repair", "-n").code == 0

    def test_what_is_ours_is_known_after_the_seed_has_changed(self, lab: Path, kvmrun: Cli) -> None:
        before = world()
        kvmrun.ok("net", "up")
        up = touchable()
        (lab / "networks.toml").write_text('seed = "other"\n[network.lan]\n')
        kvmrun.ok("net", "up")
        assert touchable() == up
        assert status(kvmrun)["lan"] == ("up", "")
        kvmrun.ok("net", "down")
        assert difference(before, world_after(before)) == ""
        kvmrun.ok("net", "up")

    @pytest.mark.parametrize("text", ["", '[network.three]\nbridge = "br3"\nsubnet = "10.3.0.0/24"\n'])
    def test_one_that_is_no_longer_defined_can_be_taken_down(self, lab: Path, kvmrun: Cli, text: str) -> None:
        (lab / "networks.toml").write_text("[network.lan]\n")
        kvmrun.ok("net", "up")
        before = world()
        two = '[network.two]\nbridge = "br2"\nsubnet = "10.2.0.0/24"\nforward = ["tcp 81 -> c:80"]\n'
        (lab / "networks.toml").write_text(f"[network.lan]\n{two}")
        guests(lab, "c", text=f'{TCG}[[nic]]\nnetwork = "two"\n')
        kvmrun.ok("net", "up")
        kvmrun.ok("c", "--paused")
        (lab / "networks.toml").write_text(f"[network.lan]\n{text}")
        assert "kvmrun net down two" in status(kvmrun)["two"][1]
        assert "kvmrun net down two\n" in faults(kvmrun)
        said = kvmrun("net", "down", "two")
        assert (said.code, "c (tap-c)" in said.err) == (6, True)
        kvmrun.ok("kill", "c")
        kvmrun.ok("net", "down", "two")
        same = ("links", "addresses", "routes", "rules", "sysctls", "processes")
        assert difference({key: before[key] for key in same}, {key: world()[key] for key in same}) == ""
        assert (
            "br2" not in subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
        )
        assert kvmrun("repair", "-n").code == 0

    def test_a_network_that_could_not_come_up_again_is_not_taken_down(self, lab: Path, kvmrun: Cli) -> None:
        ip("link", "add", "eth9", "type", "bridge")
        ip("address", "add", "10.9.0.1/24", "dev", "eth9")
        ip("link", "set", "eth9", "up")
        guests(lab, "a")
        kvmrun.ok("a", "--paused")
        (lab / "networks.toml").write_text('[network.lan]\nsubnet = "10.9.0.0/24"\n')
        assert kvmrun("net", "restart").code == 6
        assert (link("tap-a") or {})["master"] == "br0"

    @pytest.mark.parametrize("bridge", ["br0", "br9"])
    def test_nor_one_that_would_have_no_bridge(self, lab: Path, kvmrun: Cli, bridge: str) -> None:
        guests(lab, "a")
        kvmrun.ok("a", "--paused")
        (lab / "networks.toml").write_text(f'[network.lan]\nbridge = "{bridge}"\nexternal = true\n')
        assert kvmrun("net", "restart").code == 6
        assert (link("tap-a") or {})["master"] == "br0"

    def test_what_cannot_come_up_as_defined_comes_up_as_it_was(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "networks.toml").write_text("[network.lan]\ndhcp = false\ndns = false\n")
        guests(lab, "a")
        kvmrun.ok("a", "--paused")
        (lab / "networks.toml").write_text("[network.lan]\ndhcp = false\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("0.0.0.0", 53))
            said = kvmrun("net", "restart")
        assert said.code == 6, said
        assert "port 53" in said.err
        assert (link("tap-a") or {})["master"] == "br0"
        assert kvmrun.network()["bridge"] == "br0"
        assert kvmrun.rows()["a"]["state"] == "paused"
        kvmrun.ok("net", "restart")
        assert kvmrun.network()["state"] == "up"
