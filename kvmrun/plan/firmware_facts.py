"""What this host has for the firmware of one guest, and what the guest has of its own."""

from collections.abc import Mapping

from kvmrun.model.firmware.descriptor import Descriptor
from kvmrun.model.value import EMPTY, Value


class VariablesFacts(Value):
    """The UEFI variables of a guest: the size of the flash memory in them, and what is wrong with the file."""

    size: int
    fault: str = ""


class FirmwareFacts(Value):
    """`chosen` is the descriptor that fits the guest, None where none of `found` does; `machine` what it was to fit.

    `bad` are files that are no descriptors, by path with the reason; `absent` those files of the chosen one that are
    not there, and `size` is that of its flash memory for variables. `variables` is None before the first start.
    """

    machine: str
    found: int = 0
    bad: Mapping[str, str] = EMPTY
    chosen: Descriptor | None = None
    absent: tuple[str, ...] = ()
    size: int = 0
    variables: VariablesFacts | None = None
