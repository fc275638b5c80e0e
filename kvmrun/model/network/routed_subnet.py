"""What is behind a guest that routes."""

from ipaddress import IPv4Network
from typing import Self

from kvmrun.model.scalars import DIGITS, LOWER, PathBase, consists_of
from kvmrun.model.value import Value


class Behind(Value):
    """A subnet behind a guest that routes: `via` is the guest's name, or an address in the network's own subnet."""

    subnet: IPv4Network
    via: str

    @classmethod
    def parse(cls, raw: object, _base: PathBase | None = None) -> Self:
        subnet, _, via = raw.partition(" via ") if isinstance(raw, str) else ("", "", "")
        try:
            if consists_of(via.strip(), LOWER | DIGITS | {"-", "."}, 32):
                return cls(subnet=IPv4Network(subnet.strip()), via=via.strip())
        except ValueError:
            pass
        raise ValueError('a line such as "10.1.1.0/24 via router"')

    def __str__(self) -> str:
        return f"{self.subnet} via {self.via}"
