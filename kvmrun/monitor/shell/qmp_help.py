"""Help and completion of the monitor shell, from the schema of the QEMU it talks to."""

from collections.abc import Iterator, Mapping
from textwrap import wrap

from kvmrun.errors import UsageError
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.monitor.qmp.qmp_schema import Command, Member, Schema
from kvmrun.monitor.shell.qmp_arguments import closest_hint
from kvmrun.monitor.shell.shell_lexer import tokenize

_OWN = {"help": "what a command takes and returns", "exit": "leave; the guest runs on"}
_INTRO = (
    "COMMAND ARGUMENT=VALUE …    values are typed by what the command takes",
    "  file.driver=file          a dotted argument reaches into an object",
    '  list=[{"a": 1}]           JSON is taken as it is; "…" and \'…\' are text',
    '{"execute": "COMMAND"}      the same as QMP has it',
    "/info status                a command of the human monitor",
    "help COMMAND | WORD         one command, or all that have this in their name",
    "help events                 what may be announced between the lines",
    "exit, or Ctrl-D             leave; the guest runs on",
)
_LEFT = 34
_DEEPEST = 2


class Completion(Value):
    """`text` replaces the last `length` characters before the cursor; `meta` says what it is."""

    text: str
    length: int
    meta: str = ""


def complete(schema: Schema, before: str) -> tuple[Completion, ...]:
    """What may come next, given the text before the cursor."""
    done, word = _last(before)
    if before.lstrip().startswith(("{", "/", "#")):
        return ()
    try:
        words = tokenize(done)
    except UsageError:
        return ()
    if not words:
        return _matching(word, {name: signature(schema, name) for name in schema.commands} | _OWN)
    if words[0].text == "help":
        return _matching(word, dict.fromkeys((*schema.commands, "events"), "")) if len(words) == 1 else ()
    command = schema.commands.get(words[0].text)
    given = {one.key: one.text for one in words if one.key}
    return _matching(word, _next(schema, command, word, given=given)) if command else ()


def signature(schema: Schema, name: str) -> str:
    """The arguments of a command on one short line, optional ones in brackets; "" when it takes none."""
    members = schema.members(schema.commands[name].takes, {})
    return " ".join(f"[{member.name}]" if member.optional else member.name for member in members)


def explain(schema: Schema, topic: str, given: Mapping[str, str], *, width: int = 80) -> tuple[str, ...]:
    """The lines that answer `help TOPIC`. Raises UsageError when nothing has that name."""
    if not topic:
        return (*_INTRO, "", *columns(tuple(schema.commands), width=width))
    if command := schema.commands.get(topic):
        return tuple(_command(schema, command, given, width=width))
    if topic == "events":
        return columns(tuple(sorted(schema.events)), width=width)
    if topic in schema.events:
        return (topic, *(_fields(schema, schema.events[topic], {}, width=width) or ("  carries no data",)))
    if alike := tuple(name for name in (*schema.commands, *schema.events) if topic in name):
        return columns(alike, width=width)
    fix = closest_hint(topic, schema.commands) or "help lists the commands"
    raise UsageError(f"this QEMU has no command '{printable(topic, 80)}'", fix)


