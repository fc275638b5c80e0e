"""Restoring the guards of running guests."""

from collections.abc import Collection

from kvmrun.api.report import Done, Report
from kvmrun.host.firewall import port_guard
from kvmrun.host.rundir import rundir
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths


def update_guards(lab: Lab, where: Paths, networks: Collection[str]) -> None:
    """Record and guard anew those guests that run on a network which has another bridge or subnet since."""
    for name, record in lab.now.running.items():
        ports = lab.ports()[name]
        changed = {new.network for new, old in zip(ports, record.ports, strict=True) if new != old}
        if changed & {*networks} and rundir.is_running(where.guest(name)):
            with rundir.locked(where.guest(name), name):
                rundir.write_record(f"{where.guest(name)}/record", record.replace(ports=ports))
                if where.root:
                    reload_if_missing(where.guest(name), name)


def restore_guards(where: Paths, network: str, report: Report) -> None:
    """See that every guest that runs on the network is guarded as it was when it started."""
    for name in rundir.guest_names(where.run) if where.root else []:
        record = rundir.read_record(where.guest(name))
        if record and any(port.network == network for port in record.ports) and rundir.is_running(where.guest(name)):
            with rundir.locked(where.guest(name), name):
                if reload_if_missing(where.guest(name), name):
                    report(Done(guest=name, text=f"{name} is guarded again"))


def reload_if_missing(directory: str, name: str) -> bool:
    """See that a running guest, which the caller holds, is guarded; whether it was not."""
    record = rundir.read_record(directory)
    return (
        record is not None
        and rundir.is_running(directory)
        and port_guard.reload_if_missing(directory, name, record.ports)
    )
