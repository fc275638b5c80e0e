"""A guest's display on a port of the loopback address: who may have it, and the step that takes it."""

from kvmrun.errors import Refused
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.qemu_option import VncPort
from kvmrun.model.value import Value
from kvmrun.plan.host_facts import StartFacts


class BindVncPort(Value):
    port: VncPort

    def __str__(self) -> str:
        return f"listen on {self.port.address} for VNC viewers"


def check_vnc_port(guest: Guest, host: StartFacts) -> None:
    """Raises Refused where somebody else has the port."""
    if holder := host.taken_ports.get(guest.display.port):
        fix = f'choose another in {guest.name}.toml: display = "vnc:{_next(guest.display.port)}"'
        raise Refused(
            f"{guest.name} cannot have port {guest.display.port} for its display", fix, reason=f"{holder} has it"
        )


def _next(port: int) -> int:
    return port + 1 if port < 65535 else 5900
