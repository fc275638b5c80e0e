"""Counting: a fault test has many cases, goes on after one that fails, and is a row of the table at the end."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_PROPERTY = "faults"


@dataclass
class Row:
    """One check of the fault suite: how many cases it had, of how many planned in the full tier, and what failed."""

    check: str
    what: str
    planned: int
    full: bool
    cases: int = 0
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def case(self, name: object) -> Iterator[None]:
        """One case. What it raises is a failure of the row, and the next case goes on."""
        self.cases += 1
        try:
            yield
        except Exception as error:
            self.failures.append(f"{name}: {type(error).__name__}: {error}")

    def count(self, quick: int) -> int:
        """How many cases to make: as many as are planned in the full tier, else `quick`."""
        return self.planned if self.full else quick

    def sample(self, cells: Sequence[Any], quick: int) -> Sequence[Any]:
        """All of them in the full tier, else about `quick` from all over."""
        return cells if self.full else cells[:: -(-len(cells) // quick)]


class Tally:
    """The rows of one test. Made by the fixture `tally`."""

    def __init__(self, *, full: bool) -> None:
        self.full = full
        self.rows: list[Row] = []

    def row(self, check: str, what: str, planned: int) -> Row:
        """A new row: `check` as C-01, `what` in words, `planned` the least number of cases of the full tier."""
        self.rows.append(Row(check=check, what=what, planned=planned, full=self.full))
        return self.rows[-1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the fault suite with every case of its plan")
    help_of_rows = "a file that the rows of several runs are gathered in, for one table: the last of each test counts"
    parser.addoption("--rows", type=Path, help=help_of_rows)
    parser.addoption("--results", type=Path, help="a Markdown file that the table is written to")


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Rows of the table. Fails the test where a case failed, none was made, or the full tier made too few."""
    found = Tally(full=request.config.getoption("--full"))
    yield found
    problems = []
    for row in found.rows:
        told = {
            "failures": len(row.failures),
            "first": row.failures[:3],
            "test": request.node.nodeid,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
        }
        request.node.user_properties.append((_PROPERTY, json.dumps(vars(row) | told)))
        problems += [f"{row.check} {text}" for text in row.failures[:20]]
        least = row.planned if row.full else 1
        if row.cases < least:
            problems.append(f"{row.check}: {row.cases} cases, {least} wanted")
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--full") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_AsTheyEnd(config))


class _AsTheyEnd:
    """Prints the rows of each test when it ends: a run takes long, and may be cut before its table."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        for row in _rows_of(report):
            failed = "".join(f"\n  {text}" for text in row["first"])
            terminal.write(f"\n{_line(row)} [{report.nodeid.partition('::')[2]}]{failed}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table: one line for each check, those of several tests added up."""
    reports = {id(one): one for kind in terminalreporter.stats.values() for one in kind if hasattr(one, "when")}
    found = [row for report in reports.values() for row in _rows_of(report)]
    kept = terminalreporter.config.getoption("--rows")
    if kept and not hasattr(terminalreporter.config, "workerinput"):
        found = _with_earlier(found, kept)
    rows: dict[str, dict[str, Any]] = {}
    for new in found:
        old = rows.setdefault(new["check"], new | {"cases": 0, "failures": 0, "planned": 0})
        for key in ("cases", "failures", "planned"):
            old[key] += new[key]
    if not rows:
        return
    table = [f"{'check':<8}{'cases':>8}{'of':>8}{'failed':>8}  what", *(_line(rows[check]) for check in sorted(rows))]
    terminalreporter.section("faults")
    for line in table:
        terminalreporter.write_line(line)
    if results := terminalreporter.config.getoption("--results"):
        tier = "full tier" if terminalreporter.config.getoption("--full") else "sample tier"
        dates = sorted({row["date"] for row in found})
        results.write_text(_document(table, tier, " to ".join(dates[:1] + dates[1:][-1:])), encoding="utf-8")


def _with_earlier(found: list[dict[str, Any]], kept: Path) -> list[dict[str, Any]]:
    """The rows, and those that the file has of other tests; the file has them all then."""
    again = {row["test"] for row in found}
    earlier = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.exists() else []
    rows = [*(row for row in earlier if row["test"] not in again), *found]
    kept.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return rows


def _rows_of(report: pytest.TestReport) -> list[dict[str, Any]]:
    """The rows that a finished test left in its report."""
    kept = report.user_properties if report.when == "teardown" else []
    return [json.loads(str(text)) for name, text in kept if name == _PROPERTY]


def _line(row: dict[str, Any]) -> str:
    return f"{row['check']:<8}{row['cases']:>8}{row['planned']:>8}{row['failures']:>8}  {row['what']}"


_ABOUT = """# Results of the fault suite

This file is written by `scripts/faults --full`; do not edit it. `of` is the smallest number of cases that the plan asks
for, `cases` how many were made, and `failed` how many of these did not behave as described.

"""
_VERSIONS = {
    "QEMU": ("qemu-system-x86_64", "--version"),
    "dnsmasq": ("dnsmasq", "--version"),
    "nftables": ("nft", "--version"),
}


def _document(table: list[str], tier: str, dates: str) -> str:
    """The Markdown document: the dates, the machine and its versions, then the table."""
    versions = [f"{name}: {_first_line(command)}" for name, command in _VERSIONS.items()]
    facts = [
        f"{dates}, {tier}",
        f"Linux {platform.release()}, {os.cpu_count()} processors",
        f"Python {platform.python_version()}",
        *versions,
    ]
    return (
        _ABOUT + "".join(f"- {fact}\n" for fact in facts) + "\n```\n" + "".join(f"{line}\n" for line in table) + "```\n"
    )


def _first_line(command: tuple[str, ...]) -> str:
    """The first line that a program prints of its version."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "not installed"
    return next(iter(done.stdout.splitlines()), "unknown")
