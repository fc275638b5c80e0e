"""Whether guests can run here and reach out, who is in the way, and what fixes it."""

from kvmrun.api.lab import LabHandle
from kvmrun.api.report import Report, discard, waiting
from kvmrun.errors import KvmrunError
from kvmrun.host.facts import guest_facts
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.rundir import records
from kvmrun.model import derive
from kvmrun.model.finding import Finding, problem, warning
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths
from kvmrun.plan.doctor import doctor_host, doctor_networks
from kvmrun.plan.doctor.doctor_facts_model import BootTest, MachineFacts
from kvmrun.plan.guest import firmware_plan

_LIMIT = 10.0
_SHARE = 0.25
"""How much of the time that is given a trial of KVM may take."""
_MODELS = ("host", "qemu64")


def doctor(lab: LabHandle, *, timeout: float | None = None, report: Report = discard) -> list[Finding]:
    """What prevents guests from running on this host, and what does not; nothing is changed.

    Where a guest of the lab asks for KVM, KVM is tried with a guest that is one boot sector, with at most two processor
    models, each for a quarter of `timeout` seconds, or 10. A lab that cannot be read is one of the findings.

    Raises: nothing for what it finds; KvmrunError where the kernel cannot be asked.
    """
    from kvmrun.host.facts import doctor_facts  # brings pyroute2

    where = lab.paths
    defined, told = _lab(lab)
    with waiting(report, "a guest of one sector boots"):
        trials = _trials(defined, where, _LIMIT if timeout is None else timeout * _SHARE)
    machine = _with_firmware(defined, where, doctor_facts.machine_facts(where, defined.guests, trials))
    now = records.in_force(defined, where)
    wires = doctor_facts.host_network_facts(now, where)
    found = [
        *told,
        *doctor_host.machine_findings(defined, machine),
        *doctor_networks.network_findings(now, where, wires),
    ]
    return found if where.root else [_for_user(one) for one in found]


def _with_firmware(lab: Lab, where: Paths, now: MachineFacts) -> MachineFacts:
    """The facts with what is to be said of the firmware of each guest with UEFI."""
    found = guest_facts.firmware_facts(lab.guests.values(), where)
    runtimes = guest_runtimes(lab, where) if found else {}
    errors = {
        name: firmware_plan.firmware_error(lab.guests[name], runtimes[name], facts) for name, facts in found.items()
    }
    bad = next((facts.bad for facts in found.values()), {})
    return now.replace(firmware=errors, bad_descriptors=bad)


def _for_user(one: Finding) -> Finding:
    """The finding with sudo before a fix that needs root."""
    roots = one.fix.partition(" ")[0] in {"apt", "ip", "modprobe", "sysctl"}
    return one.replace(fix=f"sudo {one.fix}") if roots else one


def _lab(handle: LabHandle) -> tuple[Lab, list[Finding]]:
    """The lab, as far as it is one; a doctor that gave up on a bad lab would not see the host."""
    try:
        lab = handle.definitions
    except KvmrunError as error:
        where = handle.paths
        return Lab(directory=where.vms, identity=where.lab), [
            problem("lab", f"{error.message}: {error.reason}", error.fix)
        ]
    errors = [one for one in lab.problems if not one.warning]
    check = "kvmrun check"
    return lab, [warning("lab", f"{len(errors)} errors in {lab.directory}", check)] if errors else []


def _trials(lab: Lab, where: Paths, limit: float) -> tuple[BootTest, ...]:
    """The processor's own model, and only if that fails a plain one; none where no guest asks for KVM."""
    state, group = guest_facts.kvm_facts(root=where.root)
    if state != "ready" or not guest_facts.qemu_facts() or (lab.guests and not doctor_host.guests_using_kvm(lab)):
        return ()
    from kvmrun.host.facts import kvm_boot_test

    account = (derive.uid(lab.seed, "doctor", "kvm"), group) if where.root else (None, None)
    made: list[BootTest] = []
    for model in _MODELS:
        made.append(kvm_boot_test.run_boot_test(guest_facts.qemu_facts(), model, account, limit))
        if made[-1].worked:
            break
    return tuple(made)
