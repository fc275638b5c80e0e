"""A guest: a virtual machine as the lab describes it, and how it says itself to QEMU."""

from collections.abc import Iterator, Mapping
from typing import Literal

from kvmrun.model.firmware.boot import Boot, BootTurns
from kvmrun.model.firmware.uefi_firmware import UefiFirmware
from kvmrun.model.guest.drive import IDE_PORTS, Drive, FileUse
from kvmrun.model.guest.nic import Nic
from kvmrun.model.guest.qemu_option import Option, VncPort
from kvmrun.model.guest.readiness import GroupName, Ready
from kvmrun.model.guest.resource_limits import Limits
from kvmrun.model.machine import chardevs, processor
from kvmrun.model.machine.machine_type import MachineType
from kvmrun.model.machine.processor import Topology
from kvmrun.model.osinfo.os_name import OsName
from kvmrun.model.paths import GuestRuntime
from kvmrun.model.scalars import CpuModel, Display, GuestName, OneLine, SafeWord, Size, UplinkName, Uuid
from kvmrun.model.seed import seed_medium
from kvmrun.model.seed.seed import Seed
from kvmrun.model.value import EMPTY, Value

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
"""What QEMU's -sandbox is given, everywhere."""


class Guest(Value):
    """One file of `vms.d`, every default filled in."""

    name: GuestName
    description: OneLine = OneLine("")
    os: OsName | None = None
    machine: MachineType = MachineType("q35")
    firmware: Literal["bios", "uefi"] = "bios"
    secure_boot: bool = False
    tpm: bool = False
    accel: Literal["kvm", "tcg"] = "kvm"
    cpu: CpuModel | None = None
    cpus: int = 1
    topology: Topology | None = None
    memory: Size = Size(512 << 20)
    free_page_reporting: bool = False
    clock: Literal["utc", "local"] = "utc"
    limits: Limits = Limits()
    boot: Boot = Boot()
    seed: Seed | None = None
    drive: tuple[Drive, ...] = ()
    nic: tuple[Nic, ...] = (Nic(),)
    console: bool = True
    agent: bool = True
    display: Display = Display("none")
    args: tuple[OneLine, ...] = ()
    uuid: Uuid | None = None
    user: SafeWord | None = None
    ssh_user: SafeWord | None = None
    uplink: UplinkName | None = None
    groups: tuple[GroupName, ...] = ()
    autostart: bool = False
    after: tuple[GuestName, ...] = ()
    ready: Ready = Ready("running")
    protect: bool = False
    throwaway: bool = False
    on_reboot: Literal["reset", "shutdown"] = "reset"
    on_crash: Literal["pause", "shutdown", "exit-failure", "none"] | None = None
    watchdog: Literal["reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"] | None = None
    unset: tuple[OneLine, ...] = ()
    """Keys of defaults.toml that do not apply to this guest."""

    @property
    def kind(self) -> str:
        """The kind of its machine, whatever version it has."""
        return self.machine.kind

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """What is wrong across the keys of this guest, as (key, found, wanted)."""
        yield from processor.problems(self.cpus, self.topology)
        if self.display != "none" and self.kind == "microvm":
            yield "display", self.display, '"none", because microvm has no display'
        yield from self._firmware_problems()
        yield from self._unready()
        yield from self.limits.problems(self.memory)
        for key, found, wanted in self.boot.problems():
            yield f"boot.{key}", found, wanted
        for number, drive in enumerate(self.drive):
            for key, found, wanted in drive.problems(self.kind):
                yield f"drive[{number}].{key}", found, wanted
        yield from self._crowded()
        for number, nic in enumerate(self.nic):
            for key, found, wanted in nic.problems(self.kind):
                yield f"nic[{number}].{key}", found, wanted
        if self.free_page_reporting and any("virtio-balloon" in words for words in self.args):
            yield "free_page_reporting", "true", "no value, because args add a balloon, of which a guest has one"
        for number, words in enumerate(self.args):
            if not _splits(words):
                yield f"args[{number}]", words, "words as on a command line, with every quote closed"

    def _firmware_problems(self) -> Iterator[tuple[str, str, str]]:
        if self.firmware == "uefi" and self.kind == "microvm":
            yield "firmware", self.firmware, '"bios", because no UEFI firmware is made for microvm'
        if self.tpm and self.kind == "microvm":
            yield "tpm", "true", "no value, because microvm has no place for a TPM"
        if self.secure_boot and self.firmware != "uefi":
            yield "secure_boot", "true", 'firmware = "uefi" beside it'
        elif self.secure_boot and self.kind == "pc":
            wanted = 'machine = "q35" beside it, because pc has no system management mode that protects the variables'
            yield "secure_boot", "true", wanted

    def _unready(self) -> Iterator[tuple[str, str, str]]:
        if self.boot.menu and self.kind == "microvm":
            yield "boot.menu", "true", "no value, because the firmware of microvm has no menu"
        if self.watchdog and self.kind == "microvm":
            yield "watchdog", self.watchdog, "no value, because microvm has no PCI bus for the device"
        if self.ready.kind == "console" and not self.console:
            yield "ready", self.ready, "another condition, because this guest has no console"
        if self.ready.kind in {"agent", "seed"} and not self.agent:
            yield "ready", self.ready, "another condition, because this guest has no port for an agent"
        if self.ready.kind in {"address", "port"} and not self.nic:
            yield "ready", self.ready, "another condition, because this guest has no NIC"

    def _crowded(self) -> Iterator[tuple[str, str, str]]:
        room = len(IDE_PORTS.get(self.kind, ()))
        for number in self._ide(self.drive)[room:] if room else []:
            yield (
                f"drive[{number}].interface",
                "ide",
                f"another one, because {self.kind} has room for {room} IDE drives",
            )

    def _ide(self, drives: tuple[Drive, ...]) -> list[int]:
        """The numbers of those of `drives` that are IDE drives."""
        return [number for number, drive in enumerate(drives) if drive.bus(self.kind) == "ide"]

    def cpu_model(self) -> str:
        """The CPU model asked of QEMU."""
        return processor.cpu_model(self.cpu, self.accel)

    def options(
        self,
        runtime: GuestRuntime,
        *,
        vhost: bool,
        use: FileUse | None = None,
        firmware: UefiFirmware | None = None,
    ) -> Iterator[Option]:
        """The whole QEMU command but for the binary's own name.

        `use` is how its files are used. `firmware` is that of a guest with UEFI. None: not known.
        """
        yield from self._board(runtime, firmware.machine_properties() if firmware else EMPTY)
        yield from firmware.options() if firmware else ()
        yield from chardevs.tpm_options(runtime, self.kind) if self.tpm else ()
        yield from processor.options(self.cpu_model(), self.cpus, self.topology, self.memory)
        yield from processor.clock_options(self.clock)
        yield from self.boot.options()
        yield from chardevs.monitor_options(runtime)
        yield from chardevs.console_options(runtime) if self.console else ()
        yield from chardevs.display_options(runtime, self.display)
        yield from self._events()
        turns = BootTurns(self.boot)
        # Linux names a NIC after its slot, which follows from the devices before it: no drive or display moves a NIC.
        for number, port in enumerate(runtime.ports):
            yield from port.options(number, self.kind, vhost=vhost, bootindex=turns.next("network"))
        files = (use or FileUse()).replace(throwaway=self.throwaway)
        yield from self._drive_options(self.drives(runtime), turns, files)
        if self.display != "none":
            yield Option(flag="device", props={"driver": "VGA", "id": "vga0"})
        yield Option(flag="object", props={"qom-type": "rng-builtin", "id": "rng"})
        yield Option(flag="device", props={"driver": f"virtio-rng-{self.bus()}", "id": "rng0", "rng": "rng"})
        yield from chardevs.agent_options(runtime, self.bus()) if self.agent else ()
        # a device that only some guests have comes last, where it moves no other one
        yield from processor.balloon_options(self.bus()) if self.free_page_reporting else ()
        if self.seed:
            yield from seed_medium.seed_options(self.seed, runtime.seed, len(runtime.ports))

    def _drive_options(self, drives: tuple[Drive, ...], turns: BootTurns, use: FileUse) -> Iterator[Option]:
        if any(drive.bus(self.kind) == "scsi" for drive in drives):
            yield Option(flag="device", props={"driver": f"virtio-scsi-{self.bus()}", "id": "scsi0"})
        for number, drive in enumerate(drives):
            is_seed = number >= len(self.drive)  # nothing boots from it
            turn = None if is_seed else turns.next("cdrom" if drive.media == "cdrom" else "drive")
            ide = len(self._ide(drives[:number]))
            yield from drive.options(number, self.kind, ide=ide, bootindex=turn, use=use)

    def drives(self, runtime: GuestRuntime) -> tuple[Drive, ...]:
        """The drives of the definition, and the CD-ROM with the seed."""
        return (*self.drive, *(seed_medium.seed_drive(self.seed, runtime.seed) if self.seed else ()))

    def login(self) -> str | None:
        """The account that ssh logs in as, None where nothing says which."""
        return self.ssh_user or (self.seed.user if self.seed else None)

    def bus(self) -> str:
        return "device" if self.kind == "microvm" else "pci"

    def _board(self, runtime: GuestRuntime, firmware: Mapping[str, str]) -> Iterator[Option]:
        yield Option(flag="name", text=f"guest={self.name}")
        yield Option(flag="uuid", text=runtime.uuid)
        yield Option(flag="nodefaults")
        yield Option(flag="no-user-config")
        yield Option(flag="sandbox", text=SANDBOX)
        machine = f"{self.machine},acpi=on,rtc=on" if self.kind == "microvm" else f"{self.machine}"
        yield Option(flag="machine", text=machine, props={**self._firmware_console(), **firmware})
        yield Option(flag="enable-kvm") if self.accel == "kvm" else Option(flag="accel", text="tcg")
        yield Option(flag="S")

    def _firmware_console(self) -> Mapping[str, str]:
        """Machine properties that make SeaBIOS, and the boot loaders that print through it, use the serial line.

        SeaBIOS must not be pointed at a port that is not there, and the firmware of microvm has no such setting.
        """
        serial = self.console and self.display == "none" and self.kind != "microvm"
        return {"graphics": "off"} if serial else EMPTY

    def shown_at(self, runtime: GuestRuntime) -> str:
        """Where a VNC viewer finds the guest: the path of a socket or an address with its port, "" for nowhere."""
        if self.display == "none":
            return ""
        return VncPort(number=self.display.port).address if self.display.port else f"{runtime.vnc}/v"

    def _events(self) -> Iterator[Option]:
        """What happens when the guest reboots, crashes or hangs; the last two need a device to tell of it."""
        actions = {"reboot": self.on_reboot, "panic": self.on_crash, "watchdog": self.watchdog}
        if asked := {event: action for event, action in actions.items() if action not in {None, "reset"}}:
            yield Option(flag="action", props=asked)
        if self.on_crash:
            yield Option(flag="device", props={"driver": "pvpanic", "id": "panic0"})
        if self.watchdog:
            yield Option(flag="device", props={"driver": "i6300esb", "id": "watchdog0"})


def _splits(words: str) -> bool:
    import shlex

    try:
        return bool(shlex.split(words))
    except ValueError:
        return False
