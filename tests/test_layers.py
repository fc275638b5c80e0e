"""The layers, read from the syntax trees: which module imports which, and how large modules and functions are."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from support.table import each

import kvmrun

ROOT = Path(kvmrun.__file__).parent
MODULES = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}
LAYERS = {
    **dict.fromkeys(("errors",), 1),
    "model": 2,
    **dict.fromkeys(("plan", "config", "export"), 3),
    **dict.fromkeys(("host", "monitor", "ui"), 4),
    "api": 5,
    **dict.fromkeys(("cli", "__main__"), 6),
}
MAY_IMPORT = {"__init__", "errors", "model", "ui", "api", "cli"}
"""What a command may import."""
COMMAND = "kvmrun.cli.commands."
MOST = 14
"""How many modules a folder may have."""
CHANGES_SIGNALS = {"kvmrun.host.process.signals": {"signal.signal"}}
"""Who replaces handlers of signals: for a command alone."""
ONLY_IN = {
    "pyroute2": "kvmrun.host.links.pyroute2_links",
    "pycdlib": "kvmrun.host.seed.iso_image",
    "qemu": "kvmrun.monitor.",
    "requests": "kvmrun.host.images.http_client",
    "urllib3": "kvmrun.host.images.http_client",
    "rich": "kvmrun.ui.",
    "markdown_it": "kvmrun.ui.",
    "prompt_toolkit": "kvmrun.ui.",
    "yaml": "kvmrun.host.seed.yaml_check",
}


def each_module(check: Callable[[str], None]) -> Callable[[], None]:
    """A test of every module."""

    def checked() -> None:
        each(MODULES, check)

    checked.__name__, checked.__doc__ = check.__name__, check.__doc__
    return checked


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


@cache
def ours(module: str) -> frozenset[str]:
    """The modules of ours that `module` imports."""
    named = {name for name in imports(module) if name.split(".")[0] == "kvmrun"}
    return frozenset(name if name in MODULES else f"{name}.__init__" for name in named)


def package(module: str) -> str:
    return module.split(".")[1]


def layer(module: str) -> int:
    return 0 if package(module) == "__init__" else LAYERS[package(module)]


def is_thin(command: str) -> bool:
    """Whether a command is at most 60 lines that know only the API, what people see, and the values of the model."""
    return len(MODULES[command].read_text().splitlines()) <= 60 and {*map(package, ours(command))} <= MAY_IMPORT


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@each_module
def test_imports_point_down_or_stay_in_their_package(module: str) -> None:
    wrong = {other for other in ours(module) if layer(other) >= layer(module) and package(other) != package(module)}
    if package(module) == "api":  # the screen is on a lower layer, and none of its business
        wrong |= {other for other in ours(module) if package(other) == "ui"}
        assert "argparse" not in {*imports(module)}
    assert not wrong - ({"kvmrun.cli.main"} if module == "kvmrun.__main__" else set())


def test_commands_are_thin() -> None:
    found = [name for name in MODULES if name.startswith(COMMAND) and "__init__" not in name]
    assert [name for name in found if not is_thin(name)] == []


def test_no_two_modules_of_a_layer_share_a_name() -> None:
    """The same subject has the same name in two layers; within one layer a name means one thing."""
    found: dict[tuple[str, str], list[str]] = {}
    for module in MODULES:
        name = module.rpartition(".")[2]
        if name != "__init__":
            found.setdefault((package(module), name), []).append(module)
    twice = [modules for (where, _), modules in found.items() if len(modules) > 1 and where != "cli"]
    in_cli = [modules for (where, _), modules in found.items() if len(modules) > 1 and where == "cli"]
    assert not twice
    assert all(any(one.startswith(COMMAND) for one in modules) and len(modules) == 2 for modules in in_cli)


def test_a_folder_is_an_index() -> None:
    """At most about twelve modules in a folder; that of the commands has one for each."""
    folders: dict[str, int] = {}
    for module in MODULES:
        folder, _, name = module.rpartition(".")
        folders[folder] = folders.get(folder, 0) + (name != "__init__")
    assert {folder: count for folder, count in folders.items() if count > MOST and folder != COMMAND[:-1]} == {}


def test_no_imports_go_in_circles() -> None:
    list(TopologicalSorter({module: ours(module) - {module} for module in MODULES}).static_order())


@each_module
def test_outside_libraries_stay_where_they_belong(module: str) -> None:
    for name in imports(module):
        assert module.startswith(ONLY_IN.get(name.split(".")[0], module)), name


@each_module
def test_no_module_of_the_interpreters_own_is_used(module: str) -> None:
    private = {name for name in imports(module) if name.startswith("_") and name in sys.stdlib_module_names}
    assert private <= {"__future__"}


@each_module
def test_the_pure_layers_need_only_the_standard_library(module: str) -> None:
    assert layer(module) > 3 or {name.split(".")[0] for name in imports(module)} <= {"kvmrun", *sys.stdlib_module_names}


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
def test_a_public_function_that_raises_says_so(module: str) -> None:
    if package(module) == "cli":  # whose errors end in one place, which prints them
        return
    for one in tree(module).body:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and not one.name.startswith("_"):
            raised = [node for node in ast.walk(one) if isinstance(node, ast.Raise) and node.exc is not None]
            assert not raised or re.search(r"[Rr]aise|[Rr]efuse", ast.get_docstring(one) or ""), one.name


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
def test_only_the_command_line_changes_the_process_it_is_in(module: str) -> None:
    """What the API is called by goes on in its directory, with its umask, its limits and its signals."""
    changes = {f"os.{name}" for name in ("chdir", "fchdir", "umask", "nice", "putenv", "unsetenv", "dup2", "fork")}
    changes |= {"resource.setrlimit", "signal.signal", "signal.alarm", "sys.exit", "os._exit", "locale.setlocale"}
    found = {ast.unparse(node.func) for node in ast.walk(tree(module)) if isinstance(node, ast.Call)} & changes
    assert found == CHANGES_SIGNALS.get(module, set()) or package(module) in {"cli", "ui", "__main__"}


def _names(module: str) -> set[str]:
    """Every name and attribute that a module uses."""
    nodes = list(ast.walk(tree(module)))
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }


def test_only_one_module_connects_to_a_unix_socket() -> None:
    """It checks who listens there: a conversation with a guest cannot be opened without."""
    found = {
        module for module in MODULES if "AF_UNIX" in (names := _names(module)) and names & {"connect", "connect_ex"}
    }
    assert found == {"kvmrun.monitor.guest_socket"}
    assert not [module for module in MODULES if _names(module) & {"open_unix_connection", "create_unix_connection"}]


@each_module
def test_no_name_is_only_there_for_the_type_checker(module: str) -> None:
    assert "TYPE_CHECKING" not in MODULES[module].read_text()


@each_module
def test_no_path_of_the_machine_it_was_written_on_is_left(module: str) -> None:
    assert not re.search(r"/(work|home|root)/", MODULES[module].read_text())


@each_module
def test_the_state_of_a_guest_is_decided_in_one_place(module: str) -> None:
    """Others ask for it; how the reply to query-status reads is known to one module."""
    reading = re.search(r'(get|field)\("query-status"|\["query-status"\]', MODULES[module].read_text())
    assert not reading or module == "kvmrun.model.guest.guest_state"
