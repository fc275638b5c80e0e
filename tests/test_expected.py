"""The table of what people expect names tests that exist, and leaves nothing that was meant for now without one."""

import ast
import re
from functools import cache
from pathlib import Path

from support.table import each

HERE = Path(__file__).parent
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split(" | ")]
    for line in (HERE / "EXPECTED.md").read_text().splitlines()
    if re.match(r"\| [A-Z][0-9]", line)
]


@cache
def names(file: str) -> set[str]:
    """The tests of a file, those in classes by both names."""
    tree = ast.parse((HERE / file).read_text())
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return functions | {f"{one.name}::{node.name}" for one in classes for node in one.body if hasattr(node, "name")}


def test_a_row_names_tests_that_exist() -> None:
    def check(row: list[str]) -> None:
        _, what, wanted, proof = row
        found = re.findall(r"([\w/]+\.py)::([\w:]+)", proof)
        assert what
        assert found or (wanted != "M" and "later" in proof)
        for file, name in found:
            assert name in names(file), f"{file}::{name}"

    each(ROWS, check)


def test_every_row_that_was_meant_for_now_is_there() -> None:
    meant = {"F": (1, 2, 3), "G": (1, 2, 3, 4, 5, 6, 8), "H": (1, 2, 3, 4, 5, 12, 13, 14), "J": (1, 2, 3, 4, 7, 9)}
    assert {f"{group}{number}" for group, numbers in meant.items() for number in numbers} <= {
        row[0] for row in ROWS if row[2] == "M"
    }
