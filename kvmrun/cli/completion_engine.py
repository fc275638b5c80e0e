"""The answer when a shell asks what may come next: commands, flags and choices, guests, groups, networks, NICs.

What a word may be follows from its metavar, the same that --help shows: a new command is completed by being there.
"""

import os
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from argcomplete.completers import DirectoriesCompleter, FilesCompleter
from argcomplete.finders import CompletionFinder
from argcomplete.lexers import split_line

from kvmrun.api.definition.new_guest_os import os_names
from kvmrun.api.lab import own_guests, read_definitions
from kvmrun.cli import commands
from kvmrun.cli.arguments import everywhere, opened
from kvmrun.cli.manual_pages.topics import pages
from kvmrun.errors import KvmrunError, UsageError
from kvmrun.host.rundir import rundir
from kvmrun.model.guest.readiness import Ready
from kvmrun.model.lab import Lab, nic_names
from kvmrun.model.printable import printable
from kvmrun.model.scalars import GuestName

Found = Mapping[str, str] | Iterable[str]
Which = Callable[[list[str]], tuple[str, list[str]]]
"""What the words before the cursor call for: a command's name, and the words that are its own."""


def answer(which: Which) -> int:
    """Answer the shell on the descriptor it opened for that; the exit code. A bug here must not litter a prompt."""
    try:
        _, _, _, words, _ = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
        _Finder()(_parser(words[1:], which), always_complete_options=False, exit_method=_Done.end)
    except _Done as done:
        return int(f"{done}")
    except Exception:
        return 1
    return 0


class _Finder(CompletionFinder):
    """Flags may stand among the words, which argparse alone takes for the end of a list of names: they go first."""

    def _get_completions(self, comp_words: list[str], *rest: Any) -> list[str]:
        assert self._parser is not None
        flags: list[str] = []
        plain: list[str] = []
        left = comp_words[:0:-1]
        while left:
            word = left.pop()
            action = self._parser._option_string_actions.get(word)
            if action and action.nargs != 0 and (action.nargs or not left):
                plain += [word, *reversed(left)]  # it takes what is being typed, or all that follows
                break
            (flags if word.startswith("-") else plain).append(word)
            if action and action.nargs is None:
                flags.append(left.pop())
        found: list[str] = super()._get_completions([comp_words[0], *flags, *plain], *rest)  # type: ignore[no-untyped-call]
        return found


class _Done(Exception):
    """The answer is given; the text is the exit code."""

    @classmethod
    def end(cls, code: int) -> None:
        raise cls(code)


def _parser(words: list[str], which: Which) -> ArgumentParser:
    """A parser of what was typed, with a completer for each word whose metavar says what it is."""
    parser = ArgumentParser(prog="kvmrun")
    if "--" in words:
        return parser  # what follows is not ours
    everywhere(parser)
    try:
        name, rest = which(words)
    except UsageError:
        name, rest = "", words
    module = commands.load(name) if name else None
    if module is None:
        parser.add_argument("--list", action="store_true", help=commands.help_of("list"))
        parser.add_argument("--version", action="store_true", help="tell the version")
        parser.add_argument("word", metavar="COMMAND")
    else:
        if len(rest) < len(words) and "--list" not in words:
            parser.add_argument("word")  # the command's own
        module.configure(parser)
    for action in parser._actions:
        if isinstance(action.metavar, str) and not action.choices:
            action.completer = _COMPLETERS.get(action.metavar, _nothing)  # type: ignore[attr-defined]
    return parser


def _lab(typed: Namespace) -> Lab:
    where = opened(typed).paths
    try:
        return read_definitions(where)
    except KvmrunError:
        return Lab(directory=where.vms)


def _command(prefix: str, parsed_args: Namespace, **_: object) -> Found:
    return {name: commands.help_of(name) for name in commands.names()} | _names(prefix, parsed_args, groups=True)


