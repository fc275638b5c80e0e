"""Guards of guests that run, put back where somebody removed them."""

from kvmrun.api.report import Done, Report
from kvmrun.host.firewall import port_guard
from kvmrun.host.rundir import rundir
from kvmrun.light.abc import Collection
from kvmrun.model.guest.paths import Directories
from kvmrun.model.lab import Lab


def renew(lab: Lab, where: Directories, networks: Collection[str]) -> None:
    """Record and guard anew those guests that run on a network which has another bridge or subnet since."""
    for name, record in lab.now.running.items():
        ports = lab.ports()[name]
        changed = {new.network for new, old in zip(ports, record.ports, strict=True) if new != old}
        if changed & {*networks} and rundir.is_running(where.guest(name)):
            with rundir.held(where.guest(name), name):
                rundir.write_record(f"{where.guest(name)}/record", record.but(ports=ports))
                if where.root:
                    mended(where.guest(name), name)


def mend(where: Directories, network: str, report: Report) -> None:
    """See that every guest that runs on the network is guarded as it was when it started."""
    for name in rundir.names(where.run) if where.root else []:
        record = rundir.read_record(where.guest(name))
        if record and any(port.network == network for port in record.ports) and rundir.is_running(where.guest(name)):
            with rundir.held(where.guest(name), name):
                if mended(where.guest(name), name):
                    report(Done(guest=name, text=f"{name} is guarded again"))


def mended(directory: str, name: str) -> bool:
    """See that a running guest, which the caller holds, is guarded; whether it was not."""
    record = rundir.read_record(directory)
    return record is not None and rundir.is_running(directory) and port_guard.mended(directory, name, record.ports)
