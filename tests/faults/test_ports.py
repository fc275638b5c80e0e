"""Every attribute of port and bridge, changed behind our back: each reader says it, each command puts it back.

And all that who holds a tap's descriptor may do with it: noticed and put back, or of no use to anybody else.
"""

import ctypes
import fcntl
import os
import random
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.builders import TCG, guests
from support.cli import Cli
from support.hosts import Host, host
from support.tally import Tally
from support.world import ip, link, until

pytestmark = pytest.mark.usefixtures("netns", "tun")

TAP, OTHER = "tap-vm1", "tap-vm2"
VICTIM, STRANGER = "52:54:00:00:00:02", 12345
LAB = """
[network.lan]
isolate = true
dns = false
dhcp = false
"""
_PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)


def bridge(*words: str) -> None:
    subprocess.run(["bridge", *words], check=True)


def conf(link: str, name: str, value: str) -> None:
    family, _, key = name.partition("/")
    Path(f"/proc/sys/net/{family}/conf/{link}/{key}").write_text(value)


def port(option: str, value: str) -> Callable[[], None]:
    return lambda: ip("link", "set", TAP, "type", "bridge_slave", option, value)


def br0(option: str, value: str) -> Callable[[], None]:
    return lambda: ip("link", "set", "br0", "type", "bridge", option, value)


PORT: dict[str, Callable[[], object]] = {
    "down": lambda: ip("link", "set", TAP, "down"),
    "MAC": lambda: ip("link", "set", TAP, "address", VICTIM),
    "MTU": lambda: ip("link", "set", TAP, "mtu", "1300"),
    "queue": lambda: ip("link", "set", TAP, "txqueuelen", "1"),
    "no bridge": lambda: ip("link", "set", TAP, "nomaster"),
    "another bridge": lambda: (ip("link", "add", "br7", "type", "bridge"), ip("link", "set", TAP, "master", "br7")),
    "name": lambda: (
        ip("link", "set", TAP, "down"),
        ip("link", "set", TAP, "name", "foo"),
        ip("link", "set", "foo", "up"),
    ),
    "mark": lambda: ip("link", "set", TAP, "alias", "mine"),
    "no mark": lambda: ip("link", "set", TAP, "alias", ""),
    "isolated": port("isolated", "off"),
    "priority": port("priority", "3"),
    "hairpin": port("hairpin", "on"),
    "BPDU guard": port("guard", "on"),
    "root block": port("root_block", "on"),
    "fast leave": port("fastleave", "on"),
    "learning": port("learning", "off"),
    "flood": port("flood", "off"),
    "proxy ARP": port("proxy_arp", "on"),
    "proxy ARP Wi-Fi": port("proxy_arp_wifi", "on"),
    "multicast router": port("mcast_router", "2"),
    "multicast flood": port("mcast_flood", "off"),
    "broadcast flood": port("bcast_flood", "off"),
    "multicast to unicast": port("mcast_to_unicast", "on"),
    "neighbour suppression": port("neigh_suppress", "on"),
    "group mask": port("group_fwd_mask", "8"),
    "VLAN tunnel": port("vlan_tunnel", "on"),
    "locked": port("locked", "on"),
    "disabled": lambda: bridge("link", "set", "dev", TAP, "state", "0"),
    "backup port": lambda: ip("link", "set", TAP, "type", "bridge_slave", "backup_port", OTHER),
    "carrier": lambda: ip("link", "set", TAP, "carrier", "off"),
    "static entry": lambda: bridge("fdb", "add", VICTIM, "dev", TAP, "master", "static"),
    "permanent entry": lambda: bridge("fdb", "add", VICTIM, "dev", TAP, "master", "permanent"),
    "address": lambda: ip("address", "add", "10.9.9.9/24", "dev", TAP),
    "IPv6": lambda: conf(TAP, "ipv6/disable_ipv6", "0"),
    "IPv6 address": lambda: (conf(TAP, "ipv6/disable_ipv6", "0"), ip("address", "add", "fd00:9::9/64", "dev", TAP)),
    "source filter": lambda: conf(TAP, "ipv4/rp_filter", "0"),
    "ARP": lambda: conf(TAP, "ipv4/arp_ignore", "0"),
}
KERNEL = Path("/proc/kallsyms").read_text() if os.geteuid() == 0 else ""
BRIDGE: dict[str, Callable[[], object]] = {
    "MAC": lambda: ip("link", "set", "br0", "address", "02:00:00:00:00:01"),
    "down": lambda: ip("link", "set", "br0", "down"),
    "MTU": lambda: ip("link", "set", "br0", "mtu", "1300"),
    "no address": lambda: ip("address", "flush", "dev", "br0"),
    "another address": lambda: ip("address", "add", "192.168.0.77/24", "dev", "br0"),
    "spanning tree": br0("stp_state", "1"),
    "forwarding delay": lambda: (br0("stp_state", "1")(), br0("forward_delay", "400")(), br0("stp_state", "0")()),
    **({"VLAN filtering": br0("vlan_filtering", "1")} if "br_vlan_filter_toggle" in KERNEL else {}),
    "ageing": br0("ageing_time", "100"),
    "group mask": br0("group_fwd_mask", "8"),
    "multicast router": br0("mcast_router", "2"),
    "multicast snooping": br0("mcast_snooping", "0"),
    "multicast querier": br0("mcast_querier", "1"),
}
WITHOUT_EFFECT: dict[str, tuple[Callable[[], object], str]] = {
    "promiscuous": (
        lambda: ip("link", "set", "br0", "promisc", "on"),
        "the host's stack gets frames for others, and drops them: guests are answered, and isolated, as before",
    ),
    "all multicast": (
        lambda: ip("link", "set", "br0", "allmulticast", "on"),
        "the host's stack gets groups that it has not joined, and drops them",
    ),
    "transmit queue": (
        lambda: ip("link", "set", "br0", "txqueuelen", "1"),
        "a bridge has no queue; a queueing discipline that somebody adds to it is reported by itself",
    ),
    "group": (
        lambda: ip("link", "set", "br0", "group", "7"),
        "a number for commands and rules about several links: what such a rule drops is reported by itself",
    ),
}
"""Attributes that kvmrun neither sets nor reports, each with the reason why it does not matter."""
HARMS = {f"port: {name}": harm for name, harm in PORT.items()} | {
    f"bridge: {name}": harm for name, harm in BRIDGE.items()
}
READERS: dict[str, Callable[[Cli], str]] = {
    "list": lambda kvmrun: rows(kvmrun)["vm1"]["problem"] or "",
    "net status": lambda kvmrun: kvmrun.network()["problem"] or "",
    "doctor": lambda kvmrun: "\n".join(one["text"] for one in findings(kvmrun)),
    "repair": lambda kvmrun: "\n".join(one["text"] for one in kvmrun("repair", "-n", "-o", "json").json()["faults"]),
}
MENDS = {"repair": ("repair",), "net up": ("net", "up"), "the next start": ("vm3", "--paused")}


