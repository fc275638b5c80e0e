"""What the words of a running QEMU tell: they are ours, and outlive every file."""

import itertools
import json
from collections.abc import Iterator, Sequence

from kvmrun.model.machine.processor import BALLOON

_LAST = ("rng0", "agent-port", BALLOON)
"""The devices of which one is the last of our own options."""


def after(words: Sequence[str], flag: str) -> str:
    """The word after a flag of ours, "" when it is not there."""
    return next((value for name, value in itertools.pairwise(words) if name == flag), "")


def number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _options(words: Sequence[str], flag: str) -> Iterator[dict[str, str]]:
    for name, value in itertools.pairwise(words):
        if name == flag and value.startswith("{"):
            try:
                yield json.loads(value)
            except ValueError:
                continue


def nic_devices(words: Sequence[str]) -> Iterator[dict[str, str]]:
    return (one for one in _options(words, "-device") if {"mac", "netdev"} <= one.keys())


def netdev_fd(words: Sequence[str], name: str) -> str:
    for one in _options(words, "-netdev"):
        if one.get("id") == name:
            return str(one.get("fd") or one.get("fds", "")).partition(":")[0]
    return ""


def raw(words: Sequence[str]) -> tuple[str, ...]:
    """The user's own words: whatever comes after the last of our options."""
    import shlex

    ours = [at for at, word in enumerate(words) if any(f'"id": "{name}"' in word for name in _LAST)]
    return tuple(shlex.quote(word) for word in words[max(ours, default=len(words)) + 1 :])
