"""What a crash, a reboot or another tool left, and how it is repaired: facts to faults, each with its steps."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from kvmrun.errors import KvmrunError
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.lab import Lab
from kvmrun.model.network.network import Network
from kvmrun.model.paths import GuestRuntime, Paths
from kvmrun.model.value import EMPTY, Value
from kvmrun.plan.guest import running_cmdline
from kvmrun.plan.host_facts import NetworkFacts
from kvmrun.plan.network import bridge_plan, dnsmasq_plan, network_plan, reach, uplink_routing
from kvmrun.plan.repair import fault_texts
from kvmrun.plan.steps.guest_steps import WriteRecord
from kvmrun.plan.steps.repair_steps import (
    KillHalfStarted,
    ReissueLock,
    RelinkMonitor,
    ReloadGuard,
    RemoveLeftovers,
    RepairStep,
    RestartLogger,
)


class RepairResult(Value):
    """What became of a fault: `error` says why it was not repaired."""

    subject: str
    text: str
    state: Literal["to be repaired", "repaired", "not repaired"]
    steps: tuple[str, ...] = ()
    fix: str = ""
    error: str = ""


class Fault(Value):
    """What is wrong with `subject`, and the steps that repair it. Without steps `fix` is what a person can do."""

    subject: str
    text: str
    steps: tuple[RepairStep, ...] = ()
    fix: str = ""


class GuestFacts(Value):
    """One guest as it was found. `pid` 0 when it does not run or cannot be seen; `locked`: its lock is in its place.

    `monitors` are those that answer with its UUID; `unheard` says that nobody listens at the first any more. `unbegun`:
    a start was cut short before the guest was let run. `command` are its QEMU's words, `taps` what it has open, by
    descriptor. `temporary`: it has an image open that is gone with it.
    """

    name: str
    pid: int = 0
    started: int = 0
    locked: bool = False
    monitors: tuple[str, ...] = ()
    unheard: bool = False
    unbegun: bool = False
    record: Record | None = None
    boot: str = ""
    guarded: bool = True
    logger: Literal["", "dead", "stalled"] = ""
    tpm_ended: bool = False
    command: tuple[str, ...] = ()
    taps: Mapping[str, str] = EMPTY
    temporary: bool = False


def guest_faults(
    found: GuestFacts, definition: Guest | None, runtime: GuestRuntime | None, path: str
) -> Iterator[Fault]:
    """What is wrong with one guest. Its record is at `path`."""
    name = found.name
    if not (found.pid or found.locked):
        stale = found.record is not None and found.record.boot not in {"", found.boot}
        text = f"left by {'an earlier boot' if stale else 'a crash'}"
        yield Fault(subject=name, text=text, steps=(RemoveLeftovers(guest=name),))
    elif found.unbegun:
        steps = (KillHalfStarted(guest=name), RemoveLeftovers(guest=name))
        yield Fault(subject=name, text="its start was cut short", steps=steps)
    elif found.logger == "stalled":
        text = "its logger does not read on, and QEMU waits for it"
        yield Fault(subject=name, text=text, steps=(RestartLogger(guest=name),))
    elif not found.monitors:
        yield _out_of_reach(found)
    else:
        yield from _reached(found, definition, runtime, path)


def _reached(found: GuestFacts, definition: Guest | None, runtime: GuestRuntime | None, path: str) -> Iterator[Fault]:
    name = found.name
    if found.unheard:
        step = RelinkMonitor(guest=name, source=found.monitors[-1])
        yield Fault(subject=name, text="its first monitor was removed", steps=(step,))
    if not found.locked:
        yield Fault(subject=name, text="its lock was removed", steps=(ReissueLock(guest=name),))
    if found.pid and (found.record is None or found.record.pid != found.pid):
        record = WriteRecord(path=path, record=reconstruct_record(found, definition, runtime))
        yield Fault(subject=name, text="its record does not say how it was started", steps=(record,))
    if not found.guarded:
        yield Fault(subject=name, text="its packet filter was changed", steps=(ReloadGuard(guest=name),))
    if found.logger == "dead":
        yield Fault(subject=name, text="its logger died", steps=(RestartLogger(guest=name),))
    if found.tpm_ended:
        yield Fault(subject=name, text="its TPM has ended", fix=f"kvmrun restart {name} starts another")


def _out_of_reach(found: GuestFacts) -> Fault:
    if found.locked:
        text, fix = "it does not answer", f"kvmrun kill {found.name} ends it, if it does not answer again by itself"
    else:
        text = "its lock and its monitors were removed: it runs on, and no command can reach it"
        fix = f"kvmrun stop {found.name} ends it in order"
    return Fault(subject=found.name, text=text, fix=fix)


def reconstruct_record(found: GuestFacts, definition: Guest | None, runtime: GuestRuntime | None) -> Record:
    """The record of a guest that runs without one, from its QEMU's own words; its ports from the definition."""
    words = found.command
    uuid = running_cmdline.after(words, "-uuid")
    now: dict[str, Any] = {"pid": found.pid, "started": found.started, "boot": found.boot}
    if found.record is not None and (found.record.name, found.record.uuid) == (found.name, uuid):
        return found.record.replace(**now)
    ports = runtime.ports if runtime else ()
    nics = running_cmdline.nic_devices(words)
    macs = {nic["mac"]: found.taps.get(running_cmdline.netdev_fd(words, nic["netdev"])) for nic in nics}
    return Record(
        name=found.name,
        uuid=uuid,
        accel="kvm" if "-enable-kvm" in words else "tcg",
        cpus=running_cmdline.number(running_cmdline.after(words, "-smp").partition(",")[0]),
        memory=running_cmdline.number(running_cmdline.after(words, "-m").removeprefix("size=")[:-1]) * 1024,
        ports=tuple(port for port in ports if macs.get(port.mac) == port.tap),
        lab=runtime.lab if runtime else "",
        raw=running_cmdline.raw(words),
        protect=bool(definition and definition.protect),
        after=definition.after if definition else (),
        throwaway=found.temporary,
        tpm="-tpmdev" in words,
        display=definition.shown_at(runtime) if definition and runtime and "-vnc" in words else "",
        **now,
    )


