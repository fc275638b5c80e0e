"""How far a seed is, by what the guest says of it."""

import json

from support.table import each

from kvmrun.api.conversation.seed_status import parse_status


def result(errors: object, source: object = "DataSourceNoCloud [seed=/dev/sr0]", output: str = "") -> str:
    return f"result\n{json.dumps({'v1': {'errors': errors, 'datasource': source}})}\n{output}"


CASES = [
    ("", "unknown"),
    ("nonsense\n", "unknown"),
    ("running\n", "running"),
    ("disabled\n", "failed"),
    (result([]), "done"),
    (result([], "DataSourceNone"), "failed"),
    (result(["broken"]), "failed"),
    (result("text"), "failed"),
    (result(None), "failed"),
    ("result\n", "failed"),
    ("result\n[]\n", "failed"),
    ("result\n{\n", "failed"),
    (f"result\n{'[' * 100_000}\n", "failed"),
    ("systemd\nstarting\nActiveState=inactive\n", "running"),
    ("systemd\ninitializing\n", "running"),
    ("systemd\nrunning\nActiveState=active\n", "done"),
    ("systemd\ndegraded\nActiveState=inactive\n", "done"),
    ("systemd\nstarting\nActiveState=failed\nsh: 3: no: not found\n", "failed"),
    ("systemd\n", "done"),
]


def test_every_answer_is_one_of_four_states() -> None:
    def check(case: tuple[str, str]) -> None:
        assert parse_status(case[0]).state == case[1]

    each(CASES, check)


def test_the_words_of_the_guest_are_told_and_cannot_do_harm() -> None:
    found = parse_status(result(["a\x1b[2J", {"b": 1}, *["more"] * 100], output="line\x07\n\nlast\n"))
    assert found.lines[-1] == "last"
    assert len(found.lines) < 20
    assert all(line.isprintable() for line in found.lines)
    unit = parse_status("systemd\nrunning\nActiveState=failed\nsh: 3: no: not found\n")
    assert unit.lines == ("sh: 3: no: not found",)
    assert ("cloud-init" in found.log, "kvmrun-seed.service" in unit.log) == (True, True), "where all of them are"
