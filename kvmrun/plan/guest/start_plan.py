"""Starting one guest: everything that is refused is refused here, before the first step."""

from collections.abc import Iterator

from kvmrun.errors import HostLacks, NotPermitted, Refused
from kvmrun.model.firmware.uefi_firmware import UefiFirmware
from kvmrun.model.guest.drive import FileUse
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.guest.nic import Port
from kvmrun.model.guest.qemu_option import BootFile, Listener, Log, TpmSocket, VncDirectory, VncPort
from kvmrun.model.machine.chardevs import AGENT, CONSOLE, MONITORS
from kvmrun.model.network import link_alias
from kvmrun.model.network.network import Uplink
from kvmrun.model.paths import GuestRuntime
from kvmrun.model.printable import quoted
from kvmrun.model.seed import seed_medium
from kvmrun.plan.guest import firmware_plan, image_plan, scope_plan, throwaway_plan, vnc_port
from kvmrun.plan.guest.scope_plan import EnterScope
from kvmrun.plan.guest.vnc_port import BindVncPort
from kvmrun.plan.host_facts import StartFacts
from kvmrun.plan.network import nft_guard, port_plan
from kvmrun.plan.network.nft_guard import LoadGuard
from kvmrun.plan.steps.firmware_steps import PinMachine, StartTpm
from kvmrun.plan.steps.guest_steps import (
    ClaimRunDirectory,
    GuestStep,
    Launch,
    ListenOnSocket,
    MakeTemporaryImage,
    MakeVncDirectory,
    OpenFile,
    OpenTap,
    PlugTap,
    RemoveTap,
    StartLogger,
    WriteRecord,
    WriteSeed,
)


def start_steps(
    guest: Guest, runtime: GuestRuntime, host: StartFacts, raw: tuple[str, ...] = ()
) -> tuple[GuestStep, ...]:
    """The steps that start `guest`, which is not running. Raises what the host refuses, with a fix."""
    guest = guest.replace(machine=host.machine or guest.machine)
    guest = image_plan.without_absent(guest, {path for path, file in host.files.items() if file is None})
    _program(host)
    _accelerator(guest, host)
    _memory(guest, host)
    _identity(guest, runtime, host)
    if guest.tpm and not host.swtpm:
        raise HostLacks(f"{guest.name} asks for a TPM, and swtpm is not installed", "apt install swtpm")
    vnc_port.check_vnc_port(guest, host)
    image_plan.require_aio(guest, host.aio)
    variables = tuple(firmware_plan.firmware_steps(guest, runtime, host.firmware))
    firmware = firmware_plan.require_firmware(guest, runtime, host.firmware) if host.firmware else None
    return (
        *(() if guest.throwaway else image_plan.image_steps(guest, host)),
        *_seed(guest, runtime, host),
        *(RemoveTap(tap=one.tap) for one in runtime.ports if one.tap in host.leftover_taps),  # while it is guarded
        ClaimRunDirectory(guest=guest.name, directory=runtime.directory),
        *variables,
        *_tpm(guest, runtime),
        *_files(guest, host),
        *_seed_files(guest, runtime),
        *firmware_plan.firmware_files(firmware, runtime, host.firmware),
        *(OpenTap(tap=one.handle(vhost=host.vhost), kept=one.tap in host.kept_taps) for one in runtime.ports),
        *_sockets(guest, runtime),
        WriteRecord(
            path=runtime.socket("record"), record=launch_record(guest, runtime, (*guest.args, *raw), host.uplink)
        ),
        _launch(guest, runtime, host, firmware=firmware, raw=(*guest.args, *raw)),
        *_guard(guest, runtime, host),  # from here on what is begun goes on while QEMU starts
        StartLogger(log=Log(path=runtime.log), uid=runtime.log_uid),
        *_scope(guest, host),
        *_pin(guest, runtime),
        *_plugs(guest, runtime, host),
    )


def _program(host: StartFacts) -> None:
    if not host.qemu:
        fix = "apt install qemu-system-x86; or set KVMRUN_QEMU to another QEMU"
        raise HostLacks("qemu-system-x86_64 is not installed", fix)
    if host.qemu_problem:
        fix = "set KVMRUN_QEMU to a QEMU that can be run, or unset it"
        raise HostLacks(f"cannot run {host.qemu}", fix, reason=host.qemu_problem)


