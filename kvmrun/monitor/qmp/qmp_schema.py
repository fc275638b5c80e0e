"""What the running QEMU understands, read from its own reply to query-qmp-schema."""

from collections.abc import Iterable, Mapping

from kvmrun.errors import KvmrunError
from kvmrun.model.value import EMPTY, Value

# The one command whose arguments go beyond its schema: the properties of the device.
_OPEN = frozenset({"device_add"})


class Member(Value):
    """One argument, or one field of an object; `type` is a key of Schema.types."""

    name: str
    type: str
    optional: bool = False


class Type(Value):
    """One type; which fields are filled depends on `kind`."""

    kind: str  # builtin, enum, object, array, alternate
    values: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    tag: str = ""
    variants: Mapping[str, str] = EMPTY
    element: str = ""
    choices: tuple[str, ...] = ()


class Command(Value):
    """One command: `takes` and `returns` are keys of Schema.types; `open` takes arguments no schema lists."""

    name: str
    takes: str
    returns: str
    open: bool = False


_ANY = Type(kind="builtin")


class Schema(Value):
    """Commands, events (name to the type of its data) and types of one QEMU, by name."""

    commands: Mapping[str, Command]
    events: Mapping[str, str]
    types: Mapping[str, Type]

    def type(self, name: str) -> Type:
        return self.types.get(name, _ANY)

    def members(self, name: str, given: Mapping[str, str]) -> tuple[Member, ...]:
        """The fields of object `name`, with those that the chosen variant adds when `given` holds the tag."""
        this = self.type(name)
        variant = this.variants.get(given.get(this.tag, ""), "")
        return this.members + (self.members(variant, given) if variant and variant != name else ())

    def object_in(self, name: str) -> str:
        """The object that a dotted key reaches into: `name` itself, or the one it may be; "" if there is none."""
        this = self.type(name)
        if this.kind == "object":
            return name
        return next((one for one in this.choices if self.type(one).kind == "object"), "")

    def values(self, name: str) -> tuple[str, ...]:
        """The words that may be written for type `name`, where they can be listed."""
        this = self.type(name)
        if this.kind == "alternate":
            return tuple(value for one in this.choices for value in self.values(one))
        return ("true", "false") if name == "bool" else this.values

    def label(self, name: str) -> str:
        """A type as people call it: "int", "enum", "list of str", "str or object"."""
        this = self.type(name)
        match this.kind:
            case "builtin":
                return name
            case "array":
                return f"list of {self.label(this.element)}"
            case "alternate":
                return " or ".join(map(self.label, this.choices))
            case _:
                return this.kind


def read(reply: object) -> Schema:
    """The schema in the reply of query-qmp-schema. Raises KvmrunError when it is not one."""
    try:
        return _schema(reply)
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        reason = f"{type(fault).__name__} in the reply to query-qmp-schema"
        raise KvmrunError("this QEMU does not say which commands it has", reason=reason) from None


def _schema(reply: object) -> Schema:
    entries = [dict(entry) for entry in _list(reply)]
    commands = (_command(entry) for entry in entries if entry["meta-type"] == "command")
    return Schema(
        commands={command.name: command for command in sorted(commands, key=lambda command: command.name)},
        events={str(entry["name"]): str(entry["arg-type"]) for entry in entries if entry["meta-type"] == "event"},
        types={str(entry["name"]): _type(entry) for entry in entries if entry["meta-type"] not in ("command", "event")},
    )


def _command(entry: Mapping[str, object]) -> Command:
    name = str(entry["name"])
    return Command(name=name, takes=str(entry["arg-type"]), returns=str(entry["ret-type"]), open=name in _OPEN)


def _type(entry: Mapping[str, object]) -> Type:
    kind = str(entry["meta-type"])
    match kind:
        case "enum":
            return Type(kind=kind, values=_enum(entry))
        case "array":
            return Type(kind=kind, element=str(entry["element-type"]))
        case "alternate":
            return Type(kind=kind, choices=tuple(str(one["type"]) for one in _list(entry["members"])))
        case "object":
            return _object(entry)
        case _:
            return _ANY


def _enum(entry: Mapping[str, object]) -> tuple[str, ...]:
    """`values` is the older spelling of `members`; QEMU has both from 6.2 on."""
    if "members" in entry:
        return tuple(str(one["name"]) for one in _list(entry["members"]))
    return tuple(str(value) for value in _list(entry["values"]))


def _object(entry: Mapping[str, object]) -> Type:
    members = tuple(
        Member(name=str(one["name"]), type=str(one["type"]), optional="default" in one)
        for one in _list(entry["members"])
    )
    variants = {str(one["case"]): str(one["type"]) for one in _list(entry.get("variants", ()))}
    # The mandatory ones first: the order in which they are asked for, listed and completed.
    ordered = tuple(sorted(members, key=lambda member: member.optional))
    return Type(kind="object", members=ordered, tag=str(entry.get("tag", "")), variants=variants)


def _list(value: object) -> Iterable[dict[str, object]]:
    if not isinstance(value, list | tuple):
        raise TypeError
    return value