def network_faults(lab: Lab, one: Network, where: Paths, now: NetworkFacts, *, used: bool) -> Iterator[Fault]:
    """What is wrong with a network: one that is up or `used` by a guest is made right, of another nothing stays."""
    if one.name in lab.now.networks_elsewhere or (one.external and not used):
        return
    yield from _waiting(lab, one)
    ours = bridge_plan.is_ours(lab, one, now.bridge)
    try:
        if ours or used or now.kept or now.former or (now.bridge and one.name in lab.now.up):
            steps = network_plan.persistent_up_steps(lab, one, where, now)
            text = "; ".join(fault_texts.sentences(lab, one, now)) or "it is up in part"
        elif now.bridge is None and _traces(lab, one, where, now):
            steps = network_plan.down_steps(lab, lab.as_up(one), where, now, force=False)
            text = "it is down in part"
        else:
            return
    except KvmrunError as error:
        yield Fault(subject=f"network {one.name}", text=f"{error.message}: {error.reason}", fix=error.fix)
        return
    if steps := dnsmasq_plan.without_pending_names(lab, one, where, now, steps):
        yield Fault(subject=f"network {one.name}", text=text, steps=steps)
    if now.names == "silent":
        yield Fault(subject=f"network {one.name}", text=fault_texts.NAMES_SILENT, fix=f"kvmrun net restart {one.name}")
    for text, fix in reach.problems(lab, one, now.reach):
        yield Fault(subject=f"network {one.name}", text=text, fix=fix)


def leftover_faults(lab: Lab, one: Network, where: Paths, now: NetworkFacts) -> Iterator[Fault]:
    """What is left of a network that is neither defined nor recorded; it is removed unless guests are attached."""
    text = "it is neither defined nor recorded, and parts of it are left"
    try:
        if steps := network_plan.down_steps(lab, one, where, now, force=False):
            yield Fault(subject=f"network {one.name}", text=text, steps=steps)
    except KvmrunError as error:
        yield Fault(subject=f"network {one.name}", text=f"{text}: {error.reason}", fix=error.fix)


def _waiting(lab: Lab, one: Network) -> Iterator[Fault]:
    """What only a person can decide: a network that is up and defined otherwise now, or not at all."""
    subject = f"network {one.name}"
    if pending := lab.now.pending.get(one.name):
        text = f"its {', '.join(pending.keys)} cannot be changed under {', '.join(pending.guests)}"
        yield Fault(subject=subject, text=text, fix=f"kvmrun net restart {one.name}")
    elif one.name in lab.now.undefined:
        broken = lab.has_broken_networks()
        text = "it is up, and networks.toml has errors" if broken else "it is up, and no longer defined"
        yield Fault(subject=subject, text=text, fix="kvmrun check" if broken else f"kvmrun net down {one.name}")


def _traces(lab: Lab, one: Network, where: Paths, now: NetworkFacts) -> bool:
    """Whether anything of a network is left that has no bridge."""
    note = one.name in lab.now.up or dnsmasq_plan.note(where, one) in now.files or now.resolver.note is not None
    return bool(
        now.dnsmasq
        or now.rules
        or now.guard
        or now.changed
        or note
        or list(uplink_routing.down_steps(lab, one, now.ways))
    )
