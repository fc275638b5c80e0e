"""Looking at this host for `doctor`: everything is only read, and what may not be looked at is said."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

from kvmrun.errors import HostLacks, KvmrunError
from kvmrun.export import systemd_units
from kvmrun.host import sysctl
from kvmrun.host.facts import doctor_probes, guest_facts, listening_ports, network_facts, root_capabilities
from kvmrun.host.firewall import ruleset
from kvmrun.host.links import gateway_probe, policy_routing, pyroute2_links, tap_device
from kvmrun.host.process import process
from kvmrun.model.deadline import remaining
from kvmrun.model.lab import Lab
from kvmrun.model.paths import Paths
from kvmrun.model.printable import printable
from kvmrun.plan.doctor.doctor_facts_model import Access, BootTest, HostNetworkFacts, MachineFacts
from kvmrun.plan.doctor.required_packets import ANYWHERE, ANYWHERE6
from kvmrun.plan.host_facts import NetworkFacts, PortOwner, Route
from kvmrun.plan.network import uplink_routing

T = TypeVar("T")
_TOOLS = ("capsh", "setpriv", "prlimit", "s6-log", "nft", "dnsmasq", "qemu-img", "swtpm")
_UNITS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_LIMIT = 10.0


def machine_facts(where: Paths, guests: Iterable[str], trials: tuple[BootTest, ...]) -> MachineFacts:
    """Everything about the machine but its networks, for the lab's `guests`; `trials` were made before."""
    import psutil

    version, said = _version()
    installed = _units()
    writable, free = _room(where.state)
    memory = psutil.virtual_memory()
    return MachineFacts(
        root=where.root,
        vms=where.vms,
        kvm=guest_facts.kvm_facts(root=where.root)[0],
        kvm_mode=_mode("/dev/kvm"),
        extension=_extension(),
        trials=trials,
        qemu=guest_facts.qemu_facts(),
        qemu_given="KVMRUN_QEMU" in os.environ,
        qemu_version=version,
        qemu_says=said,
        tun=_access("/dev/net/tun"),
        vhost=guest_facts.has_vhost(),
        missing=_missing(),
        memory=memory.total,
        available=memory.available,
        state=where.state,
        state_writable=writable,
        state_free=free,
        units=systemd_units.NETWORKS in installed if os.path.isdir("/run/systemd/system") else None,
        started=frozenset(name for name in guests if systemd_units.unit_name(name) in installed),
        exposed=_exposed(),
        lacking=root_capabilities.missing_capabilities(),
    )


def _exposed() -> str:
    """The installed command, where Python obeys the caller's environment before it begins; "" where it does not."""
    path = os.path.realpath(sys.argv[0])
    return path if os.path.basename(path) == "kvmrun" and not sys.flags.isolated else ""


def host_network_facts(lab: Lab, where: Paths) -> HostNetworkFacts:
    """What the networks stand on. What cannot be looked at becomes an error of its own."""
    now, errors = filter_facts(where), list[str]()
    networks: dict[str, NetworkFacts] = {}
    for name, network in lab.networks.items():
        found = _tried(errors, lambda network=network: network_facts.reported(lab, network, where), None)  # type: ignore[misc]
        if found is not None:
            networks[name] = found
    found_trips = {
        name: _tried(
            errors,
            lambda name=name: policy_routing.trace_route(lab.networks[name], networks[name].bridge, ANYWHERE),  # type: ignore[misc]
            None,
        )
        for name in networks
    }
    ports = {one.port for network in lab.networks.values() for one in network.forward}
    owners: tuple[PortOwner, ...] = _tried(errors, lambda: listening_ports.port_owners(ports), ()) if ports else ()
    routes: tuple[Route, ...] = _tried(errors, network_facts.routes, ())
    served = {name: str(lab.networks[name].host_address().ip) for name, one in networks.items() if one.dnsmasq}
    servers = {name: address for name, address in served.items() if lab.networks[name].dns and not networks[name].names}
    now = _providers(lab, now)
    gateways = uplink_routing.gateway_list(lab.uplinks.values()) + (
        [(way[0], way[2])] if len(way := now.way_out.split()) > 2 else []
    )
    return now.replace(
        networks=networks,
        routes=routes,
        trips={name: trip for name, trip in found_trips.items() if trip is not None},
        servers=network_facts.servers(lab),
        silent=gateway_probe.silent_gateways(gateways),
        probes=doctor_probes.answered_echoes(lab.uplinks.values()) if where.root else {},
        names={name: doctor_probes.answered_names(address) for name, address in servers.items()},
        listeners=owners,
        uid=os.geteuid(),
        errors=(*now.errors, *errors),
    )


