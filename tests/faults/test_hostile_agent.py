"""An agent that misbehaves inside a guest, under the commands that ask it: in time, in bounds, its words harmless."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from support import hostile
from support.agent import ANSWERS, GREETINGS, STALE, agent, stale
from support.builders import TCG, guests
from support.cli import Cli
from support.pretender import Pretender
from support.tally import Tally

WAYS = GREETINGS | ANSWERS | {f"after-{name}": stale(left) for name, left in STALE.items()}
QUICK = ("silent", "flood-of-markers", "huge-answer", "error-with-escapes", "after-half-of-one")
COMMANDS = {
    "exec": ("exec", "vm1", "--timeout", "1", "--", "true"),
    "thaw": ("thaw", "vm1", "--timeout", "1"),
    "list": ("list", "-v"),
}
LIMIT = 3.0 + 1.0
MORE_MEMORY = 32 << 10


@pytest.mark.usefixtures("netns")
@pytest.mark.timeout(900)
def test_agents_that_misbehave_under_three_commands(
    lab: Path, kvmrun: Cli, own_directories: Path, tally: Tally
) -> None:
    row = tally.row("Q-24", "hostile agents under exec, thaw and list -v", 14 * 3)
    pretender = Pretender(own_directories / "pretender")
    guests(lab, "vm1", text=TCG + "nic = []\n")
    kvmrun.ok("vm1", KVMRUN_QEMU=str(pretender.program))
    place, note = own_directories / "run/vm/vm1", str(own_directories / "note")
    honest = hostile.measured([*kvmrun.words, "list", "-v"], note).rss
    spare = 0.5 if tally.full else 20.0
    for way in WAYS if tally.full else QUICK:
        for name, words in COMMANDS.items():
            with suppress(FileNotFoundError):
                os.unlink(place / "a")
            with row.case(f"{way} under {name}"), agent(place, WAYS[way]):
                cost = hostile.measured([*kvmrun.words, *words], note)
                assert cost.seconds < LIMIT + spare, f"{cost.seconds:.1f} s"
                assert cost.rss < honest + MORE_MEMORY, f"{cost.rss >> 10} MiB, honest {honest >> 10}"
                assert "Traceback" not in cost.err
                assert not hostile.harm(cost.out + cost.err), hostile.harm(cost.out + cost.err)
                if name == "list":
                    assert (cost.code, cost.out.splitlines()[1].split()[:2]) == (0, ["vm1", "running"])
                elif way.startswith("after-") and name == "thaw":
                    assert " 5 " in cost.out
                else:
                    assert cost.code in {1, 3, 7}, cost.err
                    assert cost.err.startswith("kvmrun: "), cost.err
