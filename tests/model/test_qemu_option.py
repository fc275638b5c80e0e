"""No text of a definition becomes an option: it reaches QEMU as the one value it is, or not at all."""

import json
import re
from collections.abc import Iterable
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmrun.config.toml_values import Converter
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.qemu_option import Option, VncDirectory, argv
from kvmrun.model.paths import GuestRuntime
from kvmrun.model.scalars import GuestName, PathBase

PLACE = GuestRuntime(guest="vm1", uuid="u", directory="/run/vm1", log="/state/log/vm1", ports=())
HOSTILE = [
    ",",
    ",,",
    "=",
    "x,id=evil",
    '"',
    '","driver":"vvfat',
    "\\",
    "-S",
    "--",
    "$(id)",
    "`id`",
    "json:{}",
    "nbd:",
    "%s",
    "'",
]
free = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40) | st.sampled_from(HOSTILE)


def guest(text: str) -> Guest:
    """A guest with `text` in every free field."""
    table = {
        "description": text,
        "boot": {"kernel": f"/k/{text}", "initrd": f"/i/{text}", "cmdline": text},
        "drive": [{"image": f"/d/{text}", "format": "qcow2", "base": f"/b/{text}", "base_format": "raw"}],
    }
    found = Converter("vm1.toml", PathBase(directory="/lab", images="/images")).convert(
        Guest, table, name=GuestName("vm1")
    )
    assert isinstance(found, Guest)
    return found


def parsed(words: Iterable[tuple[str, ...]], one: Guest) -> list[Any]:
    """The command as QEMU reads it, with the guest's own texts under the names of their fields."""
    drive, boot = one.drive[0], one.boot
    names = {drive.image: "image", drive.base: "base", boot.kernel: "kernel", boot.initrd: "initrd"}
    return [
        (flag, *(word == boot.cmdline if flag == "-append" else _renamed(_read(word), names) for word in rest))
        for flag, *rest in words
    ]


def _read(word: str) -> Any:
    return json.loads(word) if word.startswith('{"') else word


def _renamed(tree: Any, names: dict[Any, str]) -> Any:
    if isinstance(tree, dict):
        return {key: _renamed(value, names) for key, value in tree.items()}
    return names.get(tree, tree) if isinstance(tree, str) else tree


PLAIN = guest("plain")


@given(free)
def test_free_text_reaches_qemu_as_one_value_only(text: str) -> None:
    found, plain = (parsed(argv(one.options(PLACE, vhost=True), None), one) for one in (guest(text), PLAIN))
    assert found == plain


@given(free)
def test_as_run_no_path_reaches_qemu_at_all(text: str) -> None:
    def run(one: Guest) -> list[Any]:
        options, numbers = list(one.options(PLACE, vhost=True)), count(10)
        table = {handle: [next(numbers)] for option in options for handle in option.handles()}
        return [words for words in argv(options, table) if words[0] != "-append"]

    assert run(guest(text)) == run(PLAIN)


@given(free, free)
def test_commas_in_a_keyed_value_are_doubled(first: str, second: str) -> None:
    (_, word) = Option(flag="chardev", text="socket", props={"path": f"/{first}", "id": f"/{second}"}).argv(None)
    parts = [part.replace(",,", ",") for part in re.findall(r"(?:[^,]|,,)+", word)]
    assert parts == ["socket", f"path=/{first}", f"id=/{second}"]


def test_a_comma_in_the_vnc_directory_is_doubled() -> None:
    assert VncDirectory(path="/a,b").typed() == "unix:/a,,b/v"


@pytest.mark.parametrize(("text", "words"), [("", ("-S",)), ("x", ("-S", "x"))])
def test_an_option_may_be_its_flag_alone(text: str, words: tuple[str, ...]) -> None:
    assert Option(flag="S", text=text).argv(None) == words
