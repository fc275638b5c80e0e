"""Whether a network that was brought up still stands, as a list asks: cheaply, and never an exception."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.builders import LAN

from kvmrun.host.facts import network_health
from kvmrun.host.firewall import nft
from kvmrun.plan.network import nft_network

TEXT = nft_network.network_text(LAN, ["br0"], {}, {})
UID = 0x70000777  # nobody's, as that of a dnsmasq is
NAMES, RULES = "dnsmasq is not running", "its packet filter was changed"


@pytest.fixture
def process(netns: None) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["setpriv", f"--reuid={UID}", "--clear-groups", "sleep", "1000"])
    while os.stat(f"/proc/{child.pid}").st_uid != UID:
        time.sleep(0.01)
    yield child
    child.kill()
    child.wait()


def problem(at: Path, uid: int = UID) -> str:
    return network_health.network_problem(str(at), uid, {"rules": "inet kvmrun_lan"})


def test_a_network_that_is_not_up_by_us_has_no_problem(own_directories: Path) -> None:
    assert problem(own_directories) == problem(own_directories / "missing") == ""


def test_dnsmasq_is_missed_when_it_has_ended(own_directories: Path, process: subprocess.Popen[bytes]) -> None:
    (own_directories / "dnsmasq").write_text(f"{process.pid}")
    assert problem(own_directories) == ""
    assert problem(own_directories, uid=0x70000001) == NAMES
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie, still there
    assert problem(own_directories) == NAMES
    process.wait()
    assert problem(own_directories) == NAMES


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "99999999999999999999999", "1 2", "1"])
def test_a_damaged_note_is_no_matter_while_it_runs(
    own_directories: Path, process: subprocess.Popen[bytes], text: str
) -> None:
    (own_directories / "dnsmasq").write_text(text)
    assert problem(own_directories) == ""
    process.kill()
    process.wait()
    assert problem(own_directories) == NAMES


@pytest.mark.usefixtures("netns")
def test_rules_are_missed_when_they_were_changed(own_directories: Path) -> None:
    nft.load_ruleset("inet kvmrun_lan", TEXT, str(own_directories / "rules"), "x")
    assert problem(own_directories) == ""
    subprocess.run(["nft", "flush", "chain", "inet", "kvmrun_lan", "forward"], check=True)
    assert problem(own_directories) == RULES
    nft.load_ruleset("inet kvmrun_lan", TEXT, str(own_directories / "rules"), "x")
    assert problem(own_directories) == ""
    (own_directories / "rules").write_text("{")
    assert problem(own_directories) == RULES
