"""No moment without a guard: somebody sends all the time while taps and guests come and go."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from support import frames
from support.builders import TCG, guests
from support.cli import Cli
from support.sender import WATCH, as_user, counted, from_guest
from support.tally import Tally
from support.world import ip, load_rules, until

from kvmrun.host.rundir import rundir

pytestmark = [pytest.mark.usefixtures("netns", "tun"), pytest.mark.timeout(1800)]

WHAT = "a guest sends all the time while its tap comes, is reconciled and goes: no hostile frame passes"
NOBODY = 65534
BETWEEN = (("net", "restart"), ("net", "up"), ("repair",))


@pytest.fixture
def watched(lab: Path, netns: None) -> None:
    """A guest whose card has the MAC of the frames, and what counts those that come to a bridge."""
    guests(lab, "vm1", text=f'{TCG}[[nic]]\nmac = "{frames.OWN}"\naddress = "{frames.OWN_IP}"\n')
    load_rules(WATCH)


@pytest.mark.usefixtures("watched")
def test_of_a_user_who_has_the_tap(lab: Path, kvmrun: Cli, tally: Tally, own_directories: Path) -> None:
    """The tap is opened as soon as it is there: long before the command that makes it has ended."""
    row = tally.row("F-04", WHAT, 100)
    node = own_directories / "tun"
    os.mknod(node, 0o666 | stat.S_IFCHR, os.stat("/dev/net/tun").st_rdev)
    node.chmod(0o666)
    for turn in range(row.count(2)):
        hostile = counted()[1]
        with row.case(f"user {turn}"):
            with as_user(node, NOBODY, "tap-vm1"):
                for words in (
                    ("net", "up", "--owner", "nobody"),
                    BETWEEN[turn % 3],
                    ("net", "down", "--force"),
                    ("net", "up"),
                ):
                    kvmrun.ok(*words)
                    if words[1:2] != ("down",):
                        sent = counted()[0]
                        until(lambda sent=sent: counted()[0] > sent)
            kvmrun.ok("net", "down")
            assert counted()[1] == hostile


@pytest.mark.usefixtures("watched")
def test_of_a_guest(lab: Path, kvmrun: Cli, tally: Tally, own_directories: Path) -> None:
    """From the moment at which it may run: before its first instruction the record of its start is written."""
    row = tally.row("F-04", WHAT, 100)
    directory = f"{os.environ['KVMRUN_RUN_DIR']}/vm/vm1"

    def begun() -> int:
        record = rundir.read_record(directory)
        return record.pid if record else 0

    kvmrun.ok("net", "up")
    with from_guest(begun) as late:
        for turn in range(row.count(2)):
            honest, hostile = counted()
            late.clear()
            with row.case(f"guest {turn}"):
                kvmrun.ok("vm1")
                if turn % 5 == 1:  # what is plugged in again is guarded again first
                    ip("link", "delete", "br0")
                    subprocess.run(["nft", "delete", "table", "netdev", "kvmrun"], check=True)
                    kvmrun.ok(*[("repair",), ("net", "up")][turn % 2])
                else:
                    kvmrun.ok(*(*BETWEEN, ("reset", "vm1"))[turn % 4])
                until(lambda honest=honest: counted()[0] > honest)
                kvmrun.ok("kill", "vm1")
                until(lambda: not os.path.exists("/sys/class/net/tap-vm1"))  # who sends has it a moment longer
                assert counted()[1] - hostile <= len(late)
