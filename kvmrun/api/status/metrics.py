"""What all guests have used, in the text format of Prometheus."""

from kvmrun import __version__
from kvmrun.api.lab import LabHandle
from kvmrun.api.status.usage import guest_usage
from kvmrun.config.standard_paths import make_absolute
from kvmrun.export import prometheus_text
from kvmrun.host.files import export_files


def metrics(lab: LabHandle) -> str:
    """The text, every counter since the start of its guest. Raises ConfigError and Refused for an unreadable lab."""
    return prometheus_text.metrics_text(guest_usage(lab), __version__)


def write_metrics(lab: LabHandle, path: str) -> None:
    """The same into a file, in one move: a reader sees the old text or the new one. Raises Refused, NotPermitted."""
    export_files.put(make_absolute(path), metrics(lab))
