"""Where a test is found: a file tests a module of its name, and every command has a file that gives it."""

import ast
import re
from pathlib import Path

import kvmrun
from kvmrun.cli import commands

ROOT, HERE = Path(kvmrun.__file__).parent, Path(__file__).parent
LAYERS = ("model", "config", "plan", "export", "host", "monitor", "ui", "api")
WHOLE = {"api": {"api", "public"}}
"""Files about a layer as a whole."""
TESTED_IN = {
    **dict.fromkeys(("edit", "new", "rename", "rm"), "definitions"),
    **dict.fromkeys(("pause", "reset", "restart", "resume", "wait"), "lifecycle"),
    **dict.fromkeys(("check", "init", "show"), "lab"),
    **dict.fromkeys(("help", "man"), "manual"),
    **dict.fromkeys(("cp", "ssh"), "agent"),
    "build": "json",
    "kill": "stop",
    "thaw": "freeze",
}
"""The file of a command that has none of its own name."""


def names(layer: str) -> set[str]:
    """The modules of a layer and its folders."""
    found = {path.stem for path in (ROOT / layer).rglob("*.py")} - {"__init__"}
    return found | {path.parent.name for path in (ROOT / layer).glob("*/__init__.py")}


def test_a_file_is_named_after_what_it_tests() -> None:
    strangers = []
    for layer in LAYERS:
        known = names(layer) | WHOLE.get(layer, set())
        for path in (HERE / layer).glob("test_*.py"):
            if path.stem.removeprefix("test_") not in known:
                strangers.append(f"{layer}/{path.name}")
    assert strangers == []


def test_a_file_uses_the_layer_that_it_tests() -> None:
    found = [(layer, path) for layer in LAYERS for path in (HERE / layer).glob("test_*.py")]
    mine = [(layer, path) for layer, path in found if path.stem[5:] not in WHOLE.get(layer, set())]
    assert [path for layer, path in mine if not re.search(rf"from kvmrun\.{layer}[. ]", path.read_text())] == []


def test_every_command_is_given_in_the_file_of_its_name() -> None:
    for name in commands.names():
        own = HERE / f"commands/test_{name.replace('-', '_')}.py"
        path = HERE / f"commands/test_{TESTED_IN[name]}.py" if name in TESTED_IN else own
        assert (name in TESTED_IN) != own.exists(), name
        texts = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        given = any(text.startswith(f"{name} ") or text == name or f"kvmrun {name} " in text for text in texts)
        assert name == "up" or given, f"{path.name} never gives {name}"  # the word up is seldom said
