"""What all guests have used, in the text format of Prometheus."""

from kvmrun import __version__
from kvmrun.api.lab import LabHandle
from kvmrun.api.status.usage import guest_usage
from kvmrun.config.standard_paths import make_absolute
from kvmrun.export import prometheus_text
from kvmrun.host.files import export_files


def metrics(lab: LabHandle) -> str:
    """What all guests have used, in the text format of Prometheus; every counter is since the start of its guest.

    Raises: ConfigError and Refused for a lab that cannot be read.
    """
    return prometheus_text.metrics_text(guest_usage(lab), __version__)


def write_metrics(lab: LabHandle, path: str) -> None:
    """Write what `metrics` returns to the file `path`, which is replaced: a reader sees the old text or the new one.

    Raises: what `metrics` raises; Refused and NotPermitted for the file.
    """
    export_files.put(make_absolute(path), metrics(lab))
