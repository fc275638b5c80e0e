"""The light parts of the standard library say what the whole ones say."""

import contextlib
import ipaddress
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvmrun
from kvmrun.light import contextlib as light_contextlib
from kvmrun.light import ipaddress as light_ipaddress
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
        "print(*(type(sys.modules[name].__loader__).__name__ for name in ('kvmrun.model', 'kvmrun.model.guest.nic')))\n"
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


octets = st.integers(-1, 300) | st.sampled_from([0, 1, 127, 128, 192, 224, 240, 248, 252, 254, 255])
dotted = st.lists(octets.map(str) | st.text("0123456789٣ .-+x\n", max_size=4), min_size=3, max_size=5).map(".".join)
slashed = st.tuples(dotted, st.integers(-1, 34).map(str) | dotted | st.text("0123456789 /", max_size=3)).map("/".join)
KINDS = ("IPv4Address", "IPv4Network", "IPv4Interface", "IPv6Network")


def made(module: ModuleType, kind: str, given: object) -> Any:
    try:
        return getattr(module, kind)(given)
    except ValueError:
        return None


@given(dotted | slashed | st.text(max_size=20) | st.integers(-1, 1 << 33))
def test_addresses_are_read_and_written_alike(given: str | int) -> None:
    for kind in KINDS if isinstance(given, str) else KINDS[:1]:
        whole, light = made(ipaddress, kind, given), made(light_ipaddress, kind, given)
        assert str(whole) == str(light), kind
        assert repr(whole) == repr(light), kind


networks = st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 32)).map(
    lambda pair: (pair[0] >> (32 - pair[1]) << (32 - pair[1]), pair[1])
)


@given(networks, networks, st.integers(0, (1 << 32) - 1))
def test_networks_count_alike(one: tuple[int, int], other: tuple[int, int], number: int) -> None:
    found = []
    for module in (ipaddress, light_ipaddress):
        own, theirs, at = module.IPv4Network(one), module.IPv4Network(other), module.IPv4Address(number)
        face = module.IPv4Interface((at, one[1]))
        facts = [own.network_address, own.broadcast_address, own.netmask, own.num_addresses, own.prefixlen]
        facts += [at in own, own.overlaps(theirs), own.subnet_of(theirs), own == theirs]
        facts += [face, face.ip, face.network, face.netmask, int(at), at < own.network_address, at <= own[0], own[-1]]
        facts += [at == face.ip, at == number, at in {face.ip}, own == str(own), module.IPv4Address(at) == at]
        found.append([str(fact) for fact in facts])
    assert found[0] == found[1]
    for count in (-1, 1, number):
        results = []
        for module in (ipaddress, light_ipaddress):
            try:
                at = module.IPv4Address(number)
                results.append((str(at + count), str(at - count)))
            except ValueError:
                results.append(("", ""))
        assert results[0] == results[1]


class Told(Exception):
    """What a body or an end raises."""


@pytest.mark.parametrize("body", ["ends", "raises", "stops"])
@pytest.mark.parametrize(
    "makes", ["yields", "swallows", "replaces", "wraps", "goes on", "goes on after", "never", "at once"]
)
def test_contexts_end_alike(makes: str, body: str) -> None:
    """A generator that does `makes` around a body that does `body`, alone and in a stack: the same events and error."""
    for way in (_alone, _stacked):
        found = [_events(way, module, makes, body) for module in (contextlib, light_contextlib)]
        if makes.startswith("goes on"):  # when such a generator is closed is another thing in each Python
            found = [[one for one in events if one != "out"] for events in found]
        assert found[0] == found[1], way


def _generator(makes: str, events: list[object]) -> Any:
    try:
        events.append("in")
        if makes == "at once":
            raise Told("at once")
        if makes != "never":
            yield "given"
        if makes == "goes on":
            yield "more"
    except (Told, StopIteration) as why:
        if makes == "goes on after":
            yield "more"
        elif makes in {"replaces", "wraps"}:
            raise (Told if makes == "replaces" else RuntimeError)("another") from why
        elif makes != "swallows":
            raise
    finally:
        events.append("out")


def _done(body: str, events: list[object]) -> None:
    events.append(body)
    if body != "ends":
        raise (Told if body == "raises" else StopIteration)("body")


def _alone(module: Any, context: Any, body: str, events: list[object]) -> None:
    with context() as given:
        events.append(given)
        _done(body, events)


def _stacked(module: Any, context: Any, body: str, events: list[object]) -> None:
    kept = module.ExitStack()
    with module.ExitStack() as stack:
        stack.callback(events.append, "called")
        events.append(stack.enter_context(context()))
        stack.enter_context(context())
        _done(body, events)
        kept = stack.pop_all()
    events.append("kept")
    with kept, module.suppress(Told):
        raise Told("suppressed")
    kept.callback(events.append, "closed")
    kept.close()


def _events(way: Any, module: Any, makes: str, body: str) -> list[object]:
    """What happened, and the error it ended with: kind, words and cause. Where Python's own words differ, its kind."""
    events: list[object] = []

    @module.contextmanager
    def context() -> Any:
        """Its words."""
        return _generator(makes, events)

    assert (context.__name__, context.__doc__) == ("context", "Its words.")
    try:
        way(module, context, body, events)
    except (Told, RuntimeError, StopIteration) as why:
        events.append([type(why), isinstance(why, Told) and str(why), type(why.__cause__), bool(why.__context__)])
    return events
