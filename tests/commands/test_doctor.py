"""What may be in the way on a host, staged for real, each with its mend carried out."""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.doctor import BY_IPTABLES, DOCKER, FIREWALLD, FIREWALLD_IN, NETWORKS, Doctor, well
from support.hosts import ask as ask_name
from support.hosts import host, served
from support.world import ip, load_rules, world

pytestmark = pytest.mark.usefixtures("netns", "tun")


@pytest.fixture
def doctor(lab: Path, kvmrun: Cli) -> Iterator[Doctor]:
    with well(lab, kvmrun) as found:
        yield found


def test_a_good_host_is_well_and_left_as_it_was(doctor: Doctor, kvmrun: Cli) -> None:
    before = world()
    assert {one["subject"] for one in doctor.findings()} <= {"vhost", "kvm"}  # of little use to an emulated guest
    kvmrun.ok("doctor")
    assert world() == before
    kvmrun.ok("net", "up")
    found = kvmrun.ok("doctor", "-o", "json").json()["findings"]
    assert {one["level"] for one in found if "eth9 via 172.20.1.254" in one["text"]} == {"ok"}
    assert {one["subject"] for one in doctor.findings()} <= {"vhost", "kvm"}  # of little use to an emulated guest


@pytest.mark.parametrize("firewall", ["nftables", "none"])
def test_docker_and_ufw_by_iptables(doctor: Doctor, lab: Path, firewall: str) -> None:
    """As they really write them; and iptables goes on reading its tables once they are mended."""
    tool = shutil.which("iptables-nft") or pytest.skip("needs iptables")
    (lab / "networks.toml").write_text(f'firewall = "{firewall}"\n{NETWORKS}')
    subprocess.run(["sh", "-ec", BY_IPTABLES.replace("iptables", tool)], check=True)
    found = [one for one in doctor.findings("filter") if "masquerades" not in one["text"]]
    assert [re.findall(r"ip filter (\w+)", one["text"])[0] for one in found] == ["FORWARD", "INPUT"]
    for one in found:
        subprocess.run(["sh", "-ec", one["fix"].replace("iptables", tool)], check=True)
    assert [one for one in doctor.findings("filter") if "masquerades" not in one["text"]] == []
    rules = subprocess.run([tool, "-S"], check=True, capture_output=True, text=True).stdout
    assert "-A DOCKER-USER -i br0 -o eth9 -j ACCEPT" in rules
    assert "-A DOCKER-USER -i eth9 -o br0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT" in rules
    assert "-A INPUT -i br0 -p udp -m udp --dport 67 -j ACCEPT" in rules
    assert "-A DOCKER-USER -o br0" not in rules


def test_the_mend_lets_a_guest_through(doctor: Doctor, kvmrun: Cli) -> None:
    """Out to the world; and in to the host, where addresses and names come from."""
    kvmrun.ok("net", "up")
    load_rules(FIREWALLD + FIREWALLD_IN)
    with served(doctor.isp), host("v1", bridge="br0", address="192.168.0.1/24") as vm1:
        vm1("ip", "route", "add", "default", "via", "192.168.0.254")
        assert not vm1.reaches("172.20.1.254")
        out, ask = doctor.findings("filter")
        assert ("filter_FORWARD" in out["text"], "filter_INPUT" in ask["text"]) == (True, True)
        subprocess.run(["sh", "-ec", out["fix"]], check=True)
        assert vm1.page("172.20.1.254") == "you are 172.20.1.130 at eth9"
        with pytest.raises(TimeoutError), vm1.socket(socket.SOCK_DGRAM, limit=1.0) as at:
            ask_name("192.168.0.254", "vm1", at=at)
        doctor.mended(ask)
        assert ask_name("192.168.0.254", "vm1", at=vm1.socket(socket.SOCK_DGRAM))


def test_the_older_iptables(doctor: Doctor) -> None:
    tool = shutil.which("iptables-legacy")
    if not tool or subprocess.run([tool, "-P", "FORWARD", "DROP"], check=False, capture_output=True).returncode:
        pytest.skip("needs iptables-legacy and its kernel modules")
    found = doctor.only("filter")
    assert (found["level"], "iptables-legacy" in found["text"]) == ("problem", True)
    doctor.mended(found)


def test_bridge_netfilter(doctor: Doctor) -> None:
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not switch.exists():
        pytest.skip("needs br_netfilter")
    switch.write_text("1")
    found = doctor.only("bridge")
    assert (found["level"], "bridge-nf-call-iptables" in found["fix"]) == ("warning", True)
    load_rules(DOCKER)
    assert "br0" in doctor.only("filter")["fix"]
    doctor.mended(doctor.only("filter"))
    doctor.mended(found)


