"""The program that shows a guest's display: a VNC viewer of this host."""

from kvmrun.api.lab import LabHandle, require_running
from kvmrun.errors import HostLacks, Refused
from kvmrun.host.process import process
from kvmrun.host.rundir import rundir

_FOR_SOCKETS = ("xtigervncviewer", "vncviewer")
_FOR_PORTS = {
    "xtigervncviewer": "{host}::{port}",
    "remote-viewer": "vnc://{host}:{port}",
    "vncviewer": "{host}::{port}",
}


def viewer_command(lab: LabHandle, name: str) -> list[str]:
    """The command of a VNC viewer for the display of a running guest, its program first.

    Raises: HostLacks without a viewer, naming where the display is; Refused for a guest without a display;
    NotRunning, NoSuchGuest, OtherLab.
    """
    record = rundir.read_record(require_running(lab.paths, name))
    display = record.display if record else ""
    if not display:
        fix = f'set display = "vnc" in {name}.toml and restart the guest'
        raise Refused(f"{name} has no display", fix)
    for program, words in _viewers(display).items():
        if path := process.find_program(program):
            return [path, words]
    fix = f"apt install tigervnc-viewer; kvmrun screenshot {name} {name}.png shows it once"
    raise HostLacks("no VNC viewer is installed", fix, reason=f"the display of {name} is at {display}")


def _viewers(display: str) -> dict[str, str]:
    """Each program that can show `display`, the path of a socket or HOST:PORT, with its argument."""
    if display.startswith("/"):
        return dict.fromkeys(_FOR_SOCKETS, display)
    host, _, port = display.rpartition(":")
    return {program: form.format(host=host, port=port) for program, form in _FOR_PORTS.items()}
