"""Where the systems are that scripts have built for tests."""

import os

import pytest


def state_with(*files: str, script: str) -> str:
    """The state directory that has these files; skips where none has all of them, and names the script to run."""
    for state in (os.environ.get("KVMRUN_TEST_STATE", ""), "/var/lib/kvmrun"):
        if state and all(os.path.exists(f"{state}/{one}") for one in files):
            return state
    pytest.skip(f"needs what this builds: {script}")
