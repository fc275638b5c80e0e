"""The suite sets the signals that its tests send, whatever the shell that starts it has ignored."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SENT = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM)
HERE = Path(__file__).parent


@pytest.mark.parametrize("number", SENT)
def test_a_program_started_by_a_test_is_ended_by_a_signal(number: signal.Signals) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        child.send_signal(number)
        assert child.wait(10) == -number


def test_the_harness_hears_signals_in_the_background() -> None:
    """A shell without job control starts what is followed by & with SIGINT and SIGQUIT ignored."""
    code = "import conftest, signal; print(*(int(signal.getsignal(n) == signal.SIG_IGN) for n in (1, 2, 3, 15)))"
    script = 'trap "" HUP TERM; "$@" & wait $!'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-c", code],
        cwd=HERE, env={"PYTHONPATH": f"{HERE}:{HERE.parent}"}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "0 0 0 0\n"
