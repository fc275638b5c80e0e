"""Findings for people: what fits a terminal, what is left whole to be copied, and the same text for a pipe."""

import os

import pytest

from kvmrun.model.finding import ok, problem
from kvmrun.ui.text import doctor_text

LONG = "chain ip filter FORWARD drops what guests send out, what comes back to them (its policy is drop); not ours"
MEND = "nft '" + "insert rule ip filter DOCKER-USER accept; " * 4 + "'"
FOUND = [ok("tun", "taps can be made"), problem("filter", LONG, MEND).replace(permanent="ufw allow in on br0")]


def test_a_pipe_gets_a_line_each() -> None:
    plain = [f"PROBLEM  filter: {LONG}", f"         fix: {MEND}", "         permanent: ufw allow in on br0"]
    assert list(doctor_text.finding_lines(FOUND, color=False)) == ["ok       tun: taps can be made", *plain]


@pytest.mark.parametrize("color", [False, True])
def test_a_terminal_gets_lines_that_fit_but_for_what_is_to_be_copied(
    monkeypatch: pytest.MonkeyPatch, *, color: bool
) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    text = "\n".join(doctor_text.finding_lines(FOUND, color=color))
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[1m", "\x1b[0m"):
        text = text.replace(code, "")
    lines = text.split("\n")
    assert lines[-2:] == [f"         fix: {MEND}", "         permanent: ufw allow in on br0"]
    assert max(map(len, lines[:-2])) <= 80
    assert " ".join(" ".join(lines[1:-2]).split()) == f"PROBLEM filter: {LONG}"