def split_at_launch(steps: tuple[GuestStep, ...]) -> tuple[tuple[GuestStep, ...], tuple[GuestStep, ...]]:
    """The steps that need no network, and those that do, which come while QEMU starts."""
    first = next((place for place, step in enumerate(steps) if isinstance(step, PlugTap)), len(steps))
    return steps[:first], steps[first:]


def launch_record(guest: Guest, runtime: GuestRuntime, raw: tuple[str, ...], uplink: Uplink | None = None) -> Record:
    """The guest as it is about to be started; `uplink` is the one it is told to leave by."""
    return Record(
        name=guest.name,
        uuid=runtime.uuid,
        accel=guest.accel,
        cpus=guest.cpus,
        memory=guest.memory,
        ports=runtime.ports,
        raw=raw,
        protect=guest.protect,
        throwaway=guest.throwaway,
        after=guest.after,
        display=guest.shown_at(runtime),
        lab=runtime.lab,
        uplink=uplink,
        tpm=guest.tpm,
    )


def _accelerator(guest: Guest, host: StartFacts) -> None:
    if guest.accel == "tcg" or host.kvm == "ready":
        return
    if host.kvm == "absent":
        fix = "modprobe kvm_intel or kvm_amd (virtualisation on in the firmware); or --accel tcg to emulate"
        raise HostLacks(f"{guest.name} asks for KVM and this host has no /dev/kvm", fix)
    fix = (
        "groupadd -rf kvm; chgrp kvm /dev/kvm; chmod 660 /dev/kvm"
        if host.root
        else "add yourself to the group kvm, or use sudo"
    )
    reason = "only its owner may open it" if host.root else "you may not open it"
    raise NotPermitted(
        f"{guest.name} asks for KVM and may not use /dev/kvm", f"{fix}; or --accel tcg to emulate", reason=reason
    )


def _memory(guest: Guest, host: StartFacts) -> None:
    if guest.memory > host.memory:
        have = f"{host.memory // (1 << 20)}M"
        fix = f"lower memory in {guest.name}.toml"
        raise Refused(f"{guest.name} asks for {guest.memory} of memory", fix, reason=f"this host has {have}")


def _identity(guest: Guest, runtime: GuestRuntime, host: StartFacts) -> None:
    if guest.user and guest.user not in host.accounts:
        raise Refused(
            f"{guest.name} is to run as {guest.user}",
            "name an existing account, or leave user out",
            reason="no such account",
        )
    if (
        runtime.uid is not None
        and not guest.user
        and (other := host.taken_uids.get(runtime.uid, guest.name)) != guest.name
    ):
        fix = "change seed in networks.toml, or rename one of the guests"
        raise Refused(
            f"{guest.name} would share its uid {runtime.uid}", fix, reason=f"it is that of {other}, which runs"
        )
    for one in runtime.ports:
        _tap(guest, one, host)


def _tap(guest: Guest, one: Port, host: StartFacts) -> None:
    """A tap of that name: kept for us, or nobody's. Without root there must be one. Another lab's is named."""
    kept = host.kept_taps.get(one.tap)
    other = link_alias.lab_of(host.marks.get(one.tap, ""))
    if kept and link_alias.is_same(kept.alias, one.alias(guest.name)):
        if kept.held:
            raise Refused(
                f"{guest.name} is running already", "kvmrun --list", reason=f"a process holds its tap {one.tap}"
            )
        if not host.root and kept.owner != host.uid:
            raise _needs_root(guest.name, f"its tap {one.tap} is kept for uid {kept.owner}")
    elif other not in {"", one.lab}:
        name = link_alias.subject(host.marks[one.tap])
        fix = f"kvmrun -C {quoted(other)} stop {name}, or give one of the two guests another name"
        reason = f"it is that of the guest {name} of the lab {other}"
        raise Refused(f"the interface {one.tap} of {guest.name} is another lab's", fix, reason=reason)
    elif one.tap in host.taken_taps and one.tap not in host.leftover_taps:
        fix = f'name = "…" in that [[nic]] of {guest.name}.toml; ip -d link show {one.tap} shows what it is'
        raise Refused(f"the interface {one.tap} of {guest.name} exists already", fix, reason="it is not ours")
    elif not host.root:
        raise _needs_root(guest.name, f"it has no tap {one.tap} yet")