def columns(names: tuple[str, ...], *, width: int) -> tuple[str, ...]:
    """`names` down as many columns as `width` has room for."""
    cell = max(map(len, names), default=0) + 2
    rows = -(-len(names) // max(1, (width + 2) // cell))
    return tuple("".join(printable(name).ljust(cell) for name in names[row::rows]).rstrip() for row in range(rows))


def human_commands(*helps: str) -> dict[str, str]:
    """The commands in the human monitor's answers to `help` and `help info`, each with its one-line meaning."""
    known: dict[str, str] = {}
    for line in "\n".join(helps).splitlines():
        usage, dashes, meaning = line.partition(" -- ")
        words = usage.split()
        if dashes and words:
            names = [f"info {word}" for word in words[1:2]] if words[0] == "info" else words[0].split("|")
            known.update(dict.fromkeys(names, meaning.strip()))
    return known


def complete_human(known: Mapping[str, str], before: str) -> tuple[Completion, ...]:
    """What may come next on a line of the human monitor."""
    return _matching(before, known)


def _last(before: str) -> tuple[str, str]:
    """The finished part of the line, and the word under the cursor."""
    cut = len(before) - len(before.rsplit(" ", maxsplit=1)[-1])
    return before[:cut], before[cut:]


def _matching(word: str, known: Mapping[str, str]) -> tuple[Completion, ...]:
    return tuple(
        Completion(text=printable(text, 200), length=len(word), meta=printable(meta, 60))
        for text, meta in known.items()
        if text.startswith(word)
    )


def _next(schema: Schema, command: Command, word: str, *, given: Mapping[str, str]) -> dict[str, str]:
    """Arguments not yet given, or the values of the argument under the cursor, each with its type."""
    key, equals, _ = word.partition("=")
    *branches, last = key.split(".")
    prefix = "".join(f"{branch}." for branch in branches)
    members = _members_at(schema, command.takes, branches, given)
    if not equals:
        unused = [member for member in members if prefix + member.name not in given]
        return dict(choice for member in unused for choice in _ways(schema, member, prefix))
    wanted = next((member.type for member in members if member.name == last), "")
    return {f"{key}={value}": schema.label(wanted) for value in schema.values(wanted)}


def _members_at(
    schema: Schema, name: str, branches: list[str], given: Mapping[str, str], prefix: str = ""
) -> tuple[Member, ...]:
    """The fields of the object that dotted `branches` reach, with the variants that `given` has chosen there."""
    here = {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
    members = schema.members(name, here)
    if not branches:
        return members
    inner = next((schema.object_in(member.type) for member in members if member.name == branches[0]), "")
    return _members_at(schema, inner, branches[1:], given, f"{prefix}{branches[0]}.") if inner else ()


def _ways(schema: Schema, member: Member, prefix: str) -> Iterator[tuple[str, str]]:
    """An object is written by its parts, anything else by its value; some may be either."""
    meta = schema.label(member.type) + (", optional" if member.optional else "")
    if schema.object_in(member.type) != member.type:
        yield f"{prefix}{member.name}=", meta
    if schema.object_in(member.type):
        yield f"{prefix}{member.name}.", meta


def _command(schema: Schema, command: Command, given: Mapping[str, str], *, width: int) -> Iterator[str]:
    fields = _fields(schema, command.takes, given, width=width)
    yield command.name + ("    (? marks what may be left out)" if fields else "")
    yield from fields or ("  takes no arguments",)
    if command.open:
        yield "  … and the properties of the device"
    this = schema.type(command.takes)
    if this.variants and this.tag not in given:
        some = next(iter(this.variants))
        yield from wrap(
            f"More arguments depend on {this.tag}: help {command.name} {this.tag}={some}", width, subsequent_indent="  "
        )
    returned = _fields(schema, command.returns, {}, width=width)
    nothing = schema.type(command.returns).kind == "object" and not returned
    yield from wrap(f"returns {'nothing' if nothing else _meaning(schema, command.returns)}", width)
    yield from returned


def _fields(schema: Schema, name: str, given: Mapping[str, str], *, width: int, depth: int = 1) -> tuple[str, ...]:
    """One line for each field of the object in `name`, those of nested objects below it, not without end."""
    this = schema.type(name)
    inner = schema.object_in(this.element if this.kind == "array" else name)
    return tuple(
        line
        for member in schema.members(inner, given)
        for line in (
            *_field(schema, member, width=width, depth=depth),
            *(_fields(schema, member.type, {}, width=width, depth=depth + 1) if depth < _DEEPEST else ()),
        )
    )


def _field(schema: Schema, member: Member, *, width: int, depth: int) -> list[str]:
    name = "  " * depth + printable(member.name, 60) + ("" if not member.optional else "?")
    first, *rest = wrap(_meaning(schema, member.type), max(20, width - _LEFT), break_on_hyphens=False) or [""]
    return [f"{name:<{_LEFT - 1}} {first}", *(" " * _LEFT + more for more in rest)]


def _meaning(schema: Schema, name: str) -> str:
    """A type with the words it is chosen from, where it is an enum or a list of one."""
    values = schema.values(schema.type(name).element or name) if name != "bool" else ()
    return schema.label(name) + (": " + printable(", ".join(values)) if values else "")
