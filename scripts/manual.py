"""The parts of the manual that repeat the code, written anew between their markers.

    <!-- generated: KIND ARGUMENT -->
    <!-- end -->

Commands, options, exit codes and the names of the Python API come from the code with their descriptions. Of keys,
states and environment variables the code knows the names, types and defaults: the description below each term is
written by hand in the page and kept.
"""

import argparse
import ast
import difflib
import importlib
import inspect
import itertools
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import kvmrun
from kvmrun.cli import commands
from kvmrun.cli.arguments import everywhere
from kvmrun.cli.command_examples import TASKS
from kvmrun.config.networks_file import NetworksFile
from kvmrun.config.toml_values import choices
from kvmrun.errors import EXIT_CODES
from kvmrun.model.firmware.boot import Boot
from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.guest_state import HALTED, STATES
from kvmrun.model.guest.guest_status import NicStatus, Status
from kvmrun.model.guest.nic import Nic
from kvmrun.model.guest.resource_limits import Limits
from kvmrun.model.image.catalogue_entry import CatalogueEntry, Release
from kvmrun.model.image.pinned_image import PinnedImage
from kvmrun.model.machine.processor import Topology
from kvmrun.model.network.network import Dhcp, Dns, Network, Uplink
from kvmrun.model.scalars import OneLine, SafeWord
from kvmrun.model.seed.seed import Seed, SeedFile
from kvmrun.model.value import Value

PACKAGE = Path(kvmrun.__file__).parent
PAGES = PACKAGE / "manual"
TABLES: dict[str, type[Value]] = {
    "guest": Guest, "topology": Topology, "limits": Limits, "boot": Boot, "drive": Drive, "nic": Nic,
    "seed": Seed, "seed-file": SeedFile, "pin": PinnedImage, "catalogue": CatalogueEntry, "release": Release,
    "file": NetworksFile, "network": Network, "dhcp": Dhcp, "dns": Dns, "uplink": Uplink,
}
_TABLES_OF_THEIR_OWN = {"topology", "boot", "seed", "limits", "drive", "nic", "network", "uplink"}
_KINDS = {
    "bool": "`true` or `false`", "int": "integer", "str": "name of a network", "Size": 'size, as `"2G"`',

        OneLine.__name__: "text",
        "FilePath": "path",
        "BaseImage": "path, or name of a pinned image",
        "CpuModel": "CPU model",
        "MachineType": "machine type",
        "OsName": "ID in osinfo-db",
        "Uuid": "UUID",
        SafeWord.__name__: "one word"
    ,
    "Display": '`"none"`, `"vnc"` or `"vnc:PORT"`', "Ready": "condition", "Mac": "MAC address", "Domain": "domain",
    "UplinkName": "name of an uplink", "GuestName": "name of a guest", "GroupName": "name of a group",
    "NicName": "name", "LinkName": "name of an interface", "IPv4Address": "IPv4 address", "Lease": "time",
    "IPv4Network": "IPv4 subnet", "IPv6Network": "IPv6 prefix", "Pool": "range of addresses", "Forward": "forward",
    "Behind": "route", "Upstream": '`"host"` or list of IPv4 addresses', "Mapping": "table",
    "AccountName": "name of an account", "PublicKey": "public key", "PackageName": "name of a package",
    "ShellCommand": "command", "SeedFile": "table", "TimeZone": "name of a time zone", "LocaleName": "name of a locale",
    "LabFile": "path", "GuestPath": "path", "Text": "text", "FileMode": "mode", "FileOwner": "`ACCOUNT:GROUP`",
    "Digest": "digest", "Url": "address", "Fingerprint": "fingerprint",
    "Dhcp": "table, or `false`", "Dns": "table, or `false`",
}
"""How the types of the model are called in the manual."""
_BLOCK = re.compile(r"<!-- generated: (.+?) -->\n(.*?)<!-- end -->", re.DOTALL)
_ENTRY = re.compile(r"^- `(.+?)`[^\n]*\n(.*?)(?=^- |\Z)", re.DOTALL | re.MULTILINE)
_VARIABLE = re.compile(r"""environ(?:\.get\(|\[)["']([A-Z]\w+)["']|"([A-Z]\w+)" (?:not )?in os\.environ""")
_NOT_DOCUMENTED = {"COMP_LINE", "COMP_POINT", "PATH"}
"""What a shell sets for completion, and the PATH, which is only compared with how the program was called."""


def page(text: str) -> str:
    """A page with every generated block as the code is now."""
    return _BLOCK.sub(lambda block: f"<!-- generated: {block[1]} -->\n{_made(block[1], block[2])}<!-- end -->", text)


