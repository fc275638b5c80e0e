"""What may be in the way on a host, staged for real, each with its mend carried out."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.cli import Cli, guests
from fakes.world import ip, world

pytestmark = pytest.mark.usefixtures("netns", "tun")

DOCKER = """
table ip filter {
  chain DOCKER-USER { return; }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    jump DOCKER-USER
    oifname "docker0" ct state related,established accept
    iifname "docker0" oifname != "docker0" accept
  }
}
"""
FIREWALLD = """
table inet firewalld {
  chain filter_FWD_public { reject with icmpx admin-prohibited; }
  chain filter_FORWARD_ZONES { iifname "eth9" goto filter_FWD_public; }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    iifname "lo" accept
    jump filter_FORWARD_ZONES
    ct state invalid drop
    reject with icmpx admin-prohibited
  }
}
"""
UFW = """
table ip filter {
  chain ufw-before-forward { ct state related,established accept; }
  chain FORWARD { type filter hook forward priority filter; policy drop; jump ufw-before-forward; }
}
"""
LAST = 'add rule ip filter FORWARD iifname "docker0" accept; add rule ip filter FORWARD counter drop'


class Doctor:
    """Asks the doctor, and follows its advice."""

    def __init__(self, kvmrun: Cli, lab: Path) -> None:
        self.kvmrun = kvmrun
        self.lab = lab

    def findings(self, subject: str = "", **environ: str) -> list[dict[str, Any]]:
        """What it finds of `subject` that is not ok; its exit code is held to its problems."""
        result = self.kvmrun("doctor", "-o", "json", **environ)
        document = result.json()
        levels = [one["level"] for one in document["findings"]]
        assert (document["schema"], document["well"]) == (1, "problem" not in levels)
        assert result.code == (1 if "problem" in levels else 0), result.err
        return [one for one in document["findings"] if one["level"] != "ok" and subject in {"", one["subject"]}]

    def only(self, subject: str, **environ: str) -> dict[str, Any]:
        (found,) = self.findings(subject, **environ)
        assert found["mend"]
        return found

    def mended(self, finding: dict[str, Any]) -> None:
        """Run the mend; afterwards nothing is found in the way."""
        mend = finding["mend"].replace("kvmrun ", " ".join([*self.kvmrun.words, ""]))
        subprocess.run(["sh", "-c", mend], check=True, timeout=60, capture_output=True)
        assert self.findings(finding["subject"]) == []


@pytest.fixture
def doctor(lab: Path, kvmrun: Cli, own_directories: Path) -> Doctor:
    """A host on which all is well: one way out, one emulated guest, bridge netfilter off."""
    guests(lab, "vm1")
    (lab / "networks.toml").write_text(NETWORKS)
    (own_directories / "state").mkdir()
    ip("link", "add", "eth9", "type", "veth", "peer", "name", "isp")
    for link in ("eth9", "isp"):  # no addresses of its own that come a while after
        ip("link", "set", link, "addrgenmode", "none", "up")
    ip("address", "add", "172.20.1.130/24", "dev", "eth9")
    ip("route", "add", "default", "via", "172.20.1.254")
    subprocess.run(["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0"], check=False)
    return Doctor(kvmrun, lab)


NETWORKS = '[network.lan]\n[uplink.isp]\ninterface = "eth9"\ngateway = "172.20.1.254"\n'


def test_a_good_host_is_well_and_left_as_it_was(doctor: Doctor, kvmrun: Cli) -> None:
    before = world()
    assert {one["subject"] for one in doctor.findings()} <= {"vhost", "kvm"}  # of little use to an emulated guest
    out = kvmrun.ok("doctor").out
    assert out.endswith("guests can run and reach out\n")
    assert world() == before
    kvmrun.ok("net", "up")
    assert {one["subject"] for one in doctor.findings()} <= {"vhost", "kvm"}  # of little use to an emulated guest


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize(
    ("rules", "chain", "mend"),
    [
        (DOCKER, "ip filter FORWARD", "ip filter DOCKER-USER"),
        (DOCKER.replace("policy drop", "policy accept") + LAST, "ip filter FORWARD", "ip filter DOCKER-USER"),
        (FIREWALLD, "inet firewalld filter_FORWARD", "inet firewalld filter_FORWARD"),
        (UFW, "ip filter FORWARD", "ip filter FORWARD"),
    ],
    ids=["docker", "docker-last", "firewalld", "ufw"],
)
def test_a_foreign_chain_that_drops(
    doctor: Doctor, kvmrun: Cli, rules: str, chain: str, mend: str, *, up: bool
) -> None:
    if up:
        kvmrun.ok("net", "up")
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    found = doctor.only("filter")
    assert found["level"] == "problem"
    assert f"chain {chain} drops what guests send out" in found["text"]
    assert f"insert rule {mend} iifname" in found["mend"]
    for word, table in {"firewall-cmd": "firewalld", "ufw route": "ufw"}.items():
        assert (word in found["text"]) == (table in rules)
    doctor.mended(found)


def test_the_mend_lets_a_guest_through(doctor: Doctor, kvmrun: Cli) -> None:
    from fakes.elsewhere import elsewhere

    kvmrun.ok("net", "up")
    subprocess.run(["nft", "-f", "-"], input=FIREWALLD, text=True, check=True)
    with elsewhere("isp", "vm1") as (isp, vm1):
        ip("link", "set", "isp", "netns", str(isp.pid))
        for words in ("address add 172.20.1.254/24 dev isp", "link set isp up"):
            isp("ip", *words.split())
        vm1.plugged("br0", "192.168.0.1/24", via="192.168.0.254")
        isp.serves(7)
        assert "isp" not in vm1.hears("172.20.1.254", 7)
        doctor.mended(doctor.only("filter"))
        assert vm1.hears("172.20.1.254", 7) == "isp to 172.20.1.130"


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
    assert found["level"] == "warning"
    assert "bridge netfilter is on" in found["text"]
    subprocess.run(["nft", "-f", "-"], input=DOCKER, text=True, check=True)
    assert "what they send each other" in doctor.only("filter")["text"]
    doctor.mended(doctor.only("filter"))
    doctor.mended(found)


def test_forwarding_off(doctor: Doctor, kvmrun: Cli) -> None:
    kvmrun.ok("net", "up")
    subprocess.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.ip_forward=0"], check=True)
    found = doctor.findings("network lan")[0]
    assert (found["level"], found["text"]) == ("problem", "forwarding is off on br0, eth9")
    doctor.mended(found)


@pytest.mark.parametrize(("kind", "port"), [(socket.SOCK_STREAM, 53), (socket.SOCK_DGRAM, 53), (socket.SOCK_DGRAM, 67)])
def test_a_port_somebody_has_on_the_wildcard(doctor: Doctor, kind: int, port: int) -> None:
    code = f"import socket\nat = socket.socket(2, {int(kind)})\nat.bind(('', {port}))\n"
    code += "at.listen()\n" * (kind == socket.SOCK_STREAM) + "print('up', flush=True)\nwhile True: input()\n"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stdin
        child.stdout.readline()
        found = doctor.only("network lan")
        assert found["level"] == "problem"
        assert f"port {port} is taken by python" in found["text"]
        assert found["mend"] == f"kill {child.pid}"
        subprocess.run(["sh", "-c", found["mend"]], check=True)
        child.wait(10)
        assert doctor.findings("network lan") == []


def test_a_vpn_that_routes_the_subnet(doctor: Doctor, lab: Path) -> None:
    ip("link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
    ip("link", "set", "vpn0", "up")
    ip("route", "add", "192.168.0.0/16", "dev", "vpn0")
    found = doctor.only("network lan")
    assert found["level"] == "problem"
    assert "a route to 192.168.0.0/16 through vpn0" in found["text"]
    other = found["mend"].rpartition(" ")[2]
    (lab / "networks.toml").write_text(NETWORKS.replace("[network.lan]", f'[network.lan]\nsubnet = "{other}"'))
    assert doctor.findings("network lan") == []


def test_a_vpn_that_comes_while_the_network_is_up(doctor: Doctor, kvmrun: Cli) -> None:
    kvmrun.ok("net", "up")
    ip("link", "add", "vpn0", "type", "veth", "peer", "name", "vpn1")
    ip("link", "set", "vpn0", "up")
    ip("route", "add", "192.168.0.0/25", "dev", "vpn0")
    assert "vpn0" in doctor.only("network lan")["text"]


def test_no_way_out(doctor: Doctor) -> None:
    ip("route", "del", "default")
    found = doctor.only("uplink")
    assert (found["level"], found["mend"]) == ("problem", "ip route add default via 172.20.1.254 dev eth9")
    doctor.mended(found)


def test_nobody_masquerades(doctor: Doctor, lab: Path) -> None:
    (lab / "networks.toml").write_text(f'firewall = "none"\n{NETWORKS}')
    found = doctor.only("filter")
    assert found["level"] == "problem"
    assert "nothing masquerades 192.168.0.0/24 on eth9" in found["text"]
    doctor.mended(found)


def test_a_bridge_that_is_not_ours(doctor: Doctor, lab: Path) -> None:
    ip("link", "add", "br0", "type", "bridge")
    found = doctor.findings("network lan")[-1]
    assert (found["level"], "br0 exists and is not ours" in found["text"]) == ("problem", True)
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
    assert (found["level"], "there is no /dev/kvm" in found["text"]) == ("problem", True)
    assert "modprobe kvm_" in found["mend"] or f'accel = "tcg" in {lab}/defaults.toml' in found["mend"]
    (lab / "defaults.toml").write_text('accel = "tcg"\n')
    assert doctor.only("kvm")["level"] == "warning"


@pytest.mark.usefixtures("closed_kvm")
def test_kvm_not_permitted(doctor: Doctor, lab: Path) -> None:
    (lab / "vm1.toml").write_text('cpu = "qemu64"\n')
    found = doctor.only("kvm")
    assert (found["level"], "(root:root 0600)" in found["text"]) == ("problem", True)
    assert found["mend"] == "groupadd -rf kvm; chgrp kvm /dev/kvm; chmod 660 /dev/kvm"
    subprocess.run(["sh", "-c", found["mend"]], check=True)
    assert doctor.findings("kvm") == []


@pytest.mark.slow
@pytest.mark.usefixtures("kvm")
def test_kvm_that_refuses_the_hosts_own_processor(doctor: Doctor, lab: Path, tool: Callable[[str], str]) -> None:
    (lab / "vm1.toml").write_text("")
    refusing = tool(
        'case "$*" in *"-cpu host"*) echo "failed to set MSR 0x10a" >&2; kill -ABRT $$;; esac\nexec {qemu} "$@"'
    )
    found = doctor.only("kvm", KVMRUN_QEMU=refusing)
    assert found["level"] == "problem"
    assert (
        "KVM refuses -cpu host, which vm1 would have (QEMU died of SIGABRT: failed to set MSR 0x10a)" in found["text"]
    )
    assert found["mend"] == f'cpu = "qemu64" in {lab}/defaults.toml'
    (lab / "defaults.toml").write_text('cpu = "qemu64"\n')
    assert doctor.findings("kvm", KVMRUN_QEMU=refusing) == []


@pytest.mark.usefixtures("kvm")
def test_kvm_that_hangs(doctor: Doctor, lab: Path, kvmrun: Cli, tool: Callable[[str], str]) -> None:
    (lab / "vm1.toml").write_text("")
    hanging = tool('case "$*" in *--version*) echo "QEMU emulator version 8.0.1";; *) exec sleep 100;; esac')
    result = kvmrun("doctor", "--timeout", "1", KVMRUN_QEMU=hanging)
    assert (result.code, "-cpu qemu64: no sign of life within 1 s" in result.out) == (1, True)


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
        ("echo QEMU emulator version 6.2.0", "QEMU 6.2.0 is too old"),
        ("echo broken >&2; exit 1", "does not tell its version: broken"),
    ],
)
def test_a_qemu_that_will_not_do(doctor: Doctor, tool: Callable[[str], str], text: str, said: str) -> None:
    found = doctor.only("qemu", KVMRUN_QEMU=tool(text))
    assert (found["level"], found["mend"]) == ("problem", "unset KVMRUN_QEMU")
    assert said in found["text"]
    assert doctor.findings("qemu") == []


def test_a_program_that_is_missing(doctor: Doctor) -> None:
    path = shutil.which("s6-log") or pytest.skip("needs s6-log")
    subprocess.run(["mount", "--bind", "/dev/null", path], check=True)
    try:
        found = doctor.only("programs")
    finally:
        subprocess.run(["umount", path], check=True)
    assert (found["level"], found["text"]) == ("problem", "s6-log is not installed")
    assert found["mend"] == "apt install s6"


def test_a_state_directory_that_cannot_be_written(doctor: Doctor, own_directories: Path) -> None:
    full = own_directories / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(full)], check=True)
    try:
        found = doctor.only("state", KVMRUN_STATE_DIR=str(full / "state"))
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert (found["level"], f"{full}/state cannot be written" in found["text"]) == ("problem", True)


def test_a_lab_with_errors_is_told_and_the_host_looked_at(doctor: Doctor, lab: Path) -> None:
    guests(lab, "bad", text="nonsense = 1\n")
    assert doctor.only("lab")["level"] == "warning"
    lab.chmod(0o777)
    found = doctor.findings()
    assert found[0]["subject"] == "lab"
    assert f"chmod go-w {lab}" in found[0]["mend"]


def test_people_get_a_line_each_and_colours_only_repeat(doctor: Doctor, kvmrun: Cli) -> None:
    ip("route", "del", "default")
    plain, coloured = kvmrun("doctor"), kvmrun("doctor", "--color", "always")
    assert (plain.code, "\x1b" in plain.out) == (1, False)
    assert "PROBLEM  uplink: this host has no way out" in plain.out
    assert "\n         mend: ip route add default via 172.20.1.254 dev eth9\n" in plain.out
    assert plain.out.endswith("1 problem in the way\n")
    assert "\x1b[31mPROBLEM" in coloured.out
    assert "ok " not in kvmrun("doctor", "-q").out
