"""Every key of every table with every odd value: it is taken, or told of in one sentence, and nothing else happens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tally import Tally

from kvmrun.config.load_lab import load_lab
from kvmrun.config.networks_file import NetworksFile
from kvmrun.model.firmware.boot import Boot
from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.nic import Nic
from kvmrun.model.guest.resource_limits import Limits
from kvmrun.model.lab import Lab
from kvmrun.model.machine.processor import Topology
from kvmrun.model.network.network import Dhcp, Dns, Network, Uplink
from kvmrun.model.value import Value

ODD = {
    "empty": '""',
    "blank": '" "',
    "false": "false",
    "true": "true",
    "zero": "0",
    "minus one": "-1",
    "huge": "9223372036854775807",
    "a float": "1.5",
    "nan": "nan",
    "inf": "-inf",
    "a date": "2026-11-29",
    "a time": "07:32:00",
    "a moment": "2026-11-29T07:32:00Z",
    "an empty list": "[]",
    "a list": '["a", 1, true]',
    "a nested list": "[[[]]]",
    "an empty table": "{}",
    "a table": '{ x = "y" }',
    "a list of tables": "[{}, { x = 1 }]",
    "unicode": '"ä\\u2028\\u202e\\ud7ff"',
    "controls": '"a\\u0000\\u001b[31m\\n\\r"',
    "long": f'"{"x" * 3000}"',
    "a comma": '"a,b=c"',
    "quotes": "'\"'",
    "slashes": '"../../../etc/passwd"',
    "a percent sign": '"%s%n"',
    "digits": '"123"',
    "hexadecimal": "0xff",
}
GUEST: dict[str, type[Value]] = {
    "": Guest,
    "topology": Topology,
    "boot": Boot,
    "limits": Limits,
    "drive": Drive,
    "nic": Nic,
}
NETWORKS: dict[str, type[Value]] = {
    "": NetworksFile,
    "network.lan": Network,
    "network.lan.dhcp": Dhcp,
    "network.lan.dns": Dns,
    "uplink.out": Uplink,
}


def _guest(table: str, key: str, value: str) -> str:
    head = f"[[{table}]]\n" if table in {"drive", "nic"} else f"[{table}]\n" if table else ""
    needed = 'image = "a.raw"\n' if table == "drive" and key != "image" else ""
    kernel = 'kernel = "k"\n' if table == "boot" and key != "kernel" else ""
    return f"{head}{needed}{kernel}{key} = {value}\n"


def _networks(table: str, key: str, value: str) -> str:
    needed = 'interface = "eth0"\n' if table == "uplink.out" and key != "interface" else ""
    return (f"[{table}]\n" if table else "") + f"{needed}{key} = {value}\n"


def cases() -> Iterator[tuple[str, str, str, str]]:
    """(file, table and key, what the value is, text)"""
    for tables, file, written in ((GUEST, "vm1.toml", _guest), (NETWORKS, "networks.toml", _networks)):
        for table, cls in tables.items():
            for key in cls.FIELDS:
                for what, value in ODD.items():
                    yield file, f"{table}.{key}".strip("."), what, written(table, key, value)


def _judge(lab: Lab, file: str, key: str, what: str) -> None:
    errors = [one for one in lab.problems if not one.warning]
    for one in lab.problems:
        assert (one.wanted or one.text).strip(), one
        assert str(one).isprintable(), one
        assert len(str(one)) < 1000, one
    assert len({str(one) for one in errors}) == len(errors), f"said twice: {errors}"
    if file == "vm1.toml":
        assert ("vm1" in lab.invalid) == bool(errors)
    else:
        assert all(one.file == file for one in errors), f"said of others too: {errors}"
    if what in {"empty", "a float", "nan", "inf", "a date", "a time", "a moment", "an empty table", "a nested list"}:
        empty_table = what == "an empty table" and key.rpartition(".")[2] in TABLES
        assert errors or empty_table, f"{key} = {ODD[what]} was taken in silence"


TABLES = {"topology", "boot", "limits", "dhcp", "dns", "options", "names", "network", "uplink"}
"""Keys whose value is a table, of which the empty one says what holds anyhow."""


def test_every_key_with_every_odd_value(lab: Path, tally: Tally) -> None:
    every = list(cases())
    row = tally.row("V-10", "every key of every table with odd values: taken, or told in one sentence", len(every))
    for file, key, what, text in every if tally.full else every[::3]:
        (lab / "vm1.toml").write_text("")
        (lab / "networks.toml").write_text("")
        (lab / file).write_text(text)
        with row.case(f"{key} = {ODD[what][:40]}"):
            _judge(load_lab(str(lab), "/images"), file, key, what)


@pytest.mark.parametrize("key", ["[network.lan]\nx", "[network.lan.dhcp.options]\n19", "[network.lan.names]\nx"])
def test_a_key_of_a_persons_own(lab: Path, key: str) -> None:
    (lab / "vm1.toml").touch()
    for what, value in ODD.items():
        (lab / "networks.toml").write_text(f"{key} = {value}\n")
        found = load_lab(str(lab), "/images")
        if what not in {"empty", "digits", "a comma", "slashes"}:
            assert [one for one in found.problems if one.file == "networks.toml"], (what, value)