def provider_facts(lab: Lab, where: Paths) -> HostNetworkFacts:
    """Only the lab's uplinks: which are there, which have a default route of their own, and which answer."""
    asked = gateway_probe.silent_gateways(uplink_routing.gateway_list(lab.uplinks.values()))
    return _providers(
        lab,
        HostNetworkFacts(
            silent=asked, probes=doctor_probes.answered_echoes(lab.uplinks.values()) if where.root else {}
        ),
    )


def _providers(lab: Lab, now: HostNetworkFacts) -> HostNetworkFacts:
    """With what stands in the routing tables of the uplinks, and in table main."""
    named = {str(one.interface) for one in lab.uplinks.values()}
    tables = {str(one.name): one.number() for one in lab.uplinks.values()}
    routes = policy_routing.policy_state([*tables.values(), uplink_routing.MAIN], named).routes if named else {}
    own = {number: [one for one in routes.get(number, ()) if not one.destination] for number in routes}
    return now.replace(
        links={name: tap_device.is_up(name) for name in sorted(named) if tap_device.ifindex(name)},
        enabled=frozenset(name for name, number in tables.items() if own.get(number)),
        defaults=tuple(
            f"via {one.gateway} dev {one.link}" if one.gateway else f"dev {one.link}"
            for one in own.get(uplink_routing.MAIN, ())
        ),
    )


def filter_facts(where: Paths) -> HostNetworkFacts:
    """Only what tells whether packets pass: everybody's rules, and the way out."""
    errors: list[str] = []
    return HostNetworkFacts(
        way_out=_tried(errors, lambda: pyroute2_links.way_out(ANYWHERE), None) or "",
        way_out6=_tried(errors, lambda: pyroute2_links.way_out(ANYWHERE6), None) or "",
        bridge_netfilter=sysctl.read("bridge/bridge-nf-call-iptables") == "1",
        bridge_netfilter6=sysctl.read("bridge/bridge-nf-call-ip6tables") == "1",
        ruleset=_tried(errors, ruleset.read_ruleset, None) if where.root and process.find_program("nft") else None,
        errors=tuple(errors),
    )


def _tried(errors: list[str], look: Callable[[], T], otherwise: T) -> T:
    try:
        return look()
    except (KvmrunError, OSError) as error:
        errors.append(printable(error, 200))
        return otherwise


def _version() -> tuple[tuple[int, ...], str]:
    """The version QEMU tells, () when it tells none; and what it said instead."""
    try:
        done = subprocess.run(
            [guest_facts.qemu_facts(), "--version"],
            capture_output=True,
            text=True,
            timeout=remaining(_LIMIT),
            check=False,
            errors="replace",
        )
    except OSError as error:
        return (), printable(error, 200)
    except subprocess.TimeoutExpired as error:
        return (), f"no answer within {error.timeout:.1f} s"
    found = re.search(r"version ([0-9]+)\.([0-9]+)(?:\.([0-9]+))?", done.stdout)
    said = (done.stderr or done.stdout).strip().rpartition("\n")[2]
    return (tuple(int(part) for part in found.groups() if part), "") if found else ((), printable(said, 200))


def _mode(path: str) -> str:
    """Who may open a file, as ls shows it: "root:kvm 0660"."""
    import grp
    import pwd

    try:
        found = os.stat(path)
    except OSError:
        return ""
    names: list[str] = []
    for look, number in ((pwd.getpwuid, found.st_uid), (grp.getgrgid, found.st_gid)):
        try:
            names.append(look(number)[0])
        except KeyError:
            names.append(str(number))
    return f"{':'.join(names)} {found.st_mode & 0o7777:04o}"


def _access(path: str) -> Access:
    if not os.path.exists(path):
        return "absent"
    return "ready" if os.access(path, os.R_OK | os.W_OK) else "forbidden"


def _extension() -> Literal["kvm_intel", "kvm_amd", ""]:
    text = guest_facts.read("/proc/cpuinfo") or ""
    found = re.search(r"^flags\s*:.*\b(vmx|svm)\b", text, re.MULTILINE)
    return "" if not found else "kvm_intel" if found[1] == "vmx" else "kvm_amd"


def _missing() -> dict[str, str]:
    found = {}
    for name in _TOOLS:
        try:
            process.require_program(name)
        except HostLacks as lack:
            found[name] = lack.fix
    return found


def _room(state: str) -> tuple[bool, int]:
    """Whether `state` can be written, or made, and how much room there is."""
    here = state
    while not os.path.exists(here):
        here = os.path.dirname(here)
    found = os.statvfs(here)
    readonly = bool(found.f_flag & os.ST_RDONLY)
    writable = os.path.isdir(here) and os.access(here, os.W_OK | os.X_OK) and not readonly
    return writable, found.f_bavail * found.f_frsize


def _units() -> set[str]:
    """Every unit that is installed, whoever's it is."""
    return {name for place in _UNITS if os.path.isdir(place) for name in os.listdir(place)}
