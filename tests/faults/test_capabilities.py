"""A root from whom capabilities were taken, as in a container: what it can do it does, and else says what it lacks."""

import os
from collections.abc import Collection
from pathlib import Path

import pytest
from support.builders import TCG, guests
from support.cli import Cli, Result
from support.tally import Tally
from support.world import world, world_after

from kvmrun.host.facts import root_capabilities

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to take capabilities from it"),
    pytest.mark.usefixtures("netns", "tun"),
]
WHAT = "root with few capabilities, under every command: it works, or names what is missing"
LONE = "CAP_NET_ADMIN"
READS = (
    ("list",), ("list", "-o", "json"), ("list", "-v"), ("show", "vm1"), ("check",), ("log", "vm1"), ("metrics",),
    ("top", "-n", "1"), ("monitor", "vm1", "-c", "query-status"), ("export", "systemd"), ("man",),
)  # fmt: skip
"""What is only looked at."""
DOES = (
    ("net", "status"), ("net", "up"), ("net", "restart"), ("net", "down"), ("repair",), ("repair", "-n"), ("doctor",),
    ("vm2", "--paused"), ("stop", "--force", "vm1"), ("stop", "vm1", "--timeout", "0.5"), ("kill", "vm1"),
    ("restart", "vm1", "--timeout", "0.5"),
)  # fmt: skip
"""What cannot be done without seeing processes."""
EITHER = (("pause", "vm1"), ("resume", "vm1"), ("reset", "vm1"), ("vm2", "--dry-run"), ("vm1",), ("console", "vm1"))


class Short(Cli):
    """The command as a root with these capabilities alone."""

    def __init__(self, cli: Cli, kept: Collection[str]) -> None:
        few = ",".join(["-all", *(f"+{one.removeprefix('CAP_').lower()}" for one in kept)])
        super().__init__(["setpriv", f"--bounding-set={few}", f"--inh-caps={few}", "--", *cli.words], cli.limit)


def is_told(result: Result, lost: str) -> bool:
    return lost in result.out + result.err


def is_clean(result: Result) -> None:
    text = result.out + result.err
    assert "Traceback" not in text
    assert result.code in {0, 1, 2, 3, 6, 7, 69, 77}, result
    assert "setcap" not in text


def test_each_command_works_or_says_what_is_missing(
    lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally
) -> None:
    row = tally.row("P-08", WHAT, len(READS) + len(DOES) + len(EITHER))
    guests(lab, "vm1", "vm2", text=TCG + '[[drive]]\nimage = "NAME.raw"\nsize = "1M"\n'.replace("NAME", "a"))
    guests(lab, "vm2")
    kvmrun.ok("vm1")
    pid = kvmrun.pid("vm1")
    short = Short(kvmrun, [LONE])
    for words in READS if tally.full else READS[::5]:
        with row.case(" ".join(words)):
            result = short(*words)
            is_clean(result)
            assert result.code == 0 or (result.code, words[0]) == (3, "log"), result
    before = world()  # with the lock by which users of the monitor take turns
    for words in DOES if tally.full else DOES[2::5]:
        with row.case(" ".join(words)):
            result = short(*words)
            is_clean(result)
            assert result.code != 0
            assert is_told(result, "CAP_SYS_PTRACE"), result
            assert kvmrun.pid("vm1") == pid
            assert world_after(before) == before
    for words in EITHER if tally.full else EITHER[:1]:
        with row.case(" ".join(words)):
            result = short(*words)
            is_clean(result)
            assert result.code == 0 or is_told(result, "CAP_SYS_PTRACE")
            assert kvmrun.pid("vm1") == pid
    with row.case("the list tells that it sees no QEMU"):
        (vm1, _) = short.ok("list", "-o", "json").json()["guests"]
        assert (vm1["state"] in {"running", "paused"}, vm1["pid"]) == (True, None)
        assert "CAP_SYS_PTRACE" in vm1["problem"]


def test_those_it_names_are_enough_and_each_is_told(lab: Path, kvmrun: Cli, tally: Tally) -> None:
    row = tally.row("P-08", WHAT, len(root_capabilities._NEEDED))
    guests(lab, "vm1", text=TCG + '[[drive]]\nimage = "a.qcow2"\nsize = "1M"\n')
    rounds = (("vm1", "--paused"), ("list",), ("monitor", "vm1", "-c", "query-status"), ("pause", "vm1"), ("repair",),
              ("stop", "--force", "vm1"), ("net", "down"))  # fmt: skip
    with row.case("all of them"):
        enough = Short(kvmrun, root_capabilities._NEEDED)
        for words in rounds:
            assert enough(*words).code == 0, enough(*words)
    for one in root_capabilities._NEEDED if tally.full else ["CAP_SYS_PTRACE"]:
        with row.case(f"without {one}"):
            short = Short(kvmrun, [name for name in root_capabilities._NEEDED if name != one])
            for words in rounds:
                result = short(*words)
                is_clean(result)
                assert result.code == 0 or is_told(result, one) or words[0] in {"monitor", "pause"}, (words, result)
        kvmrun("kill", "vm1")
        kvmrun("net", "down")
