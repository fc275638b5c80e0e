"""What happens to networks behind our back, and in their files: found, shown, mended by the next command."""

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.builders import guests
from support.cli import Cli
from support.hosts import ask, host, uplink
from support.world import bridge, ip, link, run_nft, until, world, world_after

pytestmark = pytest.mark.usefixtures("netns", "tun")

TWO = '[network.lan]\n[network.dmz]\nbridge = "br1"\nsubnet = "192.168.1.0/24"\n'


def names(kvmrun: Cli) -> int:
    """The pid of dnsmasq."""
    return int(kvmrun.network()["dnsmasq"].split()[-1].strip(")"))


def sysctl(name: str, value: str | None = None) -> str:
    path = Path(f"/proc/sys/net/{name}")
    if value is not None:
        path.write_text(value)
    return path.read_text().strip()


def a_rule() -> str:
    listing = run_nft("-a", "list", "chain", "inet", "kvmrun_lan", "forward").splitlines()
    return next(line.split()[-1] for line in listing if "iifname" in line)


def kill_names(kvmrun: Cli) -> None:
    pid = names(kvmrun)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes())


HARMS = {
    "dnsmasq killed": kill_names,
    "bridge deleted": lambda _: ip("link", "delete", "br0"),
    "another MAC": lambda _: ip("link", "set", "br0", "address", "02:00:00:00:00:01"),
    "address removed": lambda _: ip("address", "delete", "192.168.0.254/24", "dev", "br0"),
    "bridge down": lambda _: ip("link", "set", "br0", "down"),
    "tap unplugged": lambda _: ip("link", "set", "tap-vm1", "nomaster"),
    "ruleset flushed": lambda _: run_nft("flush", "ruleset"),
    "table deleted": lambda _: run_nft("delete", "table", "inet", "kvmrun_lan"),
    "table emptied": lambda _: run_nft("flush", "table", "inet", "kvmrun_lan"),
    "rule deleted": lambda _: run_nft("delete", "rule", "inet", "kvmrun_lan", "forward", "handle", a_rule()),
    "rule inserted": lambda _: run_nft("insert", "rule", "inet", "kvmrun_lan", "forward", "drop"),
    "forwarding off": lambda _: sysctl("ipv4/conf/br0/forwarding", "0"),
    "forwarding of the uplink off": lambda _: sysctl("ipv4/conf/wan0/forwarding", "0"),
    "everything forwards, then nothing": lambda _: (sysctl("ipv4/ip_forward", "1"), sysctl("ipv4/ip_forward", "0")),
    "IPv6 on": lambda _: sysctl("ipv6/conf/br0/disable_ipv6", "0"),
}
LISTED = {"dnsmasq killed", "bridge deleted", "tap unplugged", "ruleset flushed", "table emptied", "rule deleted"}
NAMES = list(HARMS)


@pytest.mark.parametrize("harms", [NAMES[:6], NAMES[6:11], NAMES[11:]])
def test_it_is_found_shown_and_mended_under_a_running_guest(lab: Path, kvmrun: Cli, harms: list[str]) -> None:
    guests(lab, "vm1")
    sysctl("ipv4/ip_forward", "0")  # a new namespace inherits what the machine has
    with uplink("wan0", 1):
        kvmrun.ok("vm1")
        right = standing()
        for harm in harms:
            HARMS[harm](kvmrun)
            found = kvmrun.network()
            assert (harm, found["state"], "kvmrun net up lan" in found["problem"]) == (harm, "degraded", True)
            if harm in LISTED:
                row = kvmrun.rows()["vm1"]
                assert (harm, row["state"], bool(row["problem"])) == (harm, "degraded", True)
            kvmrun.ok("net", "up")
            found = kvmrun.network()
            assert (harm, found["state"], found["problem"], found["rules"]) == (harm, "up", None, "present")
            assert (harm, found["ports"]) == (harm, [{"guest": "vm1", "tap": "tap-vm1"}])
            assert (harm, standing()) == (harm, right)
        row = kvmrun.rows()["vm1"]
        assert (row["state"], ask("192.168.0.254", "vm1")) == ("running", [row["nics"][0]["address"]])