def rows(kvmrun: Cli) -> dict[str, Any]:
    return {one["name"]: one for one in kvmrun.ok("list", "-o", "json").json()["guests"]}


def findings(kvmrun: Cli) -> list[dict[str, Any]]:
    found = kvmrun("doctor", "-o", "json").json()["findings"]
    return [one for one in found if one["subject"] == "network lan" and "kvmrun net up lan" in one["fix"]]


@pytest.fixture
def two(lab: Path, kvmrun: Cli) -> Cli:
    """vm1 and vm2 on an isolating network, and vm3 to be started."""
    (lab / "networks.toml").write_text(LAB)
    guests(lab, "vm1", "vm2", "vm3")
    kvmrun.ok("vm1", "vm2", "--paused")
    return kvmrun


def standing() -> dict[str, Any]:
    """The port and the bridge, as anybody can see them."""
    shown = [subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines() for words in
             (["bridge", "fdb", "show", "dev", TAP], ["ip", "-br", "address"])]  # fmt: skip
    told = [line for line in shown[0] if "permanent" in line or "static" in line]
    confs = ("ipv6/conf/{}/disable_ipv6", "ipv4/conf/{}/rp_filter", "ipv4/conf/{}/arp_ignore")
    return {
        **{name: link(name) for name in (TAP, "br0")},
        "entries": sorted(line for line in told if not line.startswith(("33:33", "01:"))),
        "addresses": [line.split()[2:] for line in shown[1] if line.startswith((TAP, "br0"))],
        "conf": [Path(f"/proc/sys/net/{one.format(TAP)}").read_text() for one in confs],
    }


@pytest.mark.timeout(900)
def test_what_was_changed_is_said_by_all_and_put_back_by_each(two: Cli, tally: Tally) -> None:
    row = tally.row("F-32", "each attribute of port and bridge: said by each reader, put back by each command", 147)
    cells = [(harm, mend) for harm in HARMS for mend in MENDS]
    right = standing()
    for harm, mend in cells if tally.full else random.Random(7).sample(cells, 6):
        with row.case(f"{harm}, {mend}"):
            HARMS[harm]()
            silent = [name for name, said in READERS.items() if not said(two)]
            two.ok(*MENDS[mend])
            assert (silent, [name for name, said in READERS.items() if said(two)]) == ([], [])
            assert until(lambda: standing() == right)
        two("repair")
        two("kill", "vm3")
        subprocess.run(["ip", "link", "delete", "br7"], capture_output=True, check=False)


