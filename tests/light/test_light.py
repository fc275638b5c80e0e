"""The light parts of the standard library say what the whole ones say."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvmrun
from kvmrun.light import json as light_json
from kvmrun.light import signal as light_signal
from kvmrun.light import socket as light_socket
from kvmrun.light.typing import Any, Literal, assert_never, choices

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(trees, st.booleans())
def test_json_is_written_alike(tree: object, sort: bool) -> None:
    assert light_json.dumps(tree, sort_keys=sort) == json.dumps(tree, sort_keys=sort)


@given(trees.map(json.dumps) | st.text('[]{}",:0123456789.eE+- \n\ttrufalsn\\', max_size=30))
def test_json_is_read_alike(text: str) -> None:
    try:
        wanted = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            light_json.loads(text)
    else:
        assert repr(light_json.loads(text)) == repr(light_json.loads(text.encode())) == repr(wanted)


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError):
        light_json.dumps({"a": object()})
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="Circular"):
        light_json.dumps(endless)
    with pytest.raises(ValueError, match="utf-8"):
        light_json.loads(b'"\xff"')
    with pytest.raises(RecursionError):
        light_json.loads("[" * 100_000)


def test_signals_and_sockets_have_the_same_numbers(tmp_path: Path) -> None:
    assert light_signal.SIGTERM == signal.SIGTERM
    assert light_signal.getsignal(light_signal.SIGUSR2) is light_signal.SIG_DFL
    with light_socket.socket(light_socket.AF_UNIX, light_socket.SOCK_STREAM | light_socket.SOCK_CLOEXEC) as at:
        at.bind(f"{tmp_path}/s")
        at.listen(1)
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(f"{tmp_path}/s")
    assert at.fileno() == -1


def test_words_for_annotations_stand_where_typing_has_them() -> None:
    assert choices(Literal["a", "b"]) == ("a", "b")
    assert choices(Literal["a"]) == ("a",)
    assert choices(Any) == choices(str | None) == ()
    assert Literal["a"] | None
    assert None | Literal["a"]
    assert Mapping[str, Any]
    assert Any | None
    with pytest.raises(AssertionError, match="nobody thought of 3"):
        assert_never(3)  # type: ignore[arg-type]


def test_our_modules_are_found_as_they_would_be_found_anyway(tmp_path: Path) -> None:
    """Compiled and current ones are; what was changed, and what is not compiled, is left to the usual search."""
    package = tmp_path / "kvmrun"
    shutil.copytree(Path(kvmrun.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import sys; from kvmrun.light import imports; imports.begin()\n"
        "import kvmrun.model.lab as lab, kvmrun.model as model\n"
        "print(type(lab.__loader__).__name__, lab.__file__, lab.__cached__, lab.__package__, *model.__path__)\n"
        "print(*(type(sys.modules[name].__loader__).__name__ for name in ('kvmrun.model', 'kvmrun.model.nic')))\n"
    )

    def told() -> list[str]:
        words = [sys.executable, "-c", program]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path, env={})
        return done.stdout.split()

    module = package / "model/lab.py"
    cached = str(package / f"model/__pycache__/lab.{sys.implementation.cache_tag}.pyc")
    rest = [str(module), cached, "kvmrun.model", str(package / "model")]
    assert told() == ["SourceFileLoader", *rest, "SourceFileLoader", "SourceFileLoader"]
    assert told() == ["_Loader", *rest, "_Loader", "_Loader"]
    module.write_text(module.read_text() + "\n# changed\n")
    assert told() == ["SourceFileLoader", *rest, "_Loader", "_Loader"]
