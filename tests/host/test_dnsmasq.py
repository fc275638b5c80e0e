"""dnsmasq for real: confined, one a network, stopped only for a configuration it takes; who else has its ports."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builders import LAN
from support.hosts import ask
from support.world import ip, processes, until

from kvmrun.errors import KvmrunError
from kvmrun.host import dnsmasq
from kvmrun.model.scalars import LinkName, NicName
from kvmrun.plan.network import dnsmasq_config
from kvmrun.plan.steps.network_steps import StartDnsmasq, WriteDnsmasqFiles

pytestmark = pytest.mark.usefixtures("netns")

UID = 0x70000777
THREE = (1 << 10) | (1 << 12) | (1 << 13)  # net_bind_service, net_admin, net_raw
GOOD = "4000000000 52:54:00:00:00:01 192.168.0.1 vm1 *"


@pytest.fixture
def hint(own_directories: Path) -> str:
    ip("link", "add", "br0", "type", "bridge")
    ip("address", "add", "192.168.0.254/24", "dev", "br0")
    ip("link", "set", "br0", "up")
    (own_directories / "run").mkdir()
    return str(own_directories / "run/dnsmasq")


@pytest.fixture
def step(own_directories: Path, hint: str) -> Iterator[StartDnsmasq]:
    at = dnsmasq_config.dnsmasq_paths(str(own_directories / "state"), "lan")
    log = str(own_directories / "state/log/net-lan")
    started = StartDnsmasq(
        network="lan", bridge="br0", config=at.config, leases=at.leases, log=log, uid=UID, log_uid=UID + 1
    )
    write(started, dnsmasq_config.config_text(LAN, at, "/etc/resolv.conf"), at.config)
    write(started, "192.168.0.254 ursa\n192.168.0.1 vm1\n", at.hosts)
    write(started, dnsmasq_config.dhcp_hosts_text(LAN, {}), at.reservations)
    yield started
    dnsmasq.stop_dnsmasq(UID, at.config, hint)
    until(lambda: not processes())


def write(step: StartDnsmasq, text: str, path: str) -> None:
    dnsmasq.write_files(WriteDnsmasqFiles(path=path, text=text, uid=step.uid))


def running(step: StartDnsmasq, hint: str) -> int:
    return dnsmasq.running_pid(step.uid, step.config, hint)


def state(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def test_it_serves_when_it_is_said_to(step: StartDnsmasq, hint: str) -> None:
    dnsmasq.start_dnsmasq(step, hint)
    assert ask("192.168.0.254", "vm1") == ask("192.168.0.254", "vm1.lan") == ["192.168.0.1"]
    assert ask("192.168.0.254", "ursa") == ["192.168.0.254"]


def test_it_has_an_account_of_its_own_three_capabilities_and_no_way_to_more(step: StartDnsmasq, hint: str) -> None:
    dnsmasq.start_dnsmasq(step, hint)
    found = state(running(step, hint))
    assert set(found["Uid"].split() + found["Gid"].split()) == {f"{UID}"}
    assert (found["Groups"].split(), found["NoNewPrivs"]) == ([], "1")
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        assert int(found[kind], 16) & ~THREE == 0, kind
    assert int(found["CapEff"], 16) & THREE


def test_others_cannot_read_its_files_and_it_can_write_but_its_leases(step: StartDnsmasq, hint: str) -> None:
    dnsmasq.start_dnsmasq(step, hint)
    for path in Path(step.config).parent.iterdir():
        mode = path.stat().st_mode & 0o777
        assert (path.stat().st_uid, mode) == ((UID if path.name == "leases" else 0), 0o640)
    assert Path(step.config).parent.stat().st_uid == 0


def test_started_again_there_is_one(step: StartDnsmasq, hint: str) -> None:
    dnsmasq.start_dnsmasq(step, hint)
    first = running(step, hint)
    dnsmasq.start_dnsmasq(step, hint)
    second = running(step, hint)
    assert first != second
    assert processes().count("/usr/sbin/dnsmasq") == 1


@pytest.mark.parametrize("text", ["", "x", "1", "99999999", "[]"])
def test_it_is_known_by_its_account_whatever_the_note_says(step: StartDnsmasq, hint: str, text: str) -> None:
    dnsmasq.start_dnsmasq(step, hint)
    pid = running(step, hint)
    Path(hint).write_text(text)
    assert running(step, hint) == pid
    assert dnsmasq.running_pid(step.uid + 5, step.config, hint) == 0


def test_killed_it_is_gone_and_comes_back(step: StartDnsmasq, hint: str) -> None:
    dnsmasq.start_dnsmasq(step, hint)
    os.kill(running(step, hint), signal.SIGKILL)
    until(lambda: not running(step, hint))
    dnsmasq.start_dnsmasq(step, hint)
    assert ask("192.168.0.254", "vm1") == ["192.168.0.1"]


def test_one_that_was_killed_just_now_is_out_of_the_way_first(step: StartDnsmasq, hint: str) -> None:
    for _ in range(20):
        dnsmasq.start_dnsmasq(step, hint)
        os.kill(running(step, hint), signal.SIGKILL)


def test_stopped_nothing_is_left_not_even_its_logger(step: StartDnsmasq, hint: str) -> None:
    dnsmasq.start_dnsmasq(step, hint)
    dnsmasq.stop_dnsmasq(step.uid, step.config, hint)
    assert (running(step, hint), Path(hint).exists()) == (0, False)
    until(lambda: not processes())
    dnsmasq.stop_dnsmasq(step.uid, step.config, hint)


def test_names_are_read_again_without_a_restart(step: StartDnsmasq, hint: str) -> None:
    dnsmasq.start_dnsmasq(step, hint)
    pid = running(step, hint)
    assert ask("192.168.0.254", "vm2") == []
    write(step, "192.168.0.2 vm2\n", f"{Path(step.config).parent}/hosts")
    dnsmasq.reload_dnsmasq(step.uid, step.config, hint)
    assert until(lambda: ask("192.168.0.254", "vm2")) == ["192.168.0.2"]
    assert running(step, hint) == pid


def test_a_configuration_it_does_not_take_leaves_the_one_that_runs(step: StartDnsmasq, hint: str) -> None:
    dnsmasq.start_dnsmasq(step, hint)
    pid = running(step, hint)
    write(step, "nonsense\n", step.config)
    with pytest.raises(KvmrunError, match="br0") as refused:
        dnsmasq.start_dnsmasq(step, hint)
    assert "nonsense" in "".join(refused.value.lines) or "bad option" in "".join(refused.value.lines)
    assert running(step, hint) == pid
    assert ask("192.168.0.254", "vm1") == ["192.168.0.1"]


def test_one_that_ends_at_once_says_why_in_its_own_words(step: StartDnsmasq, hint: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("192.168.0.254", 53))
        with pytest.raises(KvmrunError) as refused:
            dnsmasq.start_dnsmasq(step, hint)
    assert "in use" in "".join(refused.value.lines)
    assert all(refused.value.lines)
    assert running(step, hint) == 0


@pytest.mark.parametrize(
    "line",
    [
        "4000000000 zz:zz:zz:zz:zz:zz 192.168.0.7 bad *",
        "4000000000 rubbish 192.168.0.7 a:b c",
        "4000000000 52:54:00:00:00:07 192.168.0.7 bad not:hex",
        "4000000000 52:54:00:00:00:07 192.168.0.7 bad abc",
        "4000000000 52:54:00:00:00:07 192.168.0.7",
        "4000000000 52:54:00:00:00:07 999.168.0.7 bad *",
        "duid rubbish",
        "duid",
        "\x00\x01\x02\xff",
        "x" * 5000,
    ],
)
def test_a_lease_file_with_garbage_keeps_its_good_lines(step: StartDnsmasq, hint: str, line: str) -> None:
    Path(step.leases).write_text(f"{GOOD}\n{line}\n{GOOD.replace('1 vm1', '2 vm2').replace('00:01', '00:02')}\n")
    dnsmasq.start_dnsmasq(step, hint)
    kept = Path(step.leases).read_text()
    assert "192.168.0.1 vm1" in kept
    assert "192.168.0.2 vm2" in kept
    assert ask("192.168.0.254", "vm1") == ["192.168.0.1"]


@pytest.mark.parametrize(
    "line",
    [
        "0 52:54:00:00:00:01 192.168.0.1 vm1 *",
        "4000000000 52:54:00:00:00:01 192.168.0.201 * ff:56:50:4d:98:00:02:00:00:ab:11",
        "duid 00:01:00:01:2c:6e:10:b7:52:54:00:00:00:01",
        "4000000000 1234567 fd00:77::99 * 00:01:00:01",
        "4000000000 T1234567 fd00:77::99 vm1 00:01:00:01",
    ],
)
def test_a_lease_dnsmasq_writes_is_kept(step: StartDnsmasq, line: str) -> None:
    Path(step.leases).write_text(f"{line}\n")
    dnsmasq._prune_leases(step.leases, UID, ())
    assert Path(step.leases).read_text() == f"{line}\n"


def test_two_networks_have_one_each(step: StartDnsmasq, hint: str, own_directories: Path) -> None:
    ip("link", "add", "br1", "type", "bridge")
    ip("address", "add", "192.168.1.254/24", "dev", "br1")
    ip("link", "set", "br1", "up")
    at = dnsmasq_config.dnsmasq_paths(str(own_directories / "state"), "dmz")
    other = step.replace(network="dmz", bridge="br1", config=at.config, leases=at.leases, uid=UID + 2)
    dmz = LAN.replace(name=NicName("dmz"), bridge=LinkName("br1"))
    write(other, dnsmasq_config.config_text(dmz, at, "/etc/resolv.conf"), at.config)
    write(other, "192.168.1.1 vm1\n", at.hosts)
    write(other, "", at.reservations)
    dnsmasq.start_dnsmasq(step, hint)
    dnsmasq.start_dnsmasq(other, f"{hint}2")
    assert (ask("192.168.0.254", "vm1"), ask("192.168.1.254", "vm1")) == (["192.168.0.1"], ["192.168.1.1"])
    dnsmasq.stop_dnsmasq(other.uid, other.config, f"{hint}2")
    assert ask("192.168.0.254", "vm1") == ["192.168.0.1"]
    assert (running(step, hint) > 0, running(other, f"{hint}2")) == (True, 0)