def test_every_change_is_said_by_the_list(two: Cli, tally: Tally) -> None:
    """Without what it costs to put each back by each command."""
    for name, harm in list(HARMS.items())[:: 1 if tally.full else 2]:
        harm()
        row = rows(two)["vm1"]
        assert (name, row["state"], bool(row["problem"])) == (name, "paused", True)
        assert "kvmrun" in row["problem"]
        two.ok("repair")
        assert (name, rows(two)["vm1"]["problem"]) == (name, None)
        subprocess.run(["ip", "link", "delete", "br7"], capture_output=True, check=False)


def test_what_has_no_effect_on_guests_is_left_alone(two: Cli, tally: Tally) -> None:
    """Guests reach the host, and are isolated from each other, as before; nobody reports the attribute or resets it."""
    row = tally.row("F-44", "attributes of a bridge without an effect on guests: not reported, not reset", 4)
    with (
        host("h1", bridge="br0", address="192.168.0.11/24") as one,
        host("h2", bridge="br0", address="192.168.0.12/24"),
    ):
        for name in ("h1", "h2"):
            ip("link", "set", name, "type", "bridge_slave", "isolated", "on")
        until(lambda: answers(one, "192.168.0.254"))
        for name, (change, _) in WITHOUT_EFFECT.items():
            with row.case(name):
                change()
                changed = link("br0")
                assert [reader for reader, said in READERS.items() if said(two)] == []
                assert (two.ok("repair", "-o", "json").json()["faults"], link("br0")) == ([], changed)
                assert (answers(one, "192.168.0.254"), answers(one, "192.168.0.12")) == (True, False)


def answers(one: Host, address: str) -> bool:
    """Whether an ICMP echo request from there is answered within a second."""
    with suppress(subprocess.CalledProcessError):
        one("ping", "-c", "1", "-W", "1", address)
        return True
    return False


def descriptor(pid: int) -> int:
    """A copy of the descriptor that a QEMU has of its tap."""
    (number,) = [one for one in os.listdir(f"/proc/{pid}/fd") if os.readlink(f"/proc/{pid}/fd/{one}") == "/dev/net/tun"]
    pidfd = os.pidfd_open(pid)
    try:
        return int(_libc.syscall(_PIDFD_GETFD, pidfd, int(number), 0))
    finally:
        os.close(pidfd)


def as_nobody(fd: int, request: int, argument: int | bytes) -> str:
    """The ioctl by a process without any privilege that has the descriptor; what the kernel says of it."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            fcntl.ioctl(fd, request, argument)
            os.write(writer, b"done")
        except OSError as error:
            os.write(writer, os.strerror(error.errno or 0).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        return file.read()


def request(mac: str) -> bytes:
    return struct.pack("16xH6s16x", 1, bytes.fromhex(mac.replace(":", "")))


IOCTLS: dict[str, tuple[int, int | bytes]] = {
    "SIOCSIFHWADDR": (0x8924, request(VICTIM)),
    "TUNSETPERSIST": (0x400454CB, 1),
    "TUNSETOWNER": (0x400454CC, STRANGER),
    "TUNSETGROUP": (0x400454CE, STRANGER),
    "TUNSETCARRIER": (0x400454E2, struct.pack("i", 0)),
}
"""What the holder of a tap may do, and others would notice."""
HARMLESS: dict[str, tuple[int, int | bytes]] = {
    "TUNSETNOCSUM": (0x400454C8, 1),
    "TUNSETOFFLOAD": (0x400454D0, 7),
    "TUNSETTXFILTER": (0x400454D1, struct.pack("HH6s", 0, 1, bytes.fromhex(VICTIM.replace(":", "")))),
    "TUNSETSNDBUF": (0x400454D4, struct.pack("i", 1)),
    "TUNSETVNETHDRSZ": (0x400454D8, struct.pack("i", 12)),
    "TUNSETVNETLE": (0x400454DC, struct.pack("i", 1)),
    "TUNSETSTEERINGEBPF": (0x800454E0, struct.pack("i", -1)),
    "TUNSETFILTEREBPF": (0x800454E1, struct.pack("i", -1)),
    "TUNSETLINK": (0x400454CD, 512),
    "TUNSETIFINDEX": (0x400454DA, struct.pack("i", 77)),
    "TUNSETQUEUE": (0x400454D9, struct.pack("16xH22x", 0x0400)),
    "SIOCSIFHWADDR of a group": (0x8924, request("01:00:5e:00:00:01")),
}
"""What concerns nobody but the holder's own guest, or is refused by the kernel."""