def test_forwarding_off(doctor: Doctor, kvmrun: Cli) -> None:
    kvmrun.ok("net", "up")
    subprocess.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.ip_forward=0"], check=True)
    found = doctor.findings("network lan")[0]
    assert (found["level"], "br0, eth9" in found["text"]) == ("problem", True)
    doctor.mended(found)


@contextmanager
def listening(kind: int, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody who has the port on every address."""
    code = f"import socket\nat = socket.socket(2, {int(kind)})\nat.bind(('', {port}))\n"
    code += "at.listen()\n" * (kind == socket.SOCK_STREAM) + "print('up', flush=True)\nwhile True: input()\n"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        yield child


@pytest.mark.parametrize(("kind", "port"), [(socket.SOCK_STREAM, 53), (socket.SOCK_DGRAM, 53), (socket.SOCK_DGRAM, 67)])
def test_a_port_somebody_has_on_the_wildcard(doctor: Doctor, kind: int, port: int) -> None:
    with listening(kind, port) as child:
        found = doctor.only("network lan")
        assert found["level"] == "problem"
        assert str(port) in found["text"]
        assert f"pid {child.pid}" in found["text"]  # whose it is; to end it is not for us to propose
        assert found["fix"].startswith("dns = false" if port == 53 else "dhcp = false")
        assert f"ss -lnp 'sport = :{port}'" in found["fix"]
        child.kill()
        child.wait(10)
        assert doctor.findings("network lan") == []


def test_a_vpn_that_routes_the_subnet(doctor: Doctor, lab: Path) -> None:
    ip("link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
    ip("link", "set", "vpn0", "up")
    ip("route", "add", "192.168.0.0/16", "dev", "vpn0")
    found = doctor.only("network lan")
    assert found["level"] == "problem"
    assert ("192.168.0.0/16" in found["text"], "vpn0" in found["text"]) == (True, True)
    other = found["fix"].rpartition(" ")[2]
    (lab / "networks.toml").write_text(NETWORKS.replace("[network.lan]", f'[network.lan]\nsubnet = "{other}"'))
    assert doctor.findings("network lan") == []


def test_no_way_out(doctor: Doctor) -> None:
    ip("route", "del", "default")
    found = doctor.only("uplink")
    assert (found["level"], found["fix"]) == ("problem", "ip route add default via 172.20.1.254 dev eth9")
    doctor.mended(found)


def test_a_provider_that_does_not_answer(doctor: Doctor, lab: Path) -> None:
    doctor.isp("ip", "address", "del", "172.20.1.254/24", "dev", "eth0")
    assert "eth9 via 172.20.1.254" in doctor.only("uplink")["text"]
    assert doctor.only("uplink isp")["level"] == "warning"
    (lab / "vm1.toml").write_text(f'uplink = "isp"\n{TCG}')
    found = doctor.only("uplink isp")
    assert (found["level"], "vm1" in found["text"]) == ("problem", True)
    doctor.isp("ip", "address", "add", "172.20.1.254/24", "dev", "eth0")
    assert doctor.findings("uplink isp") == doctor.findings("uplink") == []


def test_what_is_behind_a_gateway_that_answers_is_tried(doctor: Doctor, lab: Path, kvmrun: Cli) -> None:
    """By the address the lab gives, which the gateway leads to; without one nothing is claimed of what is behind it."""
    (claimed,) = (one for one in kvmrun("doctor", "-o", "json").json()["findings"] if one["subject"] == "uplink isp")
    assert (claimed["level"], "probe" in claimed["text"]) == ("ok", True)
    (lab / "networks.toml").write_text(f'{NETWORKS}probe = "203.0.113.9"\n')
    doctor.isp("ip", "address", "add", "203.0.113.9/32", "dev", "lo")
    assert doctor.findings("uplink isp") == []
    doctor.isp("ip", "address", "del", "203.0.113.9/32", "dev", "lo")
    found = doctor.only("uplink isp")
    assert (found["level"], "203.0.113.9" in found["text"]) == ("warning", True)


def test_a_name_server_whose_upstream_is_dead(doctor: Doctor, kvmrun: Cli) -> None:
    kvmrun.ok("net", "up")
    assert doctor.findings("network lan") == []
    doctor.isp(
        "nft",
        "add table ip t; add chain ip t i { type filter hook input priority 0; };add rule ip t i udp dport 53 drop",
    )
    found = doctor.only("network lan")
    assert (found["level"], "2 s" in found["text"]) == ("problem", True)


def test_an_uplink_that_is_absent(doctor: Doctor, lab: Path) -> None:
    (lab / "networks.toml").write_text(f'{NETWORKS}[uplink.air]\ninterface = "wlan9"\n')
    found = doctor.only("uplink air")
    assert (found["level"], "wlan9" in found["text"]) == ("warning", True)
    ip("link", "add", "wlan9", "type", "veth", "peer", "name", "air")
    found = doctor.only("uplink air")
    assert found["fix"] == "ip link set wlan9 up"
    doctor.mended(found)


def test_a_port_that_leads_to_a_guest_and_is_somebodys(doctor: Doctor, lab: Path, kvmrun: Cli) -> None:
    forward = '[network.lan]\nforward = ["tcp 8080 -> vm1:80", "udp 8081 -> vm1:81"]\n'
    (lab / "networks.toml").write_text(NETWORKS.replace("[network.lan]\n", forward))
    with socket.create_server(("127.0.0.2", 8080)), socket.create_server(("0.0.0.0", 8081)):
        assert doctor.findings("network lan") == []
    with socket.create_server(("127.0.0.1", 8080)):
        text = doctor.only("network lan")["text"]
        assert ("127.0.0.1:8080" in text, f"(pid {os.getpid()})" in text) == (True, True)
    with listening(socket.SOCK_STREAM, 8080) as child:
        found = doctor.only("network lan")
        assert (found["level"], f"(pid {child.pid})" in found["text"]) == ("warning", True)
        assert ("127.0.0.1" in found["text"], "ss -lnp 'sport = :8080'" in found["fix"]) == (False, True)
        result = kvmrun.ok("net", "up")
        assert f"warning: {found['text']}" in result.out + result.err
        child.kill()
        child.wait(10)
        assert doctor.findings("network lan") == []


def test_nobody_masquerades(doctor: Doctor, lab: Path) -> None:
    (lab / "networks.toml").write_text(f'firewall = "none"\n{NETWORKS}')
    found = doctor.only("filter")
    assert (found["level"], "192.168.0.0/24" in found["text"], "eth9" in found["text"]) == ("problem", True, True)
    doctor.mended(found)


def test_nobody_keeps_strangers_out(doctor: Doctor, kvmrun: Cli, lab: Path) -> None:
    """Guests need the uplink to forward; without rules of ours the host would then be everybody's router."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    (lab / "networks.toml").write_text(f'firewall = "none"\n{NETWORKS}')
    doctor.mended(doctor.only("filter"))
    kvmrun.ok("net", "up")
    found = doctor.only("filter")
    assert (found["level"], "eth9" in found["text"]) == ("warning", True)
    doctor.mended(found)


def test_a_bridge_that_is_not_ours(doctor: Doctor, lab: Path) -> None:
    ip("link", "add", "br0", "type", "bridge")
    found = doctor.findings("network lan")[-1]
    assert (found["level"], "br0" in found["text"]) == ("problem", True)
    (lab / "networks.toml").write_text(NETWORKS.replace("[network.lan]", '[network.lan]\nbridge = "br1"'))
    assert doctor.findings("network lan") == []


@pytest.fixture
def no_kvm(_own_mounts: None, own_directories: Path) -> Iterator[None]:
    """A /dev with everything a guest needs but KVM."""
    dev = own_directories / "dev"
    (dev / "net").mkdir(parents=True)
    for name in ("null", "zero", "full", "random", "urandom", "tty", "net/tun"):
        os.mknod(dev / name, 0o666 | stat.S_IFCHR, os.stat(f"/dev/{name}").st_rdev)
        os.chmod(dev / name, 0o666)
    (dev / "shm").mkdir()
    subprocess.run(["mount", "--bind", str(dev), "/dev"], check=True)
    yield
    subprocess.run(["umount", "/dev"], check=True)


@pytest.fixture
def closed_kvm(_own_mounts: None, own_directories: Path) -> Iterator[None]:
    """A /dev/kvm that is root's alone, as the kernel makes it."""
    if not os.path.exists("/dev/kvm"):
        pytest.skip("needs /dev/kvm")
    node = own_directories / "kvm"
    os.mknod(node, 0o600 | stat.S_IFCHR, os.stat("/dev/kvm").st_rdev)
    subprocess.run(["mount", "--bind", str(node), "/dev/kvm"], check=True)
    yield
    subprocess.run(["umount", "/dev/kvm"], check=True)


@pytest.mark.usefixtures("no_kvm")
def test_no_kvm(doctor: Doctor, lab: Path) -> None:
    (lab / "vm1.toml").write_text('cpu = "qemu64"\n')
    found = doctor.only("kvm")
    assert (found["level"], "/dev/kvm" in found["text"]) == ("problem", True)
    assert "modprobe kvm_" in found["fix"] or f'accel = "tcg" in {lab}/defaults.toml' in found["fix"]
    if "modprobe" in found["fix"]:
        found["fix"] = f'accel = "tcg" in {lab}/defaults.toml'  # there is no such module here
    doctor.mended(found, to="warning")


@pytest.mark.usefixtures("hardware", "closed_kvm")
def test_kvm_not_permitted(doctor: Doctor, lab: Path) -> None:
    (lab / "vm1.toml").write_text('cpu = "qemu64"\n')
    found = doctor.only("kvm")
    assert (found["level"], "(root:root 0600)" in found["text"]) == ("problem", True)
    assert found["fix"] == "groupadd -rf kvm; chgrp kvm /dev/kvm; chmod 660 /dev/kvm"
    doctor.mended(found)


@pytest.mark.usefixtures("kvm")
def test_kvm_that_refuses_the_hosts_own_processor(doctor: Doctor, lab: Path, tool: Callable[[str], str]) -> None:
    (lab / "vm1.toml").write_text("")
    refusing = tool(
        'case "$*" in *"-cpu host"*) echo "failed to set MSR 0x10a" >&2; kill -ABRT $$;; *-cpu*) exit 85;; esac\n'
        'exec {qemu} "$@"'
    )
    found = doctor.only("kvm", KVMRUN_QEMU=refusing)
    assert found["level"] == "problem"
    assert {"-cpu host", "vm1", "SIGABRT", "failed to set MSR 0x10a"} == {
        told for told in ("-cpu host", "vm1", "SIGABRT", "failed to set MSR 0x10a") if told in found["text"]
    }
    assert found["fix"] == f'cpu = "qemu64" in {lab}/defaults.toml'
    doctor.mended(found, KVMRUN_QEMU=refusing)


@pytest.mark.usefixtures("kvm")
def test_kvm_that_hangs(doctor: Doctor, lab: Path, kvmrun: Cli, tool: Callable[[str], str]) -> None:
    (lab / "vm1.toml").write_text("")
    hanging = tool('case "$*" in *--version*) echo "QEMU emulator version 8.0.1";; *) exec sleep 100;; esac')
    result = kvmrun("doctor", "--timeout", "1", KVMRUN_QEMU=hanging)
    assert (result.code, "-cpu qemu64" in result.out, " 0.25 s" in result.out) == (1, True, True)


@pytest.fixture
def tool(own_directories: Path) -> Callable[[str], str]:
    """Makes a program of these lines of shell, in which {qemu} is the real one; its path."""

    def made(text: str) -> str:
        path = own_directories / "qemu"
        path.write_text("#!/bin/sh\n" + text.replace("{qemu}", shutil.which("qemu-system-x86_64") or "false") + "\n")
        path.chmod(0o755)
        return str(path)

    return made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo QEMU emulator version 6.2.0", "6.2.0"),
        ("echo broken >&2; exit 1", "broken"),
    ],
)
def test_a_qemu_that_will_not_do(doctor: Doctor, tool: Callable[[str], str], text: str, said: str) -> None:
    unfit = tool(text)
    found = doctor.only("qemu", KVMRUN_QEMU=unfit)
    assert (found["level"], found["fix"]) == ("problem", "unset KVMRUN_QEMU")
    assert said in found["text"]
    doctor.mended(found, KVMRUN_QEMU=unfit)