def _guest(prefix: str, parsed_args: Namespace, action: Action, **_: object) -> Found:
    """Guests, but for those that are there already; where several may be named, groups as well."""
    several = action.nargs in {"*", "+"}
    typed = getattr(parsed_args, action.dest, None) if several else None
    found = _names(prefix, parsed_args, groups=several)
    return {name: told for name, told in found.items() if name not in (typed or ())}


def _names(prefix: str, typed: Namespace, *, groups: bool) -> dict[str, str]:
    """Guests by name, also those that run without a definition, and groups."""
    lab, found = _lab(typed), {}
    with suppress(KvmrunError):
        where = opened(typed).paths
        found = dict.fromkeys(own_guests(where, rundir.guest_names(where.run)), "runs, and has no definition")
    found |= dict.fromkeys(lab.invalid, "its definition is invalid")
    found |= {name: printable(guest.description, 60) or "a guest" for name, guest in lab.guests.items()}
    if groups:
        found |= {f"@{one}": "a group" for guest in lab.guests.values() for one in guest.groups}
    return {name: told for name, told in found.items() if name.startswith(prefix) and _is_name(name)}


def _is_name(word: str) -> bool:
    """Whether it is a name: a file may be called anything."""
    try:
        return bool(GuestName.parse(word.removeprefix("@")))
    except ValueError:
        return False


def _system(prefix: str, parsed_args: Namespace, **_: object) -> Found:
    """The operating systems of osinfo-db whose IDs begin so."""
    return os_names(opened(parsed_args), prefix)


def _network(parsed_args: Namespace, **_: object) -> Found:
    if getattr(parsed_args, "verb", "") is None:  # a network is named after the verb
        return ()
    return {name: f"{one.bridge} {one.host_address()}" for name, one in _lab(parsed_args).networks.items()}


def _nic(parsed_args: Namespace, **_: object) -> Found:
    """The NICs of the guest that was named before."""
    guest = _lab(parsed_args).guests.get(getattr(parsed_args, "guest", None) or "")
    return nic_names(guest.nic) if guest else ()


def _condition(**_: object) -> Found:
    return [word.strip('"').removesuffix("NUMBER").removesuffix("TEXT") for word in _CONDITIONS]


def _file_or_guest(prefix: str, parsed_args: Namespace, **_: object) -> Found:
    """A file here, or one in a guest."""
    guests = _names(prefix, parsed_args, groups=False)
    return {f"{name}:": told for name, told in guests.items()} | dict.fromkeys(FilesCompleter()(prefix), "")


def _image(prefix: str, parsed_args: Namespace, **_: object) -> Found:
    """Images that the lab pins, those of the catalogue, and files."""
    from kvmrun.api.image.images import catalogue_images, image_status

    found: dict[str, str] = {}
    with suppress(KvmrunError):
        found = {one.name: one.title for one in catalogue_images(opened(parsed_args))}
        found |= {one.name: "pinned" for one in image_status(opened(parsed_args)) if one.name}
    known = {name: told for name, told in found.items() if name.startswith(prefix)}
    return known | dict.fromkeys(FilesCompleter()(prefix), "")


def _topic(**_: object) -> Found:
    return _page() | {name: commands.help_of(name) for name in commands.names()}


def _page(**_: object) -> dict[str, str]:
    return {page.topic: page.summary() for page in pages()}


def _user(**_: object) -> Found:
    import pwd

    return [one.pw_name for one in pwd.getpwall()]


def _nothing(**_: object) -> Found:
    """Words nobody can guess, such as seconds."""
    return ()


_CONDITIONS = (*Ready.WANTED.replace(" or", ",").split(", "), "stopped")
_COMPLETERS: Mapping[str, Callable[..., Found]] = {
    "COMMAND": _command,
    "NAME": _guest,
    "NETWORK": _network,
    "NIC": _nic,
    "COND": _condition,
    "USER": _user,
    "TOPIC": _topic,
    "PAGE": _page,
    "DIR": DirectoriesCompleter(),
    "FILE": FilesCompleter(),
    "IMAGE": _image,
    "ISO": FilesCompleter(),
    "OS": _system,
    "SRC": _file_or_guest,
    "DST": _file_or_guest,
}