def standing() -> dict[str, Any]:
    """All that a network is to the kernel, but for the number of its bridge."""
    names = ("ipv4/conf/br0/forwarding", "ipv4/conf/wan0/forwarding", "ipv6/conf/br0/disable_ipv6")
    return {
        "bridge": {**(bridge("br0") or {}), "ifindex": 0},
        "rules": run_nft("list", "table", "inet", "kvmrun_lan"),
        "settings": [sysctl(name) for name in names],
    }


def test_addresses_are_given_again_on_a_bridge_made_again(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("net", "up")
    ip("link", "delete", "br0")
    kvmrun.ok("net", "up")
    nic = kvmrun.rows()["vm1"]["nics"][0]
    with host("v1", mac=nic["mac"], bridge="br0") as one:
        assert one.lease()["ip"] == nic["address"]


def test_an_address_that_took_ours_away_costs_nothing(lab: Path, kvmrun: Cli) -> None:
    """Ours becomes a secondary one, which the kernel removes together with the other."""
    kvmrun.ok("net", "up")
    right = bridge("br0")
    ip("address", "delete", "192.168.0.254/24", "dev", "br0")
    for address in ("192.168.0.77/24", "192.168.0.254/24"):
        ip("address", "add", address, "dev", "br0")
    kvmrun.ok("net", "up")
    assert bridge("br0") == right


@pytest.mark.parametrize("harm", ["bridge deleted", "dnsmasq killed", "ruleset flushed", "address removed"])
def test_down_after_harm_leaves_the_world_as_it_was(lab: Path, kvmrun: Cli, harm: str) -> None:
    with uplink("wan0", 1):
        before = world()
        kvmrun.ok("net", "up")
        HARMS[harm](kvmrun)
        kvmrun.ok("net", "down")
        assert world_after(before) == before


def test_a_restart_keeps_the_guests(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", "vm2")
    kvmrun.ok("vm1", "vm2")
    pid = names(kvmrun)
    kvmrun.ok("net", "restart")
    assert {row["state"] for row in kvmrun.rows().values()} == {"running"}
    assert [port["guest"] for port in kvmrun.network()["ports"]] == ["vm1", "vm2"]
    assert names(kvmrun) != pid


def test_a_dhcp_port_that_is_taken_names_who_has_it_and_changes_nothing(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    before = world()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 67))
        for words in (("net", "up"), ("vm1",)):
            result = kvmrun(*words)
            assert (result.code, " 67 " in result.err) == (6, True)
            assert f"(pid {os.getpid()})" in result.err
            assert "dhcp = false" in result.err
        assert world() == before
        (lab / "networks.toml").write_text("[network.lan]\ndhcp = false\n")
        kvmrun.ok("net", "up")


def test_a_dhcp_server_of_anothers_bridge_is_no_matter(lab: Path, kvmrun: Cli) -> None:
    ip("link", "add", "virbr0", "type", "bridge")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"virbr0")
        other.bind(("0.0.0.0", 67))
        kvmrun.ok("net", "up")
        with host("v1", bridge="br0") as one:
            assert one.lease()["router"] == "192.168.0.254"


