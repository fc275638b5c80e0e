"""What happens in a guest, as its QEMU tells it on the monitor kept for those who follow events."""

import time
from collections.abc import AsyncGenerator, Mapping

from kvmrun.model.event import GuestEvent
from kvmrun.model.guest.guest_state import qemu_state
from kvmrun.model.printable import printable
from kvmrun.model.value import EMPTY
from kvmrun.monitor.guest_socket import GuestSocket
from kvmrun.monitor.qmp.qmp_client import connect

_PATIENCE = 3600.0
"""How long to wait for the seat of somebody else who follows the same guest; whoever calls tells of it before."""


async def read_events(target: GuestSocket, uuid: str) -> AsyncGenerator[GuestEvent, None]:
    """First "following" with the state it is in, then every event until the connection ends, by what that raises.

    Raises what `connect` and `Monitor.execute` raise.
    """
    async with connect(target, limit=_PATIENCE, uuid=uuid, events=True) as monitor:
        state = qemu_state({"query-status": await monitor.execute("query-status")})
        yield GuestEvent(at=time.time(), guest=target.guest, name="following", data={"state": state})
        while True:
            yield _understood(target.guest, await monitor.event())


def _understood(guest: str, said: Mapping[str, object]) -> GuestEvent:
    data = said.get("data")
    return GuestEvent(
        at=_when(said.get("timestamp")),
        guest=guest,
        name=printable(said.get("event"), 80),
        data=data if isinstance(data, Mapping) else EMPTY,
    )


def _when(stamp: object) -> float:
    """QEMU's own time of an event; ours when it does not tell one that makes sense."""
    parts = [stamp.get(key) for key in ("seconds", "microseconds")] if isinstance(stamp, Mapping) else []
    numbers = [part for part in parts if type(part) is int and 0 <= part < 1 << 40]
    return numbers[0] + numbers[1] / 1_000_000 if len(numbers) == 2 else time.time()
