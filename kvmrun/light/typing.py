"""Words for annotations: `typing` itself costs 8 ms."""


class Any:
    """Any type; also what stands for those words that nobody looks at."""

    def __class_getitem__(cls, _):
        return cls


ClassVar = Never = Protocol = Self = Any


class Literal:
    """`Literal[...]` is one of these."""

    def __init__(self, values):
        self.values = values

    def __class_getitem__(cls, values):
        return cls(values if isinstance(values, tuple) else (values,))

    def __or__(self, _):
        return Any

    __ror__ = __or__


def TypeVar(_, **__):  # noqa: N802 - as it is called everywhere
    return Any


def dataclass_transform(**_):
    return lambda cls: cls


def assert_never(value):
    raise AssertionError(f"nobody thought of {value!r}")


def choices(kind):
    """The values of a Literal, () for anything else."""
    return kind.values if isinstance(kind, Literal) else ()
