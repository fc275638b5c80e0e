"""Something that happened in a guest."""

from collections.abc import Mapping
from typing import Any

from kvmrun.model.value import EMPTY, Value


class GuestEvent(Value):
    """What happened at `at`, in seconds since 1970. A name in capitals is QEMU's, one in small letters is ours."""

    at: float
    guest: str
    name: str
    data: Mapping[str, Any] = EMPTY
