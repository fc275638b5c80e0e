"""One guest as text: its definition as TOML, what follows from its name, and how it is now."""

from collections.abc import Iterator, Mapping, Sequence

from kvmrun.config.toml_writer import format_document
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.guest_status import Status
from kvmrun.model.guest.nic import Port
from kvmrun.model.paths import GuestRuntime
from kvmrun.model.printable import printable
from kvmrun.model.scalars import Size
from kvmrun.ui.text import guest_columns


def guest_text(
    guest: Guest, runtime: GuestRuntime, now: Status, machine: str = "", *, media: Sequence[str] = ()
) -> str:
    """Everything but the QEMU command; `machine` is the one that the guest has since its first start, and `media` says
    what its CD-ROM drives hold.
    """
    definition = f"# {guest.name}.toml with its defaults\n{_definition(guest)}\n"
    fixed = f"{_derived(guest, runtime)}{_kept(guest, runtime, machine)}"
    return f"{definition}{fixed}\n# how it is now, from the kernel\n{''.join(_lines(now, media))}\n"


def size_text(guest: Guest, now: Status, sources: Mapping[str, str]) -> str:
    """Where its memory and its processors come from, and what it has now, where it was started with others."""
    started = {"memory": now.memory_bytes and Size(now.memory_bytes), "cpus": now.cpus}
    lines = ["# where its size comes from\n"]
    for key, source in sources.items():
        value = getattr(guest, key)
        others = f"; it was started with {started[key]}" if started[key] not in {None, value} else ""
        lines.append(f"{key:<10} {value}, {printable(source)}{others}\n")
    return f"{''.join(lines)}\n"


def recorded_text(
    runtime: GuestRuntime, now: Status, definition: str, command: Sequence[str], *, media: Sequence[str] = ()
) -> str:
    """The same of a guest that runs and whose file, `definition`, is gone or has errors, with its QEMU command."""
    import shlex

    head = f"# {runtime.guest} runs as it was started; {definition} is gone or has errors\n"
    names = f"uuid       {runtime.uuid}\ndirectory  {runtime.directory}\nlog        {runtime.log}\n"
    ports = "".join(_port(port) for port in runtime.ports)
    status = f"# how it is now, from the kernel\n{''.join(_lines(now, media))}\n"
    return f"{head}{names}{ports}\n{status}# the QEMU command as it runs\n{printable(shlex.join(command))}\n"


def _definition(guest: Guest) -> str:
    """Every key with its value; the name is that of the file."""
    text = format_document({key: value for key, value in guest.as_dict().items() if key != "name"})
    return "".join(f"{printable(line, limit=10 * len(line) + 1)}\n" for line in text.splitlines())


def _derived(guest: Guest, runtime: GuestRuntime) -> str:
    account = f"{runtime.uid}"
    if runtime.uid is None:
        account = f"that of {guest.user}, which does not exist" if guest.user and runtime.log_uid else "the caller's"
    lines = [
        "# what follows from its name",
        f"uuid       {runtime.uuid}",
        f"uid        {account}",
        f"directory  {runtime.directory}",
        f"log        {runtime.log}",
        *([f"display    VNC at {shown}"] if (shown := guest.shown_at(runtime)) else []),
    ]
    for port in runtime.ports:
        lines.append(_port(port).rstrip())
    return "\n".join(lines) + "\n"


def _kept(guest: Guest, runtime: GuestRuntime, machine: str) -> str:
    """What the guest has since its first start, whatever its definition leaves open."""
    if machine in {"", guest.machine}:
        return ""
    return f"\n# what it keeps since its first start\nmachine    {machine}, written down in {runtime.machine_pin}\n"


def _port(port: Port) -> str:
    where = f"{port.address or 'no address'} on {port.network}"
    return f"{port.name:<10} {port.mac} {where}: tap {port.tap}, bridge {port.bridge}\n"


def _lines(now: Status, media: Sequence[str]) -> Iterator[str]:
    """The row of `list -v`, a line a column; of a guest that does not run there is little to say."""
    told = list(zip(guest_columns.CONFINEMENT.heads, guest_columns.CONFINEMENT.cells(now), strict=True))[1:]
    for head, cell in told if now.confinement else told[:1]:
        if cell:
            yield f"{head.lower():<10} {cell}\n".replace("\n", ", ", cell.count("\n"))
    yield from (f"medium     {one}\n" for one in media)
