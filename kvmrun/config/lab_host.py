"""What of the host has a say in a lab: its name, its size, and what it knows of operating systems."""

from collections.abc import Callable

from kvmrun.model.osinfo.os_facts import HostSize, OsFacts, OsMissing
from kvmrun.model.osinfo.os_name import OsName
from kvmrun.model.value import Value


class LabHost(Value):
    """The host's own name, which no guest can have; `size` tells what it has, `find` what an operating system needs.

    Both are asked only for a guest that leaves its size to its operating system; without them it has the built-in one.
    """

    name: str = ""
    find: Callable[[OsName], OsFacts | OsMissing] | None = None
    size: Callable[[], HostSize] | None = None


ANY_HOST = LabHost()