class TestEdits:
    """A lab edited while its network runs."""

    def test_another_guest_is_known_without_a_restart(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("net", "up")
        pid = names(kvmrun)
        guests(lab, "vm2")
        assert kvmrun.network()["problem"] is None  # the file has just not been read yet
        kvmrun.ok("net", "up")
        nic = kvmrun.rows()["vm2"]["nics"][0]
        assert until(lambda: ask("192.168.0.254", "vm2")) == [nic["address"]]
        with host("v2", mac=nic["mac"], bridge="br0") as one:
            assert one.lease()["ip"] == nic["address"]
        assert names(kvmrun) == pid

    def test_another_option_is_given_and_the_leases_stay(self, lab: Path, kvmrun: Cli) -> None:
        kvmrun.ok("net", "up")
        with host("v1", bridge="br0") as one:
            first = one.lease()
            leases = kvmrun.network()["leases"]
            assert [lease["address"] for lease in leases] == [first["ip"]]
            (lab / "networks.toml").write_text("[network.lan]\ndhcp = { lease = '1h', options = { 26 = '1400' } }\n")
            kvmrun.ok("net", "up")
            kept = kvmrun.network()["leases"]
            assert [(lease["mac"], lease["address"]) for lease in kept] == [(leases[0]["mac"], first["ip"])]
            again = one.lease()
        assert (first["mtu"], again["mtu"], again["lease"], again["ip"]) == ("", "1400", "3600", first["ip"])

    def test_a_value_dnsmasq_does_not_take_leaves_the_network_as_it_was(self, lab: Path, kvmrun: Cli) -> None:
        guests(lab, "vm1")
        kvmrun.ok("net", "up")
        before, pid = world(), names(kvmrun)
        (lab / "networks.toml").write_text("[network.lan]\ndhcp = { options = { 3 = 'nonsense' } }\n")
        result = kvmrun("net", "up")
        assert (result.code, "bad" in result.err) == (1, True)
        assert world() == before
        assert names(kvmrun) == pid
        assert ask("192.168.0.254", "vm1")

    @pytest.mark.parametrize("ipv6", ['ipv6 = "fd00:77::/64"', 'dhcp = false\nipv6 = "fd00:77::/64"'])
    def test_ipv6_comes_and_goes(self, lab: Path, kvmrun: Cli, ipv6: str) -> None:
        kvmrun.ok("net", "up")
        right = bridge("br0")
        (lab / "networks.toml").write_text(f"[network.lan]\n{ipv6}\n")
        kvmrun.ok("net", "up")
        assert kvmrun.network()["state"] == "up"
        (lab / "networks.toml").write_text("[network.lan]\n")
        kvmrun.ok("net", "up")
        assert (kvmrun.network()["state"], bridge("br0")) == ("up", right)

    @pytest.mark.parametrize("firewall", ["none", "shorewall"])
    def test_rules_go_when_the_firewall_is_anothers(self, lab: Path, kvmrun: Cli, firewall: str) -> None:
        kvmrun.ok("net", "up")
        (lab / "networks.toml").write_text(f'firewall = "{firewall}"\n[network.lan]\n')
        kvmrun.ok("net", "up")
        assert "kvmrun" not in run_nft("list", "ruleset")
        assert kvmrun.network()["rules"] == f"left to {firewall}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network.lan]\nmtu = 5", "network.lan.mtu: found 5"),
        ("[network.lan]\nbridge = 'sixteen-letters1'", "at most 15"),
        ("[network.lan]\nforward = ['tcp 80 -> vm2:80']", "found vm2, expected a guest"),
        ("[network.lan]\nnat = ['wire']", "found wire"),
        ("[network.lan", "networks.toml"),
    ],
)
def test_an_error_in_the_file_is_told_and_changes_nothing(lab: Path, kvmrun: Cli, text: str, message: str) -> None:
    guests(lab, "vm1")
    (lab / "networks.toml").write_text(text)
    before = world()
    for words in (("net", "up"), ("net", "restart"), ("vm1",), ("net", "up", "lan")):
        result = kvmrun(*words)
        assert (result.code, message in result.err) == (5, True), words
    assert message in kvmrun.ok("net", "status").out
    assert world() == before


def test_a_network_without_errors_comes_up_beside_one_with(lab: Path, kvmrun: Cli) -> None:
    (lab / "networks.toml").write_text(f"{TWO}mtu = 5\n")
    result = kvmrun("net", "up")
    assert (result.code, "network.dmz.mtu" in result.err) == (5, True)
    assert (link("br0") is not None, link("br1")) == (True, None)


@pytest.mark.parametrize("wanted", ["wan0", "lo"])
def test_an_interface_of_the_host_is_never_a_bridge(lab: Path, kvmrun: Cli, wanted: str) -> None:
    (lab / "networks.toml").write_text(f'[network.lan]\nbridge = "{wanted}"\n')
    with uplink("wan0", 1):
        before = world()
        result = kvmrun("net", "up")
        assert (result.code, result.err.startswith(f"kvmrun: {wanted} ")) == (6, True)
        assert world() == before


