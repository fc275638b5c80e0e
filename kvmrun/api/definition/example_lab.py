"""The example lab that is shipped with the package."""

import os

import kvmrun
from kvmrun.config.standard_paths import make_absolute
from kvmrun.errors import HostLacks, Refused
from kvmrun.host.files import safe_directory
from kvmrun.model.value import Value

_PACKAGE = os.path.dirname(os.path.abspath(kvmrun.__file__))
_EXAMPLES = (f"{_PACKAGE}/example", f"{os.path.dirname(_PACKAGE)}/vms.d")
"""Where the example is: in the installed package, or beside it in a checkout."""


class Example(Value):
    """An example that was written: its directory, and the names of its files."""

    directory: str
    files: tuple[str, ...]


def write_example(directory: str) -> Example:
    """Write the example into a new directory. Raises: HostLacks, Refused where there is something, KvmrunError."""
    example = next((path for path in _EXAMPLES if os.path.isdir(path)), None)
    if example is None:
        raise HostLacks(
            "the example lab is not installed", "reinstall the package", reason=f"{_EXAMPLES[0]} is missing"
        )
    target = make_absolute(directory)
    try:
        with safe_directory.opened(target, make=0o755) as place:
            if place.names():
                raise Refused(f"{target} exists already", "name a new directory")
            written = sorted(os.listdir(example))
            for name in written:
                with open(f"{example}/{name}", "rb") as file:
                    place.write_new(name, file.read(), 0o644)
    except OSError as error:
        raise safe_directory.cannot("write", target, error) from None
    return Example(directory=target, files=tuple(written))
