"""One source for every Python from 3.11 on: what each of them must read and make of it."""

import ast
import importlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.table import each

import kvmrun
from kvmrun.model.value import Value

ROOT = Path(kvmrun.__file__).parent
SOURCES = [*sorted(ROOT.rglob("*.py")), *sorted(Path(__file__).parent.rglob("*.py"))]


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Every class of the package that is written at the top of its module, with the module's name."""
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                yield module, node


def values() -> dict[str, ast.ClassDef]:
    """The value classes by module and name: those with `Value` above them, at any distance."""
    found: dict[str, ast.ClassDef] = {}
    bases = {"Value"}
    while new := {
        f"{module}:{node.name}": node
        for module, node in classes()
        if {ast.unparse(base) for base in node.bases} & bases and f"{module}:{node.name}" not in found
    }:
        found |= new
        bases |= {node.name for node in new.values()}
    return found


VALUES = values()


def annotated(node: ast.ClassDef) -> list[str]:
    return [one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]


def test_the_value_classes_are_found() -> None:
    assert {
        "kvmrun.model.guest.guest:Guest",
        "kvmrun.model.guest.nic:Nic",
        "kvmrun.model.guest.launch_record:Record",
    } <= VALUES.keys()


def test_a_value_has_the_fields_and_defaults_that_are_written_down() -> None:
    def check(name: str) -> None:
        module, _, cls_name = name.partition(":")
        cls = getattr(importlib.import_module(module), cls_name)
        assert issubclass(cls, Value)
        inherited = [key for base in cls.__mro__[1:] if issubclass(base, Value) for key in base.FIELDS]
        own = annotated(VALUES[name])
        assert {*cls.FIELDS} == {*inherited, *own}
        assert [key for key in cls.FIELDS if key in own] == own
        with_values = {
            node.target.id
            for node in VALUES[name].body
            if isinstance(node, ast.AnnAssign) and node.value and isinstance(node.target, ast.Name)
        }
        assert {key for key in own if key in cls.DEFAULTS} == with_values
        filled = dict.fromkeys(cls.FIELDS)
        assert cls(**filled).as_dict() == filled

    each(VALUES, check)


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_a_value_has_its_own_annotations_and_those_it_inherits(future: str) -> None:
    """Evaluated at once, lazily, or never: the fields are the same, and nothing of a parent is taken for one's own."""
    source = f"""{future}
from kvmrun.model.value import Value
class Base(Value):
    a: int
    b: str = "b"
class Plain(Base):
    pass
class Child(Plain):
    b: str = "c"
    later: tuple[int, ...] = ()
"""
    scope: dict[str, type[Value]] = {"__name__": __name__}  # type: ignore[dict-item]
    exec(compile(source, "<values>", "exec", dont_inherit=True), scope)
    assert [*scope["Plain"].FIELDS] == [*scope["Base"].FIELDS] == ["a", "b"]
    assert [*scope["Child"].FIELDS] == ["a", "b", "later"]
    assert scope["Plain"].DEFAULTS == {"b": "b"}
    assert scope["Child"](a=1).as_dict() == {"a": 1, "b": "c", "later": ()}
    assert scope["Base"].DEFAULTS == {"b": "b"}


def test_the_oldest_python_can_read_it() -> None:
    for path in SOURCES:
        ast.parse(path.read_text(), str(path), feature_version=(3, 11))


def test_nothing_depends_on_a_version_of_python() -> None:
    names = {"version_info", "hexversion", "python_version", "python_version_tuple"}
    for path in sorted(ROOT.rglob("*.py")):
        found = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not found & names, path


def test_the_project_says_which_pythons_it_is_for() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    told = {line.rpartition(" ")[2] for line in project["classifiers"] if line.startswith("Programming Language")}
    assert told == {"3.11", "3.12", "3.13", "3.14"}
