"""The house, read from its syntax trees: who imports whom, and how large a page may be."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import kvmrun

ROOT = Path(kvmrun.__file__).parent
MODULES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}
FLOORS = {
    **dict.fromkeys(("errors", "light"), 0),
    "model": 1,
    **dict.fromkeys(("plan", "config", "export"), 2),
    **dict.fromkeys(("host", "monitor", "ui"), 3),
    "commands": 4,
    **dict.fromkeys(("cli", "__main__"), 5),
}
ONLY_IN = {
    "pyroute2": "kvmrun.host.links.iproute",
    "qemu": "kvmrun.monitor.",
    "rich": "kvmrun.ui.",
    "markdown_it": "kvmrun.ui.",
    "prompt_toolkit": "kvmrun.ui.",
}
each_module = pytest.mark.parametrize("module", MODULES)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def imports(module: str) -> Iterator[str]:
    """Every module named in an import, within functions too; `from a import b` is a.b where that is a module."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert not node.level, "imports are written in full"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                package = f"{inner}.__init__" in MODULES or inner in MODULES
                yield inner if package else node.module


def ours(module: str) -> set[str]:
    """The modules of ours that `module` imports."""
    named = {name for name in imports(module) if name.split(".")[0] == "kvmrun"}
    return {name if name in MODULES else f"{name}.__init__" for name in named}


def room(module: str) -> str:
    return module.split(".")[1]


def floor(module: str) -> int:
    return 0 if room(module) == "__init__" else FLOORS[room(module)]


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@each_module
def test_imports_point_down_or_stay_in_their_room(module: str) -> None:
    wrong = {other for other in ours(module) if floor(other) >= floor(module) and room(other) != room(module)}
    assert not wrong - ({"kvmrun.cli"} if module == "kvmrun.__main__" else set())


def test_no_imports_go_in_circles() -> None:
    list(TopologicalSorter({module: ours(module) - {module} for module in MODULES}).static_order())


@each_module
def test_outside_libraries_stay_where_they_belong(module: str) -> None:
    for name in imports(module):
        assert module.startswith(ONLY_IN.get(name.split(".")[0], module)), name


@pytest.mark.parametrize("module", [name for name in MODULES if floor(name) <= 2])
def test_the_pure_floors_need_only_the_standard_library(module: str) -> None:
    assert {name.split(".")[0] for name in imports(module)} <= {"kvmrun", *sys.stdlib_module_names}


@each_module
def test_a_module_says_what_it_is_for_and_fits_on_its_page(module: str) -> None:
    assert ast.get_docstring(tree(module))
    assert len(MODULES[module].read_text().splitlines()) <= 300


@each_module
def test_functions_are_short_and_take_few_things(module: str) -> None:
    for one in functions(module):
        assert one.end_lineno is not None
        assert one.end_lineno - one.lineno < 40, one.name
        assert len([arg for arg in one.args.posonlyargs + one.args.args if arg.arg not in {"self", "cls"}]) <= 5


@each_module
def test_dataclasses_are_frozen_and_take_keywords(module: str) -> None:
    for node in ast.walk(tree(module)):
        for mark in node.decorator_list if isinstance(node, ast.ClassDef) else []:
            if re.fullmatch(r"(dataclasses\.)?dataclass(\(.*)?", ast.unparse(mark)):
                assert isinstance(mark, ast.Call)
                assert {word.arg for word in mark.keywords if ast.unparse(word.value) == "True"} >= {
                    "frozen",
                    "kw_only",
                }


@each_module
def test_nothing_prints_past_the_edges(module: str) -> None:
    calls = [node.func for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id in {"print", "eval", "exec"}]


@each_module
def test_no_name_is_only_there_for_the_type_checker(module: str) -> None:
    assert "TYPE_CHECKING" not in MODULES[module].read_text()


@each_module
def test_no_path_of_the_machine_it_was_written_on_is_left(module: str) -> None:
    assert not re.search(r"/(work|home|root)/", MODULES[module].read_text())