def _needs_root(guest: str, reason: str) -> NotPermitted:
    fix = f"sudo kvmrun {guest}; or once: sudo kvmrun net up --owner $USER"
    return NotPermitted(f"you may not plug {guest} into its network", fix, reason=reason)


def _seed(guest: Guest, runtime: GuestRuntime, host: StartFacts) -> Iterator[WriteSeed]:
    if host.seed is not None:
        from kvmrun.plan.seed import seed_plan  # only a guest with a seed needs its makers

        yield from seed_plan.seed_steps(guest, runtime, host.seed)


def _seed_files(guest: Guest, runtime: GuestRuntime) -> Iterator[OpenFile]:
    if guest.seed:
        for drive in seed_medium.seed_drive(guest.seed, runtime.seed):
            yield from (OpenFile(file=image) for image in drive.files())
        for file in seed_medium.boot_files(guest.seed, runtime.seed, len(runtime.ports)):
            yield OpenFile(file=file)


def _files(guest: Guest, host: StartFacts) -> Iterator[OpenFile | MakeTemporaryImage]:
    if guest.throwaway:
        yield from throwaway_plan.file_steps(guest, host)
    else:
        for image in dict.fromkeys(image for drive in guest.drive for image in drive.files()):
            yield OpenFile(file=image)
    for path in (guest.boot.kernel, guest.boot.initrd):
        if path:
            yield OpenFile(file=BootFile(path=path))


def _plugs(guest: Guest, runtime: GuestRuntime, host: StartFacts) -> Iterator[PlugTap]:
    """Taps that were made to stay are plugged in already."""
    for one in runtime.ports:
        if one.tap not in host.kept_taps:
            yield port_plan.wanted_port(guest.name, one)


def _guard(guest: Guest, runtime: GuestRuntime, host: StartFacts) -> Iterator[LoadGuard]:
    """Taps kept for a user are guarded by the network that keeps them."""
    step = nft_guard.load_step(guest.name, runtime.ports, runtime.socket("guard")) if host.root else None
    if step is None:
        return
    if not host.nft:
        fix = f'apt install nftables, or set guard = "none" in [[nic]] of {guest.name}.toml'
        raise HostLacks(f"{guest.name} has a guard, and nft is not installed", fix)
    yield step


def _scope(guest: Guest, host: StartFacts) -> Iterator[EnterScope]:
    if (step := scope_plan.enter(guest, systemd=host.systemd)) is not None:
        yield step


def _tpm(guest: Guest, runtime: GuestRuntime) -> Iterator[StartTpm]:
    if guest.tpm:
        yield StartTpm(
            guest=guest.name,
            directory=runtime.tpm,
            lock=runtime.tpm_lock,
            channel=TpmSocket(path=runtime.socket("tpm")),
            log=Log(path=runtime.log),
            uid=runtime.uid,
        )


def _pin(guest: Guest, runtime: GuestRuntime) -> Iterator[PinMachine]:
    """A machine without a version gets one for good: another QEMU would have another newest one."""
    if guest.machine.has_versions() and runtime.state:
        yield PinMachine(path=runtime.machine_pin, machine=guest.machine)


def _sockets(guest: Guest, runtime: GuestRuntime) -> Iterator[ListenOnSocket | BindVncPort | MakeVncDirectory]:
    asked = {CONSOLE: guest.console, AGENT: guest.agent}
    for name in (*MONITORS, *(name for name, wanted in asked.items() if wanted)):
        yield ListenOnSocket(listener=Listener(path=runtime.socket(name)))
    if guest.display.port:
        yield BindVncPort(port=VncPort(number=guest.display.port))
    elif guest.display != "none":
        yield MakeVncDirectory(directory=VncDirectory(path=runtime.vnc), uid=runtime.uid)


def _launch(
    guest: Guest, runtime: GuestRuntime, host: StartFacts, *, firmware: UefiFirmware | None, raw: tuple[str, ...]
) -> Launch:
    devices = {path for path, file in host.files.items() if file and file.kind == "device"}
    missing = {path for path, file in host.files.items() if file is None}
    use = FileUse(devices=devices, missing=missing, aio=[way for way, lack in host.aio.items() if not lack])
    return Launch(
        qemu=host.qemu,
        options=tuple(guest.options(runtime, vhost=host.vhost, use=use, firmware=firmware)),
        raw=raw,
        uid=runtime.uid,
        group=host.kvm_gid if guest.accel == "kvm" else None,
        log=Log(path=runtime.log),
    )
