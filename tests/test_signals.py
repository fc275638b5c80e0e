"""The suite sets the signals that its tests send, whatever the shell that starts it has ignored."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from support.world import until

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_an_object_is_deleted_is_not_lost(number: signal.Signals) -> None:
    """Python prints "Exception ignored in" there, and the command would go on as if nobody had asked it to end."""
    code = f"""if True:
        import os, time
        from kvmrun.cli import main as cli
        def generated():
            try:
                yield
            finally:
                os.kill(os.getpid(), {int(number)})
                for _ in range(100000): pass
        def command(words):
            left = generated()
            next(left)
            del left
            time.sleep(60)
            return 0
        cli._dispatch = command
        print(cli.run([]))
    """
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=HERE.parent, capture_output=True, text=True, timeout=50, check=True)
    assert (done.stdout, "ignored" in done.stderr) == (f"{128 + number}\n", False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_the_last_output_is_written_ends_the_command(number: signal.Signals) -> None:
    """The reader of a pipe does not read on: the command waits in its last write, after everything else is done."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(1 << 12))
    os.set_blocking(writer, True)
    words = [sys.executable, "-m", "kvmrun", "--version"]
    with subprocess.Popen(words, cwd=HERE.parent, stdout=writer, stderr=subprocess.PIPE, text=True) as child:
        until(lambda: "pipe_write" in Path(f"/proc/{child.pid}/wchan").read_text())
        child.send_signal(number)
        _, said = child.communicate(timeout=20)
    for fd in (reader, writer):
        os.close(fd)
    assert (child.returncode, said) == (128 + number, "")