def undescribed(text: str) -> list[str]:
    """The terms of generated blocks that nothing is said about."""
    return [entry[1] for block in _BLOCK.finditer(text) for entry in _ENTRY.finditer(block[2]) if not entry[2].strip()]


def _made(kind: str, now: str) -> str:
    name, _, argument = kind.partition(" ")
    return _GENERATORS[name](argument, {entry[1]: entry[2].strip("\n") for entry in _ENTRY.finditer(now)})


Descriptions = Mapping[str, str]


def _entries(entries: Iterable[tuple[str, str]]) -> str:
    return "\n" + "".join(
        f"- {term}\n\n{_indented(text)}\n\n" if text.strip() else f"- {term}\n\n" for term, text in entries
    )


def _indented(text: str) -> str:
    """A description as it stands below its term: by hand it is so already."""
    return text if text.startswith("  ") else "\n".join(f"  {line}" if line else "" for line in text.split("\n"))


def keys(table: str, kept: Descriptions) -> str:
    cls = TABLES[table]
    names = [key for key in cls.FIELDS if not (key == "name" and cls is not Nic) and not _is_own_table(cls, key)]
    return _entries((f"`{key}` - {_signature(cls, key)}", kept.get(key, "")) for key in names)


def _is_own_table(cls: type[Value], key: str) -> bool:
    return key in _TABLES_OF_THEIR_OWN and not (
        (cls in {Network, Guest} and key == "uplink") or (cls is not Guest and key == "seed") or cls is Nic
    )


def _signature(cls: type[Value], key: str) -> str:
    default = cls.DEFAULTS.get(key, ...)
    kind = _kind(cls.FIELDS[key])
    if default is ...:
        return f"{kind}; required"
    if default is None or default == "" or isinstance(default, Value | Mapping):
        return kind
    return f"{kind}; default `{_toml(default)}`"


def _kind(kind: Any) -> str:
    if values := [one for one in choices(kind) if one]:
        return _alternatives([f'`"{one}"`' for one in values])
    if isinstance(kind, types.UnionType):
        kinds = dict.fromkeys(_kind(one) for one in reversed(kind.__args__) if one is not types.NoneType)
        return _alternatives(
            [word for one in kinds for word in one.split(" or ")] if bool in kind.__args__ else [*kinds]
        )
    if getattr(kind, "__origin__", None) is tuple:
        return f"list of {_plural(_kind(kind.__args__[0]))}"
    name = getattr(kind, "__name__", "") or type(kind).__name__
    return _KINDS.get(name) or sys.exit(f"scripts/manual.py: what is the type {name} called in the manual?")


def _plural(kind: str) -> str:
    first, space, rest = kind.partition(" of ")
    return (
        kind
        if kind.startswith("`") or kind == "text"
        else f"{first}s{space}{rest.replace('a ', '').replace('an ', '')}{'s' if rest else ''}"
    )


