"""The settings of a bridge that are not as we want them, written by netlink and read back."""

import struct

from kvmrun.errors import KvmrunError
from kvmrun.host import dump, ports
from kvmrun.plan.bridge import SETTINGS

_NEWLINK, _IFLA_LINKINFO = 16, 18
_FORMS = {4: "=I", 9: "=H"}


def write(name: str, number: int) -> None:
    """Write the settings of a bridge that are not as we want them."""
    found = ports.one(name).bridge(name)
    wrong = {one: value for one, (_, value) in SETTINGS.items() if found.get(one, value) != value}
    if wrong:
        data = b"".join(dump.attribute(one, struct.pack(_FORMS.get(one, "=B"), value)) for one, value in wrong.items())
        info = dump.attribute(_IFLA_LINKINFO, dump.attribute(1, b"bridge\0") + dump.attribute(2, data))
        dump.send(dump.ROUTE, [(_NEWLINK, dump.ACK, struct.pack("=BxHiII", 0, 0, number, 0, 0) + info)])
        now = ports.one(name).bridge(name)
        for one, value in wrong.items():
            if now.get(one) != value:
                what, hint = (
                    f"the {SETTINGS[one][0]} of {name} did not take",
                    "report it with the version of your kernel",
                )
                raise KvmrunError(what, hint, why="it was written, and another value is read back")
