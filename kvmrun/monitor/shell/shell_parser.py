"""The language of the monitor shell: one line of text to what it asks for, typed by QEMU's own schema."""

import json
from collections.abc import Mapping

from kvmrun.errors import UsageError
from kvmrun.model.printable import printable
from kvmrun.model.value import Value
from kvmrun.monitor.qmp.qmp_schema import Command, Schema
from kvmrun.monitor.shell.qmp_arguments import build_arguments, closest_hint
from kvmrun.monitor.shell.shell_lexer import Token, nest_dotted_keys, tokenize


class QmpCall(Value):
    """A QMP command with its arguments as they go out; `oob` asks out of band."""

    command: str
    arguments: Mapping[str, object]
    oob: bool = False


class HmpCommand(Value):
    """A line for the human monitor."""

    line: str


class HelpRequest(Value):
    """A question about `topic` (a command, or "" for all); `given` chooses among variants."""

    topic: str = ""
    given: Mapping[str, str]


class Quit(Value):
    """The end of the conversation; the guest is left alone."""


class EmptyLine(Value):
    """An empty line, or a comment."""


Line = QmpCall | HmpCommand | HelpRequest | Quit | EmptyLine


def parse_line(schema: Schema, line: str) -> Line:
    """What `line` asks for. Raises UsageError that names the word at fault and the nearest right one."""
    line = line.strip()
    if not line or line.startswith("#"):
        return EmptyLine()
    if line.startswith("/"):
        return HmpCommand(line=line[1:].strip())
    if line.startswith("{"):
        return _raw(line)
    first, *rest = tokenize(line)
    if first.key:
        raise UsageError(f"a line begins with a command, not with '{printable(first.key, 80)}='", "help")
    match first.text:
        case "exit":
            return Quit()
        case "help" | "?":
            return _help(rest)
        case name:
            return _call(schema, name, rest)


def quits_qemu(line: Line) -> bool:
    """Whether this ends QEMU, and the guest with it."""
    match line:
        case QmpCall(command="quit"):
            return True
        case HmpCommand(line=words):
            return words.split()[:1] in (["quit"], ["q"])
        case _:
            return False


def _raw(line: str) -> QmpCall:
    """A message as QMP has it. An id is left out: the client gives its own."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as fault:
        raise UsageError("the line begins like JSON but is not", reason=printable(fault, 120)) from None
    verb = next((verb for verb in ("execute", "exec-oob") if verb in said), "")
    given = said.get("arguments", {})
    if not isinstance(said.get(verb), str) or not isinstance(given, dict):
        raise UsageError("this is not a QMP command", '{"execute": "query-status", "arguments": {}}')
    if unknown := sorted(set(said) - {verb, "arguments", "id"}):
        raise UsageError(f"a QMP command has no '{printable(unknown[0], 80)}'")
    return QmpCall(command=said[verb], arguments=given, oob=verb == "exec-oob")


def _help(rest: list[Token]) -> HelpRequest:
    given = {word.key: word.text for word in rest if word.key}
    return HelpRequest(topic=next((word.text for word in rest if not word.key), ""), given=given)


def _call(schema: Schema, name: str, rest: list[Token]) -> QmpCall:
    command = schema.commands.get(name)
    if command is None:
        fix = closest_hint(name, (*schema.commands, "help", "exit")) or "help lists the commands"
        raise UsageError(f"this QEMU has no command '{printable(name, 80)}'", fix)
    _all_named(schema, command, rest)
    return QmpCall(command=name, arguments=build_arguments(schema, command, nest_dotted_keys(rest)))


def _all_named(schema: Schema, command: Command, rest: list[Token]) -> None:
    if bare := next((word.text for word in rest if not word.key), ""):
        first = next((member.name for member in schema.members(command.takes, {})), "argument")
        text = printable(bare, 80)
        raise UsageError(
            f"'{text}' is not of the form argument=value", f"did you mean '{command.name} {first}={text}'?"
        )
