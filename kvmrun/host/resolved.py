"""systemd-resolved: asked by busctl, and told by resolvectl which server knows the names of a domain.

Nothing is started by a question, and one that hangs costs a command two seconds. A resolver in another network
namespace numbers other links, and is none of ours.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from kvmrun.host.files import atomic_write, small_files
from kvmrun.host.links import tap_device
from kvmrun.host.process import process
from kvmrun.model.deadline import remaining
from kvmrun.model.network.network import Network
from kvmrun.model.paths import Paths
from kvmrun.model.printable import printable
from kvmrun.plan.host_facts import Bridge
from kvmrun.plan.network import host_resolver
from kvmrun.plan.network.record_paths import resolution_record
from kvmrun.plan.resolver_facts import LinkSettings, ResolverFacts
from kvmrun.plan.steps.network_steps import RevertHostResolution, SetHostResolution

_PLACE = "/run/systemd/resolve"
_RESOLV_CONF = "/etc/resolv.conf"
_NAME, _OBJECT = "org.freedesktop.resolve1", "/org/freedesktop/resolve1"
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_PROTOCOLS = ("LLMNR", "MulticastDNS", "DNSSEC", "DNSOverTLS")
_OFF = {"default-route": "no", "llmnr": "no", "mdns": "no", "dnssec": "no", "dnsovertls": "no"}
_STUBS = ("127.0.0.53", "127.0.0.54")
_LIMIT = 2.0
_PAUSE = 0.05
_AGAIN = 10.0
"""After so many seconds one that did not answer is asked again: a command looks at each network several times."""
_silences: list[float] = []


class _Refused(Exception):
    """A program failed."""


class _Silent(Exception):
    """A program did not end in time."""


def resolver_facts(network: Network, where: Paths, found: Bridge | None) -> ResolverFacts:
    """What systemd-resolved knows of the bridge that was `found`.

    It is asked only where it matters: to be told something, or because it was.
    """
    read = small_files.read_bounded(resolution_record(where, network)) if where.root else None
    note = None if read is None else printable(read.decode(errors="replace"), 200)
    if (note is None and host_resolver.wanted_settings(network) is None) or not os.path.isdir(_PLACE):
        return ResolverFacts(note=note)
    now = ResolverFacts(note=note, used=_is_used())
    if any(time.monotonic() < when + _AGAIN for when in _silences):
        return now.replace(state="silent")
    try:
        if not _runs_here():
            return now
        link = _settings(index) if (index := _index(network, found)) else LinkSettings()
    except (_Silent, _Refused, ValueError, TypeError, LookupError):
        _silences[:] = [time.monotonic()]
        return now.replace(state="silent")
    return now.replace(state="running", link=link)


def with_rivals(network: Network, found: Bridge | None, now: ResolverFacts) -> ResolverFacts:
    """The facts with the other links that have the domain of the network."""
    if now.state != "running":
        return now
    try:
        return now.replace(rivals=tuple(_rivals(network.domain, _index(network, found))))
    except (_Silent, _Refused, ValueError, TypeError, LookupError):
        return now.replace(state="silent")


def _index(network: Network, found: Bridge | None) -> int:
    return tap_device.ifindex(found.renamed or network.bridge) if found else 0


def _runs_here() -> bool:
    """Whether it has its name on the bus, and its links are those of this network namespace."""
    try:
        pid = int(_run("busctl", "call", *_BUS, "GetConnectionUnixProcessID", "s", _NAME).split()[-1])
    except _Refused:
        return False
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), os.stat("/proc/self/ns/net"))
    except PermissionError:
        return True  # another user may not look, and changes nothing
    except OSError:
        return False  # it has just ended


def _settings(index: int) -> LinkSettings:
    """What it was told of the link of that number, which it may not have seen yet."""
    path = f"{_OBJECT}/link/_{ord(f'{index}'[0]):x}{f'{index}'[1:]}"  # sd_bus_path_encode(3): no digit first
    try:
        servers, domains, route, *protocols = _properties(path, "Link", "DNS", "Domains", "DefaultRoute", *_PROTOCOLS)
    except _Refused:
        return LinkSettings()
    return LinkSettings(
        servers=tuple(str(ip_address(bytes(address))) for _, address in servers),
        domains=tuple(f"~{name}" if routed else f"{name}" for name, routed in domains),
        default_route=route is not False,
        protocols=tuple(name for name, value in zip(_PROTOCOLS, protocols, strict=True) if value != "no"),
    )


def _rivals(domain: str, index: int) -> Iterator[str]:
    """The links but that of `index` whose servers are asked for the domain; 0 is the configuration of the host."""
    (found,) = _properties(_OBJECT, "Manager", "Domains")
    for number in sorted({number for number, name, _ in found if name == domain and number != index}):
        with suppress(OSError):
            yield socket.if_indextoname(number) if number else "resolved.conf"


def _properties(path: str, interface: str, *names: str) -> list[Any]:
    import json

    told = _run("busctl", "--json=short", "get-property", _NAME, path, f"{_NAME}.{interface}", *names)
    return [json.loads(line)["data"] for line in told.splitlines()]


def _is_used() -> bool:
    """Whether programs of the host ask it: by its stub in resolv.conf, or by nss-resolve."""
    servers = small_files.read_text(_RESOLV_CONF) or ""
    services = (small_files.read_text("/etc/nsswitch.conf") or "").splitlines()
    hosts = next((line.split() for line in services if line.startswith("hosts:")), [])
    return "resolve" in hosts or any(stub in servers for stub in _STUBS)


def set_resolution(step: SetHostResolution) -> Callable[[], None]:
    """Tell it. What it refuses is noted and no error: guests can do without. The undo has it forget."""
    before = os.path.lexists(step.record)
    small_files.replace_atomically(step.record, b"")  # first: what is told without a note would never be taken back
    if wrong := _tell(step.link, {"dns": step.server, "domain": f"~{step.domain}", **_OFF}):
        small_files.replace_atomically(step.record, printable(wrong, 200).encode())
    return lambda: None if before else revert_resolution(step)


def revert_resolution(step: RevertHostResolution | SetHostResolution) -> None:
    """Undo it as `resolvectl revert` does. Where that fails, resolved forgets the link when the bridge goes."""
    if step.link:
        with suppress(_Silent, _Refused):
            _run("resolvectl", "revert", step.link)
    atomic_write.remove(step.record)


def _tell(link: str, settings: dict[str, str]) -> str:
    """Tell it all of the settings at once; why that failed, "" where it did not."""
    import subprocess  # 10 ms: only where it is told something

    deadline = time.monotonic() + remaining(_LIMIT)
    program = process.find_program("resolvectl")
    if not program:
        return "resolvectl is not installed"
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    while True:
        children = [
            subprocess.Popen([program, verb, link, value], env=process.ENVIRONMENT, **quiet)
            for verb, value in settings.items()
        ]
        wrong = next(filter(None, [_failure(child, deadline) for child in children]), "")
        if "not known" not in wrong or time.monotonic() + _PAUSE > deadline:
            return wrong
        time.sleep(_PAUSE)  # it has not yet seen the bridge that was just made


def _failure(child: Any, deadline: float) -> str:
    """Wait for a program, at most until the deadline; why it failed, "" where it did not."""
    from subprocess import TimeoutExpired

    with child:
        try:
            said = child.communicate(timeout=max(0.0, deadline - time.monotonic()))[1]
        except TimeoutExpired:
            child.kill()
            return "it does not answer"
    lines = said.decode(errors="replace").strip().splitlines() or [f"exit {child.returncode}"]
    return lines[-1] if child.returncode else ""


def _run(name: str, *words: str) -> str:
    """What a program prints. Raises _Refused, _Silent."""
    import subprocess

    if not (program := process.find_program(name)):
        raise _Refused
    quiet = ("--auto-start=no",) if name == "busctl" else ()
    try:
        done = subprocess.run(
            [program, *quiet, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=remaining(_LIMIT),
            check=False,
            env=process.ENVIRONMENT,
        )
    except subprocess.TimeoutExpired:
        raise _Silent from None
    if done.returncode:
        raise _Refused
    return done.stdout


def name_server_file() -> str:
    """The file that names the servers the host really asks: behind a local stub, the stub's own list. "" for none.

    dnsmasq watches the directory of the file that a link leads to, and ends where there is no such directory: that is
    where systemd-resolved is installed and does not run.
    """
    behind = f"{_PLACE}/resolv.conf"
    text = small_files.read_text(_RESOLV_CONF) or ""
    path = behind if _STUBS[0] in text and os.path.exists(behind) else _RESOLV_CONF
    return path if os.path.isdir(os.path.dirname(os.path.realpath(path))) else ""
