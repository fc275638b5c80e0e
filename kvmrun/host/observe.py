"""Looking at the host: the facts a plan asks for, and nothing that is not asked."""

import os
import pwd
from collections.abc import Iterable, Mapping

from kvmrun.errors import Refused
from kvmrun.host import bridge as bridge_now
from kvmrun.host import link, process, rundir, sysctl
from kvmrun.light.typing import Literal
from kvmrun.model.guest import Guest
from kvmrun.model.lab import Lab
from kvmrun.model.network import Network
from kvmrun.model.nic import KeptTap, Port
from kvmrun.model.place import Directories, Place
from kvmrun.plan import guard, names, rules, ways
from kvmrun.plan import network as plan
from kvmrun.plan.facts import Bridge, File, Host, Owner, Route, Ways, Wire

_SYSTEMD = "/run/systemd/system"


def bridge(name: str) -> Bridge | None:
    """The link a network wants as its bridge, None when there is none; the quick way where it can be trusted."""
    try:
        return bridge_now.read_bridge(name)
    except LookupError:
        from kvmrun.host import netlink

        return netlink.read_bridge(name)


def wire(lab: Lab, network: Network, where: Directories) -> Wire:
    """Everything `network` stands on. What takes long is looked up only when it is about to matter."""
    found = bridge(network.bridge)
    if network.external:
        return Wire(bridge=found)
    at = names.files(where.state, network.name)
    paths = (at.config, at.hosts, at.reservations, plan.names_note(where, network))
    files = {path: text for path in paths if (text := read(path)) is not None}
    pid = _dnsmasq(lab, where, network)
    now = Wire(
        bridge=found,
        hostname=os.uname().nodename.partition(".")[0].lower() or "host",
        resolv=_resolv(),
        loose=_loose(lab, network),
        kept=_kept(port for ports in lab.ports().values() for port in ports if port.network == network.name),
        routes=routes() if found is None else (),
        files=files,
        dnsmasq=pid,
        owners=_owners(lab, where) if network.needs_dnsmasq() and not pid else (),
        rules=_loaded(rules.table(network.name), plan.rules_record(where, network)),
        guard=_loaded(guard.kept_table(network.name), plan.guard_record(where, network)),
        changed=sysctl.changed(where.run),
        routing=sysctl.read("ipv4/conf/all/forwarding") == "1",
        uplinks=uplinks(),
        ways=ways_out(lab, network),
    )
    wanted = plan.settings(lab, network, now)
    return now.but(sysctls={name: value for name in wanted if (value := sysctl.read(name)) is not None})


def _kept(ports: Iterable[Port]) -> dict[str, KeptTap]:
    return {port.tap: tap for port in ports if (tap := link.kept_tap(port.tap)) is not None}


def ways_out(lab: Lab, network: Network) -> Ways:
    """The source rules there are, and what stands in the tables of the uplinks that are chosen."""
    from kvmrun.host import ways as now

    told = ways.uplinks(lab, network)
    return now.look([one.number() for one in told], [one.interface for one in told])


def ways_asked(lab: Lab, network: Network) -> Ways:
    """The same, and which of the gateways do not answer: that takes a second where one does not."""
    from kvmrun.host import gateway

    silent = gateway.silent(ways.gateways(ways.uplinks(lab, network)))
    return ways_out(lab, network).but(silent=silent)


def _loose(lab: Lab, network: Network) -> tuple[str, ...]:
    """The taps of ours on this network that exist and are ports of nothing, or of another bridge."""
    marks = {
        port.tap: f"kvmrun:{guest}:{port.name}"
        for guest, ports in lab.ports().items()
        for port in ports
        if port.network == network.name
    }
    here = [tap for tap in marks if link.index(tap) and link.alias(tap) == marks[tap]]
    return tuple(tap for tap in here if (master := link.master(tap)) is not None and master != network.bridge)


def routes() -> tuple[Route, ...]:
    from kvmrun.host import netlink

    return netlink.routes()


def uplinks() -> tuple[str, ...]:
    """The links of the default routes of the main table."""
    with open(f"/proc/{os.getpid()}/net/route", encoding="ascii") as file:
        rows = [line.split() for line in file]
    return tuple(sorted({row[0] for row in rows[1:] if row[1] == row[7] == "00000000"}))


def _dnsmasq(lab: Lab, where: Directories, network: Network) -> int:
    """The pid of the network's dnsmasq, 0 when it does not run."""
    from kvmrun.host import dnsmasq

    config = names.files(where.state, network.name).config
    return dnsmasq.running(plan.uid(lab, network), config, plan.names_note(where, network))


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return None


def _resolv() -> str:
    """The file that names the servers the host really asks: behind a local stub, the stub's own list."""
    stub = "/run/systemd/resolve/resolv.conf"
    text = read("/etc/resolv.conf") or ""
    return stub if "127.0.0.53" in text and os.path.exists(stub) else "/etc/resolv.conf"


def _owners(lab: Lab, where: Directories) -> tuple[Owner, ...]:
    """Who has the ports of a name server, but for those of this lab's networks: each is bound to its own bridge."""
    from kvmrun.host import listeners

    return listeners.owners({53, 67}, {_dnsmasq(lab, where, one) for one in lab.networks.values()})


