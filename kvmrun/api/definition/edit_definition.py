"""Editing the text of a definition: it is saved once it is valid, and an invalid text is kept."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kvmrun.api.definition.definitions import definition_path, errors_added_by, require_writable
from kvmrun.api.lab import LabHandle, no_such_guest, read_definitions
from kvmrun.config.load_lab import RESERVED
from kvmrun.errors import ConfigError, Refused, UsageError
from kvmrun.host.files import definition_files, draft_files
from kvmrun.host.rundir import rundir
from kvmrun.model.lab import Problem
from kvmrun.model.paths import Paths
from kvmrun.model.printable import printable
from kvmrun.model.value import Value


class Saved(Value):
    """A definition after it was edited. `is_running` says whether a guest runs by an earlier text of it."""

    path: str
    is_changed: bool
    is_running: bool


class Editing:
    """The text of a definition in a file of the user's own, `draft`, which anybody may change. Use `editing`."""

    def __init__(self, paths: Paths, stem: str, draft: str, old: bytes) -> None:
        self._paths = paths
        self._stem = stem
        self._path = definition_path(paths, stem)
        self._old = old
        self.draft = draft
        self.is_saved = False

    def problems(self) -> list[Problem]:
        """What is wrong with the draft; of a text that was not changed, nothing is."""
        new = definition_files.read(self.draft)
        return definition_problems(self._paths, self._stem, new) if new != self._old else []

    def save(self) -> Saved:
        """Put the draft in the place of the definition.

        Raises: ConfigError where it is not valid; Refused where the definition was changed meanwhile.
        """
        if problems := self.problems():
            fix = f"kvmrun edit {self._stem} --from {self.draft} continues with what was typed"
            lines = tuple(f"{one}" for one in problems)
            raise ConfigError(f"{self._stem} is not valid and was not saved", fix, lines=lines)
        new = definition_files.read(self.draft)
        if new != self._old and definition_files.read(self._path) != self._old:
            fix = f"diff {self.draft} {self._path} shows the differences; kvmrun edit {self._stem} --from "
            fix += f"{self.draft} saves your text"
            raise Refused(f"{self._path} was changed by somebody else meanwhile", fix)
        saved = _saved(self._paths, self._stem, is_changed=new != self._old)
        if saved.is_changed:
            _write(self._path, self._old, new)
        self.is_saved = True
        return saved


@contextmanager
def editing(
    lab: LabHandle, stem: str, *, source: str | None = None, kept: Callable[[str], None] = lambda _: None
) -> Iterator[Editing]:
    """The text of a guest's definition, or of `networks` or `defaults`, to be edited and saved within the body.

    It begins with the text of the file `source`, where that is given. A draft that is not saved and holds a text that
    is nowhere else stays; `kept` is called with its path.

    Raises: NoSuchGuest; NotPermitted where the lab cannot be written; UsageError where there is no file `source`;
    OSError where a file cannot be read.
    """
    paths = lab.paths
    _require_editable(paths, stem)
    if source and not os.path.isfile(source):
        raise UsageError(f"there is no file {printable(source, 200)}", f"kvmrun edit {stem}")
    old = definition_files.read(definition_path(paths, stem))
    draft = draft_files.place(f"{stem}.toml")
    text, first = Editing(paths, stem, draft, old), old
    try:
        first = definition_files.read(source) if source else old
        definition_files.create(draft, first)
        yield text
    finally:
        if text.is_saved or definition_files.read(draft) in {b"", old, first}:
            draft_files.remove(draft)
        else:
            kept(os.path.abspath(draft))


def save_definition(lab: LabHandle, stem: str, text: bytes) -> Saved:
    """Put `text` in the place of a guest's definition, or of `networks` or `defaults`, if the lab is valid with it.

    Raises: NoSuchGuest; NotPermitted where the lab cannot be written; ConfigError with every problem of the text.
    """
    paths = lab.paths
    _require_editable(paths, stem)
    old = definition_files.read(definition_path(paths, stem))
    if text != old and (problems := definition_problems(paths, stem, text)):
        lines = tuple(f"{one}" for one in problems)
        raise ConfigError(f"{stem} is not valid and was not saved", f"kvmrun edit {stem}", lines=lines)
    saved = _saved(paths, stem, is_changed=text != old)
    if saved.is_changed:
        _write(saved.path, old, text)
    return saved


def definition_problems(paths: Paths, stem: str, text: bytes) -> list[Problem]:
    """Every error that this file would have with `text`, and those of others that are its doing."""
    after, new = errors_added_by(LabHandle(paths), {f"{stem}.toml": text})
    own = [one for one in after.problems if one.file == f"{stem}.toml" and not one.warning]
    return [*own, *(one for one in new if one not in own)]


def _require_editable(paths: Paths, stem: str) -> None:
    before = read_definitions(paths)
    if stem not in {*RESERVED, *before.guests, *before.invalid}:
        raise no_such_guest(before, stem)
    require_writable(paths)


def _write(path: str, old: bytes, new: bytes) -> None:
    if old:
        definition_files.replace(path, new)
    else:
        definition_files.create(path, new)


def _saved(paths: Paths, stem: str, *, is_changed: bool) -> Saved:
    """What is told of a definition that is about to be saved: once it is, nothing may fail any more."""
    runs = stem not in RESERVED and rundir.is_running(paths.guest(stem))
    return Saved(path=definition_path(paths, stem), is_changed=is_changed, is_running=runs)
