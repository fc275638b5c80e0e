"""The counters of guests in the text format of Prometheus, for the textfile collector of its node_exporter."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from kvmrun.model.guest.guest_state import STATES
from kvmrun.model.guest.guest_usage import GuestUsage

_Point = tuple[dict[str, str], float | int]
_Points = Callable[[GuestUsage], Iterator[_Point]]
"""The values of a metric for one guest, with the labels that tell them apart."""


def metrics_text(samples: Iterable[GuestUsage], version: str) -> str:
    """All metrics of `samples`, one family after the other; a value that is not known is left out."""
    known = list(samples)
    lines = ["# HELP kvmrun_build_info The kvmrun that wrote this.", "# TYPE kvmrun_build_info gauge"]
    lines.append(_line("kvmrun_build_info", {"version": version}, 1))
    for word, (about, points) in _FAMILIES.items():
        name, kind = f"kvmrun_guest_{word}", "counter" if word.endswith("_total") else "gauge"
        if found := [(sample.status.name, *point) for sample in known for point in points(sample)]:
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
            lines += [_line(name, {"guest": guest, **labels}, value) for guest, labels, value in found]
    return "\n".join(lines) + "\n"


def _line(name: str, labels: dict[str, str], value: float) -> str:
    spelled = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{spelled}}} {value}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _info(sample: GuestUsage) -> Iterator[_Point]:
    yield {"uuid": sample.status.uuid or "", "accel": sample.status.accel or ""}, 1


def _state(sample: GuestUsage) -> Iterator[_Point]:
    now = sample.status.state
    for state in (*STATES, *(() if now in STATES else (now,))):
        yield {"state": state}, int(state == now)


def _one(value: Callable[[GuestUsage], float | int | None]) -> _Points:
    """A family with one value for a guest, left out when it is None."""

    def points(sample: GuestUsage) -> Iterator[_Point]:
        if (found := value(sample)) is not None:
            yield {}, found

    return points


def _of_drives(field: str, unit: float = 1) -> _Points:
    def points(sample: GuestUsage) -> Iterator[_Point]:
        for drive in sample.drives:
            value = getattr(drive, field)
            yield {"drive": drive.name}, value if unit == 1 else value * unit

    return points


def _of_nics(field: str) -> _Points:
    def points(sample: GuestUsage) -> Iterator[_Point]:
        told = {nic.name: nic for nic in sample.status.nics}
        for nic in sample.nics:
            yield {"nic": nic.name, "tap": told[nic.name].tap, "network": told[nic.name].network}, getattr(nic, field)

    return points


def _problem(sample: GuestUsage) -> int:
    return int(sample.status.problem is not None)


_FAMILIES: Mapping[str, tuple[str, _Points]] = {
    "info": ("A guest of the lab, or one that runs.", _info),
    "state": ("1 for the state the guest is in, 0 for the others.", _state),
    "problem": ("Whether kvmrun list names a problem of the guest.", _one(_problem)),
    "uptime_seconds": ("How long its QEMU has run.", _one(lambda one: one.status.uptime_s)),
    "cpus": ("Its virtual processors.", _one(lambda one: one.status.cpus)),
    "cpu_seconds_total": ("Processor time its QEMU has used on the host.", _one(lambda one: one.cpu_s)),
    "memory_bytes": ("Memory it was given.", _one(lambda one: one.status.memory_bytes)),
    "resident_memory_bytes": ("Memory its QEMU occupies on the host.", _one(lambda one: one.status.rss_bytes)),
    "balloon_bytes": ("Memory its balloon leaves it.", _one(lambda one: one.balloon_bytes)),
    "drive_read_bytes_total": ("Bytes read from a drive.", _of_drives("read_bytes")),
    "drive_written_bytes_total": ("Bytes written to a drive.", _of_drives("written_bytes")),
    "drive_reads_total": ("Read requests to a drive.", _of_drives("reads")),
    "drive_writes_total": ("Write requests to a drive.", _of_drives("writes")),
    "drive_flushes_total": ("Flush requests to a drive.", _of_drives("flushes")),
    "drive_read_seconds_total": ("Time spent in read requests.", _of_drives("read_ns", 1e-9)),
    "drive_write_seconds_total": ("Time spent in write requests.", _of_drives("write_ns", 1e-9)),
    "nic_receive_bytes_total": ("Bytes the guest received.", _of_nics("received_bytes")),
    "nic_transmit_bytes_total": ("Bytes the guest sent.", _of_nics("sent_bytes")),
    "nic_receive_packets_total": ("Packets the guest received.", _of_nics("received_packets")),
    "nic_transmit_packets_total": ("Packets the guest sent.", _of_nics("sent_packets")),
    "nic_receive_drop_total": ("Packets to the guest dropped at its tap.", _of_nics("received_dropped")),
    "nic_transmit_drop_total": ("Packets from the guest dropped at its tap.", _of_nics("sent_dropped")),
}