def _loaded(table: str, record: str) -> str:
    """The digest of our rules in a table of the packet filter, "" when there are none."""
    if not os.path.exists(record):
        return ""
    from kvmrun.host import nft

    return nft.loaded(table, record)


def host(guest: Guest, place: Place, where: Directories) -> Host:
    """Everything about the host but its networks that starting `guest` depends on."""
    access, gid = kvm(root=where.root)
    others = _others(guest.name, where)
    return Host(
        qemu=qemu(),
        kvm=access,
        kvm_gid=gid,
        vhost=has_vhost(),
        nft=bool(process.find_tool("nft")),
        root=where.root,
        systemd=systemd(root=where.root),
        uid=os.geteuid(),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        files=_files(guest, others),
        taken_taps=frozenset(port.tap for port in place.ports if link.index(port.tap)),
        kept_taps=_kept(place.ports),
        taken_uids=_uids(others) if place.uid is not None else {},
        taken_ports=_ports(guest, others),
        accounts=accounts([guest.user] if guest.user else []),
    )


def _ports(guest: Guest, others: Mapping[str, int]) -> dict[int, str]:
    """Who has the port that the guest is to be shown on, where it is not free."""
    if not guest.display.port:
        return {}
    from kvmrun.host import port

    return {guest.display.port: holder} if (holder := port.holder(guest.display.port, others)) else {}


def qemu() -> str:
    """The QEMU binary, "" when there is none. Raises Refused for a name that cannot be shown."""
    given = os.environ.get("KVMRUN_QEMU", "")
    if not given.isprintable():
        raise Refused(f"{given} is no QEMU", "unset KVMRUN_QEMU", why="it cannot be shown as it is")
    return (os.path.abspath(given) if "/" in given else given) or process.find_tool("qemu-system-x86_64")


def systemd(*, root: bool) -> bool:
    """Whether there is a systemd that would take a guest of ours: the system's for root, else the user's own."""
    if not os.path.isdir(_SYSTEMD):
        return False
    bus = root or os.path.exists(f"{os.environ.get('XDG_RUNTIME_DIR', '')}/bus")
    return bus and bool(process.find_tool("busctl"))


def has_vhost() -> bool:
    return os.access("/dev/vhost-net", os.R_OK | os.W_OK)


def accounts(names: Iterable[str]) -> dict[str, int]:
    """The uids of those of `names` that exist."""
    found = {}
    for name in names:
        try:
            found[name] = pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return found


def kvm(*, root: bool) -> tuple[Literal["ready", "absent", "forbidden"], int]:
    """Whether a QEMU without privileges could open /dev/kvm, and the group that lets it."""
    try:
        found = os.stat("/dev/kvm")
    except OSError:
        return "absent", 0
    if root:
        ready = found.st_mode & 0o006 == 0o006 or (found.st_mode & 0o060 == 0o060 and found.st_gid != 0)
    else:
        ready = os.access("/dev/kvm", os.R_OK | os.W_OK)
    return "ready" if ready else "forbidden", found.st_gid


def _others(name: str, where: Directories) -> dict[str, int]:
    """The pids of the other guests that run, by their records; those without one hold no file we know of."""
    found = {}
    for other in rundir.names(where.run):
        record = rundir.read_record(where.guest(other)) if other != name else None
        if record and record.pid and rundir.is_running(where.guest(other)):
            found[other] = record.pid
    return found


def _uids(others: Mapping[str, int]) -> dict[int, str]:
    found = {}
    for other, pid in others.items():
        try:
            found[os.stat(f"/proc/{pid}").st_uid] = other
        except OSError:
            continue
    return found


def _files(guest: Guest, others: Mapping[str, int]) -> dict[str, File | None]:
    files: dict[str, File | None] = {}
    if guest.drive:
        from kvmrun.host import image

        opened = _opened(others)
        for drive in guest.drive:
            formats = {drive.image: drive.image_format(), **({drive.base: drive.chain_format()} if drive.base else {})}
            files |= {path: _with_users(image.look(path, formats[path]), path, opened) for path in formats}
    for path in (guest.boot.kernel, guest.boot.initrd):
        if path:
            files[path] = File(kind="file", size=0) if os.path.isfile(path) else None
    return files


def _with_users(file: File | None, path: str, opened: Mapping[tuple[int, int], dict[bool, str]]) -> File | None:
    if file is None:
        return None
    found = os.stat(path)
    users = opened.get((found.st_dev, found.st_ino), {})
    return file.but(writer=users.get(True, ""), reader=users.get(False, ""))


def _opened(others: Mapping[str, int]) -> dict[tuple[int, int], dict[bool, str]]:
    """(device, inode) of every file the running guests have open, to {for writing: guest}."""
    found: dict[tuple[int, int], dict[bool, str]] = {}
    for guest, pid in others.items():
        for number, key in _descriptors(pid):
            try:
                with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
                    flags = int(file.read(256).split("flags:")[1].split()[0], 8)
            except (OSError, ValueError, IndexError):
                continue
            found.setdefault(key, {})[flags & os.O_ACCMODE != os.O_RDONLY] = guest
    return found


def _descriptors(pid: int) -> list[tuple[str, tuple[int, int]]]:
    found = []
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return []
    for number in numbers:
        try:
            at = os.stat(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        found.append((number, (at.st_dev, at.st_ino)))
    return found