class TestTwo:
    """Two networks side by side."""

    def test_both_serve_and_each_goes_alone(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "networks.toml").write_text(TWO)
        guests(lab, "vm1")
        guests(lab, "vm2", text='accel = "tcg"\n[[nic]]\nnetwork = "dmz"\n')
        before = world()
        kvmrun.ok("net", "up")
        assert ask("192.168.0.254", "vm1")
        assert ask("192.168.1.254", "vm2")
        kvmrun.ok("net", "down", "lan")
        assert ask("192.168.1.254", "vm2")
        kvmrun.ok("net", "down")
        assert world_after(before) == before

    def test_a_setting_goes_back_with_the_last_who_needed_it(self, lab: Path, kvmrun: Cli) -> None:
        (lab / "networks.toml").write_text(TWO)
        with uplink("wan0", 1):
            sysctl("ipv4/conf/wan0/forwarding", "0")
            kvmrun.ok("net", "up")
            kvmrun.ok("net", "down", "lan")
            assert sysctl("ipv4/conf/wan0/forwarding") == "1"
            kvmrun.ok("net", "down", "dmz")
            assert sysctl("ipv4/conf/wan0/forwarding") == "0"

    @pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
    def test_a_damaged_book_of_settings_is_no_matter(self, lab: Path, kvmrun: Cli, text: str) -> None:
        (lab / "networks.toml").write_text(TWO)
        kvmrun.ok("net", "up")
        book = Path(os.environ["KVMRUN_RUN_DIR"]) / "sysctls"
        book.write_text(text)
        kvmrun.ok("net", "down", "lan")
        book.write_text(text)
        kvmrun.ok("net", "up")
        kvmrun.ok("net", "down")


def test_a_setting_somebody_else_changed_meanwhile_stays(lab: Path, kvmrun: Cli) -> None:
    with uplink("wan0", 1):
        sysctl("ipv4/conf/wan0/forwarding", "0")
        kvmrun.ok("net", "up")
        sysctl("ipv4/ip_forward", "1")
        kvmrun.ok("net", "down")
        assert sysctl("ipv4/conf/wan0/forwarding") == "1"  # somebody has made the host a router meanwhile
        sysctl("ipv4/ip_forward", "0")
        kvmrun.ok("net", "up")
        sysctl("ipv4/conf/wan0/forwarding", "0")
        kvmrun.ok("net", "down")
        assert sysctl("ipv4/conf/wan0/forwarding") == "0"


def test_settings_that_were_right_already_are_left_alone(lab: Path, kvmrun: Cli) -> None:
    with uplink("wan0", 1):
        sysctl("ipv4/ip_forward", "1")
        before = world()
        kvmrun.ok("net", "up")
        kvmrun.ok("net", "down")
        assert world_after(before) == before
        assert sysctl("ipv4/conf/wan0/forwarding") == "1"


def test_a_flushed_table_is_seen_by_a_list_that_loads_no_netlink(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1")
    kvmrun.ok("vm1")
    run_nft("delete", "table", "inet", "kvmrun_lan")
    row = kvmrun.rows()["vm1"]
    assert row["state"] == "degraded"
    assert "network lan" in row["problem"]
    assert "net up" in row["problem"]
    kvmrun.ok("vm1")  # the next command that needs the network mends it, too
    assert kvmrun.network()["state"] == "up"


def test_a_resolv_conf_that_leads_nowhere_is_no_obstacle(lab: Path, kvmrun: Cli, own_directories: Path) -> None:
    """As where systemd-resolved is installed and does not run: names of guests resolve, others do not."""
    etc = own_directories / "etc"
    subprocess.run(["cp", "-a", "/etc", etc], check=True)
    (etc / "resolv.conf").unlink(missing_ok=True)
    (etc / "resolv.conf").symlink_to("../run/nowhere/stub-resolv.conf")
    subprocess.run(["mount", "--bind", etc, "/etc"], check=True)
    try:
        guests(lab, "vm1")
        kvmrun.ok("vm1", "--paused")
        assert kvmrun.network()["state"] == "up"
        assert kvmrun("repair", "-n").code == 0
    finally:
        subprocess.run(["umount", "/etc"], check=True)
