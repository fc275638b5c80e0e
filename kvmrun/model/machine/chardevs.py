"""The sockets by which a guest is reached: its monitors, console, agent and display, and the TPM that it reaches."""

from collections.abc import Iterator

from kvmrun.model.guest.qemu_option import Listener, Log, Option, TpmSocket, VncDirectory, VncPort
from kvmrun.model.paths import GuestRuntime
from kvmrun.model.scalars import Display

MONITORS = ("q", "e", "p")
"""The monitors' sockets: short probes, followers of events, people."""
CONSOLE = "c"
AGENT = "a"


def _listening(runtime: GuestRuntime, name: str, **more: object) -> Option:
    """The character device behind the socket of that name, which QEMU serves."""
    listen = {"listen": Listener(path=runtime.socket(name)), "server": "on", "wait": "off"}
    return Option(flag="chardev", text="socket", props={"id": name, **listen, **more})


def monitor_options(runtime: GuestRuntime) -> Iterator[Option]:
    for name in MONITORS:
        yield _listening(runtime, name)
        # not -mon, which QEMU 11 complains about, nor -object monitor-qmp, which QEMU 7 does not have
        yield Option(flag="qmp", text=f"chardev:{name}")


def console_options(runtime: GuestRuntime) -> Iterator[Option]:
    yield _listening(runtime, CONSOLE, logfile=Log(path=runtime.log), logappend="on")
    yield Option(flag="serial", text=f"chardev:{CONSOLE}")


def agent_options(runtime: GuestRuntime, bus: str) -> Iterator[Option]:
    yield Option(flag="device", props={"driver": f"virtio-serial-{bus}", "id": "agent-bus"})
    yield _listening(runtime, AGENT)
    port = {"driver": "virtserialport", "id": "agent-port", "chardev": AGENT, "name": "org.qemu.guest_agent.0"}
    yield Option(flag="device", props=port)


def display_options(runtime: GuestRuntime, display: Display) -> Iterator[Option]:
    yield Option(flag="display", text="none")
    if display != "none":
        port = display.port
        yield Option(flag="vnc", text=VncPort(number=port) if port else VncDirectory(path=runtime.vnc))


def tpm_options(runtime: GuestRuntime, kind: str) -> Iterator[Option]:
    """A TPM 2.0: by the command response buffer, which q35 has in its ACPI tables, on pc at its usual address."""
    channel = {"id": "tpm", "channel": TpmSocket(path=runtime.socket("tpm"))}
    yield Option(flag="chardev", text="socket", props=channel)
    yield Option(flag="tpmdev", text="emulator", props={"id": "tpm0", "chardev": "tpm"})
    driver = "tpm-crb" if kind == "q35" else "tpm-tis"
    yield Option(flag="device", props={"driver": driver, "id": "tpm-device", "tpmdev": "tpm0"})