def test_a_program_that_is_missing(doctor: Doctor) -> None:
    path = shutil.which("s6-log") or pytest.skip("needs s6-log")
    subprocess.run(["mount", "--bind", "/dev/null", path], check=True)
    try:
        found = doctor.only("programs")
    finally:
        subprocess.run(["umount", path], check=True)
    assert (found["level"], found["fix"]) == ("problem", "apt install s6")


def test_a_state_directory_that_cannot_be_written(doctor: Doctor, own_directories: Path) -> None:
    full = own_directories / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(full)], check=True)
    try:
        found = doctor.only("state", KVMRUN_STATE_DIR=str(full / "state"))
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert (found["level"], f"{full}/state" in found["text"]) == ("problem", True)


def test_a_lab_with_errors_is_told_and_the_host_looked_at(
    doctor: Doctor, lab: Path, tool: Callable[[str], str]
) -> None:
    (lab / "defaults.toml").write_text(TCG)
    guests(lab, "bad", text="nonsense = 1\n")
    assert doctor.only("lab")["level"] == "warning"
    lab.chmod(0o777)
    found = doctor.findings(KVMRUN_QEMU=tool("exit 85"))
    assert found[0]["subject"] == "lab"
    assert f"chmod go-w {lab}" in found[0]["fix"]


def test_people_get_a_line_each_and_colours_only_repeat(doctor: Doctor, kvmrun: Cli) -> None:
    ip("route", "del", "default")
    plain, coloured = kvmrun("doctor"), kvmrun("doctor", "--color", "always")
    assert (plain.code, "\x1b" in plain.out) == (1, False)
    assert "PROBLEM  uplink: " in plain.out
    assert "\n         fix: ip route add default via 172.20.1.254 dev eth9\n" in plain.out
    assert plain.out.splitlines()[-1].startswith("1 ")
    assert "\x1b[31mPROBLEM" in coloured.out
    assert "ok " not in kvmrun("doctor", "-q").out