@pytest.mark.parametrize("mend", MENDS)
def test_what_the_holder_of_a_tap_changes_is_said_and_put_back(two: Cli, tally: Tally, mend: str) -> None:
    row = tally.row("F-33", "each ioctl that the holder of a tap needs no privilege for: said, put back", 5)
    right = standing()
    every, turn = list(IOCTLS.items()), list(MENDS).index(mend)
    for name, (number, argument) in every if row.full else every[turn :: len(MENDS)]:
        with row.case(f"{name}, {mend}"):
            fd = descriptor(rows(two)["vm1"]["pid"])
            try:
                assert as_nobody(fd, number, argument) == "done"
            finally:
                os.close(fd)
            silent = [reader for reader, said in READERS.items() if not said(two)]
            two.ok(*MENDS[mend])
            assert (silent, [reader for reader, said in READERS.items() if said(two)]) == ([], [])
            # a group can be changed, and not be removed
            assert until(lambda: {**standing(), TAP: 0} == {**right, TAP: 0})
        two("kill", "vm3")
    two.ok("kill", "vm1")
    assert link(TAP) is None


def test_what_else_it_changes_is_nothing_to_others(two: Cli) -> None:
    right = standing()
    fd = descriptor(rows(two)["vm1"]["pid"])
    try:
        for name, (number, argument) in HARMLESS.items():
            as_nobody(fd, number, argument)
            assert (name, standing()) == (name, right)
    finally:
        os.close(fd)
    assert rows(two)["vm1"]["problem"] is None


@pytest.mark.parametrize("end", ["stop", "kill", "killed by another", "killed by another, then started"])
@pytest.mark.parametrize("held", [False, True])
def test_a_tap_made_persistent_by_its_holder_goes_with_its_guest(two: Cli, end: str, held: bool) -> None:
    """Also where another process has it open; and it is never a port without a guard."""
    pid = rows(two)["vm1"]["pid"]
    fd = descriptor(pid)
    for name in ("TUNSETOWNER", "TUNSETPERSIST"):
        assert as_nobody(fd, *IOCTLS[name]) == "done"
    try:
        if not held:
            os.close(fd)
        if end in {"stop", "kill"}:
            two.ok(end, "vm1", *(["--force"] if end == "stop" else []))
            assert link(TAP) is None
        else:
            os.kill(pid, 9)
            until(lambda: rows(two)["vm1"]["state"] == "stopped")
            assert "outlived it" in rows(two)["vm1"]["problem"]
            assert "repair" in rows(two)["vm1"]["problem"]
            if "started" in end:
                two.ok("vm1", "--paused")
                assert rows(two)["vm1"]["problem"] is None
                found = link(TAP)
                assert found
                assert (
                    "user" not in found["linkinfo"]["info_data"] or found["linkinfo"]["info_data"]["user"] != STRANGER
                )
            else:
                assert two("repair", "-n").code == 1
                two.ok("repair")
                assert link(TAP) is None
    finally:
        if held:
            os.close(fd)


def test_a_stranger_may_not_attach_a_queue_to_a_tap_of_several(lab: Path, kvmrun: Cli) -> None:
    guests(lab, "vm1", text=f"{TCG}[[nic]]\nqueues = 2\n")
    kvmrun.ok("vm1", "--paused")
    fd = os.open("/dev/net/tun", os.O_RDWR)
    try:
        flags = 0x2 | 0x1000 | 0x4000 | 0x0100
        assert as_nobody(fd, 0x400454CA, struct.pack("16sH22x", TAP.encode(), flags)) == "Operation not permitted"
    finally:
        os.close(fd)


def test_a_guest_that_ended_meanwhile_is_no_error(two: Cli) -> None:
    """Its tap is gone when its turn comes to be put right."""
    from kvmrun.host.links import port_settings
    from kvmrun.plan.steps.guest_steps import PlugTap

    step = PlugTap(tap="tap-gone", mac="fe:54:00:00:00:09", bridge="br0", alias="kvmrun:gone:eth0", mtu=1500,
                   isolated=False, differs=("is not on br0",))  # fmt: skip
    port_settings.configure_port(step)