def _alternatives(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return (
            f"[{', '.join(map(_toml, value))}]"
            if not isinstance(value, type(TABLES["dns"].DEFAULTS["upstream"]))
            else '"host"'
        )
    return str(value) if type(value) is int else f'"{value}"'


def tasks(_argument: str, _kept: Descriptions) -> str:
    """Every command by task: how it is called, what it does, its options and two examples."""
    return "".join(_task(task, members) for task, members in TASKS.items())


def _task(task: str, members: Mapping[str, Iterable[tuple[str, str]]]) -> str:
    return f"\n### {task.capitalize()}\n\n" + "".join(_command(name, examples) for name, examples in members.items())


def _command(name: str, examples: Iterable[tuple[str, str]]) -> str:
    module = commands.load(name)
    assert module is not None
    parser = _parser(name, module.configure)
    line = getattr(module, "COMMAND_LINE", "")
    usage = f"kvmrun {name} [OPTION ...] {line}" if line else " ".join(parser.format_usage().split()[1:])
    text = f"{_sentence(module.HELP)}"
    if hasattr(module, "TIMEOUT"):
        text += f"\nDefault of `--timeout`: {module.TIMEOUT}."
    text += (
        f"\n{_entries(_options(parser))}" + "Examples:\n\n```\n" + "".join(f"{line}\n" for line, _ in examples) + "```"
    )
    return f"- `{usage}`\n\n{_indented(text)}\n\n"


def options(_argument: str, _kept: Descriptions) -> str:
    """The options that every command has."""
    return _entries(_options(_parser("", everywhere)))


def _parser(name: str, configure: Callable[[Any], None]) -> argparse.ArgumentParser:
    prog = "kvmrun [up]" if name == "up" else f"kvmrun {name}"
    wide = lambda prog: argparse.HelpFormatter(prog, width=10_000)  # noqa: E731 - argparse wants a class
    parser = argparse.ArgumentParser(prog=prog, add_help=False, formatter_class=wide)
    configure(parser)
    return parser


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in parser._actions:
        if action.help:
            yield f"`{_invocation(action)}`", _sentence(parser._get_formatter()._expand_help(action))


def _invocation(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"{{{','.join(action.choices)}}}" if action.choices and not action.metavar else f"{action.metavar}"
    value = "" if action.nargs == 0 else f" {action.metavar or '{' + ','.join(action.choices or ()) + '}'}"
    return ", ".join(action.option_strings) + (f"[={value.strip()}]" if action.nargs == "?" else value)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def fields(table: str, kept: Descriptions) -> str:
    """The keys of a JSON object."""
    cls = {"status": Status, "nic": NicStatus}[table]
    return _entries((f"`{key}`", kept.get(key, "")) for key in cls.FIELDS)


def states(_argument: str, kept: Descriptions) -> str:
    return _entries((f"`{state}`", kept.get(state, "")) for state in (*STATES, *HALTED))


def variables(_argument: str, kept: Descriptions) -> str:
    """Every environment variable that the package looks at."""
    text = "".join(path.read_text() for path in sorted(PACKAGE.rglob("*.py")))
    found = {found[1] or found[2] for found in _VARIABLE.finditer(text)} - _NOT_DOCUMENTED
    names = sorted(found, key=lambda name: (not name.startswith("KVMRUN"), name))
    return _entries((f"`{name}`", kept.get(name, "")) for name in names)


def codes(_argument: str, _kept: Descriptions) -> str:
    return _entries((f"`{code}`", _sentence(text)) for code, text in EXIT_CODES.items())


def names(modules: str, _kept: Descriptions) -> str:
    """The public names of the Python API that these modules and the modules of these packages have."""
    prefixes = tuple(f"{prefix}." for prefix in modules.split())
    found = [name for name, module in kvmrun._MODULES.items() if f"{module}.".startswith(prefixes)]
    found.sort(key=lambda name: isinstance(getattr(kvmrun, name), type))
    return _entries((f"`{name}{_arguments(getattr(kvmrun, name))}`", _summary(name)) for name in found)


def _arguments(public: Any) -> str:
    """How a function is called, or a value made; "" for an error, and for what nobody has to make."""
    if isinstance(public, type) and issubclass(public, Value):
        fields = [f"{name}{_default(public.DEFAULTS.get(name, ...))}" for name in public.FIELDS]
        return f"({', '.join(fields)})"
    if not inspect.isfunction(public):
        return ""
    words: list[str] = []
    for parameter in inspect.signature(public).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(f"{parameter.name}{_default(... if parameter.default is parameter.empty else parameter.default)}")
    return f"({', '.join(words)})"


def _default(value: Any) -> str:
    if value is ...:
        return ""
    if isinstance(value, str):
        return f'="{value}"'
    if isinstance(value, bool | int | float | tuple | None):
        return f"={value}"
    if isinstance(value, Value):
        return f"={type(value).__name__}()"
    name = getattr(value, "__name__", "")
    return f"={name}" if name.isidentifier() and not name.startswith("_") else "=..."


def _summary(name: str) -> str:
    """The first sentence of what is documented about a public name, up to a semicolon."""
    public = getattr(kvmrun, name)
    if isinstance(public, types.UnionType):
        return f"One of {', '.join(f'`{one.__name__}`' for one in public.__args__)}."
    documented = isinstance(public, type) or inspect.isfunction(public)
    text = inspect.getdoc(public) if documented else _text_below(name, kvmrun._MODULES[name])
    return re.split(r"[.;](?:\s|$)", " ".join(f"{text}".split()))[0] + "."


def _text_below(name: str, module: str) -> str:
    """The text that documents a variable of a module, which Python does not keep: it stands below the assignment."""
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    for node, following in itertools.pairwise(body):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name and isinstance(following, ast.Expr):
            return f"{ast.literal_eval(following.value)}"
    raise KeyError(name)


_GENERATORS = {
    "keys": keys, "commands": tasks, "options": options, "names": names,
    "fields": fields, "states": states, "environment": variables, "exit": codes,
}


def main(words: list[str]) -> int:
    changed = False
    for path in sorted(PAGES.glob("*.md")):
        old = path.read_text()
        new = page(old)
        if "--check" in words:
            name = str(path.relative_to(PACKAGE.parent))
            sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), name, name))
        else:
            path.write_text(new)
        changed = changed or old != new
        for term in undescribed(new):
            sys.stdout.write(f"{path.name}: nothing is said about {term}\n")
    return int(changed and "--check" in words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
