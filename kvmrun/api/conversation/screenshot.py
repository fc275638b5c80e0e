"""What a guest's display shows, as a PNG file."""

from kvmrun.api.guest_socket import monitor_of
from kvmrun.api.lab import LabHandle, require_running
from kvmrun.config.standard_paths import make_absolute
from kvmrun.errors import KvmrunError, Refused, UsageError
from kvmrun.host.files.safe_directory import cannot, replacing
from kvmrun.model.deadline import Deadline
from kvmrun.model.printable import quoted
from kvmrun.monitor.qmp.fd_passing import QmpError
from kvmrun.monitor.qmp.screendump import LARGEST, screendump

_LIMIT = 10.0
_OTHER_FORMATS = frozenset({"jpg", "jpeg", "gif", "bmp", "ppm", "webp", "tif", "tiff", "svg", "pdf"})
_PNG = b"\x89PNG\r\n\x1a\n"


def screenshot(lab: LabHandle, name: str, *, timeout: float | None = None) -> bytes:
    """What the display of a running guest shows, as a PNG image, drawn within `timeout` seconds or 10.

    Raises: Refused for a guest without a display; NotRunning, NoSuchGuest, Unresponsive; KvmrunError for what is no
    image.
    """
    return _draw(name, require_running(lab.paths, name), timeout)


def save_screenshot(lab: LabHandle, name: str, file: str, *, timeout: float | None = None) -> None:
    """Write what `screenshot` returns to `file`, which is replaced once the image is whole; `timeout` in seconds.

    Raises: what `screenshot` raises; UsageError for a file named as one of another format.
    """
    stem, _, suffix = file.rpartition(".")
    if stem and suffix.lower() in _OTHER_FORMATS:
        fix = f"kvmrun screenshot {name} {quoted(f'{stem}.png')}"
        raise UsageError(f"a screenshot cannot be written as {suffix}", fix, reason="QEMU writes PNG")
    directory = require_running(lab.paths, name)
    target = make_absolute(file)
    try:
        with replacing(target) as (parent, base):
            parent.write(base, _draw(name, directory, timeout), 0o600)
    except OSError as error:
        raise cannot("write", target, error) from None


def _draw(name: str, directory: str, timeout: float | None) -> bytes:
    try:
        picture = screendump(monitor_of(directory, name), Deadline.begin(timeout).granted(_LIMIT))
    except QmpError as no:
        fix = f'set display = "vnc" in {name}.toml and restart the guest, if it has none'
        raise Refused(f"{name} has no display", fix, reason=no.message) from None
    if not picture.startswith(_PNG) or len(picture) == LARGEST:
        raise KvmrunError(f"what QEMU wrote for {name} is not an image", "try again")
    return picture
