"""What `import kvmrun` offers: the same names at run time and to type checkers, each loaded when it is asked for."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest
from support.table import each

import kvmrun

STUB = Path(kvmrun.__file__).with_suffix(".pyi")


def test_the_stub_has_every_public_name_from_its_module() -> None:
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    stubbed = {(alias.asname, node.module) for node in imports for alias in node.names if alias.name == alias.asname}
    assert stubbed == set(kvmrun._MODULES.items())
    assert len(stubbed) == sum(len(node.names) for node in imports)


def test_a_public_name_is_documented_and_can_be_loaded() -> None:
    def check(name: str) -> None:
        found = getattr(kvmrun, name)
        assert name in dir(kvmrun)
        assert not callable(found) or name in {"Report"} or found.__doc__

    each(kvmrun.__all__, check)


def test_what_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'launch'"):
        kvmrun.launch  # noqa: B018 - the look-up is the test


def test_importing_the_package_loads_no_use_case() -> None:
    program = "import sys, kvmrun; print([name for name in sys.modules if name.startswith('kvmrun.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_types_are_shipped() -> None:
    assert STUB.with_name("py.typed").exists()


def test_a_public_function_says_what_it_raises_and_in_what_its_times_are() -> None:
    def check(name: str) -> None:
        found = getattr(kvmrun, name)
        if not isinstance(found, FunctionType) or name == "discard":
            return
        told = inspect.getdoc(found) or ""
        assert "Raises: " in told
        if "timeout" in inspect.signature(found).parameters:
            assert "seconds" in told

    each(kvmrun.__all__, check)
