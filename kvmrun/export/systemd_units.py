"""A lab as units of systemd: its networks before a firewall that others keep, then guests with autostart in order."""

from collections.abc import Iterable, Mapping

from kvmrun.export.shorewall_file import MARK
from kvmrun.model.guest import start_order
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Lab

KIND = "systemd"
NETWORKS = "kvmrun-net.service"
_OTHERS_FIREWALLS = "nftables.service firewalld.service ufw.service"
_RESOLVER = "systemd-resolved.service"
_STARTED = "7 75"
"""Codes that leave a guest running: no sign of life in time, and running already."""


def unit_files(lab: Lab, program: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The units by name. `program` is the command's path, `environment` what it needs to find its directories."""
    command = f"{_quoted(program)} -C {_quoted(lab.directory)}"
    starting = {name: guest for name, guest in lab.guests.items() if guest.autostart}
    before = start_order.restrict({name: guest.after for name, guest in starting.items()}, starting)
    awaited = {other for others in before.values() for other in others}
    units = {NETWORKS: _networks(lab, command, environment)}
    for name in sorted(starting):
        start = f"{_wait(starting[name]) if name in awaited else ''}{name}"
        after = [NETWORKS, *_firewall(lab), *(unit_name(other) for other in before[name])]
        units[unit_name(name)] = _unit(
            f"guest {name}",
            [f"Wants={NETWORKS}", f"After={' '.join(after)}"],
            [
                f"ExecStart={command} up {start}",
                *_stop(starting[name], command),
                f"SuccessExitStatus={_STARTED}",
                "TimeoutStartSec=180",
                "TimeoutStopSec=120",
            ],
            environment,
        )
    return {name: f"{MARK} {KIND}: {name}\n{text}" for name, text in units.items()}


def unit_name(guest: str) -> str:
    return f"kvmrun@{guest}.service"


def _networks(lab: Lab, command: str, environment: Mapping[str, str]) -> str:
    """Before Shorewall, which wants to find the bridges; after a firewall that would flush our tables.

    And after systemd-resolved, which is told of the domains of networks.
    """
    if lab.firewall == "nftables":
        ordering = ["Wants=network-online.target", f"After=network-online.target {_RESOLVER} {_OTHERS_FIREWALLS}"]
    else:
        ordering = [f"After=network.target {_RESOLVER}", "Before=shorewall.service"]
    service = [f"ExecStart={command} net up", f"ExecStop={command} net down", "TimeoutStartSec=60", "TimeoutStopSec=60"]
    return _unit("networks", ordering, service, environment)


def _firewall(lab: Lab) -> list[str]:
    return ["shorewall.service"] if lab.firewall == "shorewall" else []


def _unit(what: str, ordering: Iterable[str], service: Iterable[str], environment: Mapping[str, str]) -> str:
    """A job that is done and stays so. Only our own commands end what they started: a name server that a guest's
    start had to repair must not end with that guest.
    """
    lines = [
        "[Unit]",
        f"Description=kvmrun: {what}",
        *ordering,
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        "KillMode=process",
        *(f"Environment={_quoted(f'{name}={value}', variables=False)}" for name, value in sorted(environment.items())),
        *service,
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "".join(f"{line}\n" for line in lines)


def _stop(guest: Guest, command: str) -> list[str]:
    """A guest that is protected from `stop` is still to hear that the host goes down."""
    if not guest.protect:
        return [f"ExecStop=-{command} stop {guest.name}"]
    press = f"ExecStop=-{command} monitor {guest.name} -c system_powerdown"
    return [press, f"ExecStop=-{command} --timeout 90 wait {guest.name} --for stopped"]


def _wait(guest: Guest) -> str:
    """What others wait for before they start."""
    return "" if guest.ready == "running" else f"{_quoted(f'--wait={guest.ready}')} "


def _quoted(word: str, *, variables: bool = True) -> str:
    """A word as systemd reads it, quoted where it must be: its specifiers are switched off, and its variables."""
    plain = word.replace("%", "%%")
    plain = plain.replace("$", "$$") if variables else plain
    if plain.isascii() and all(char.isalnum() or char in "/._-=:%$" for char in plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
