"""Rules about names, ports, images and slots: what two things of a lab cannot both have, and what none of them can."""

from collections.abc import Iterator

from kvmrun.model.guest.drive import Drive
from kvmrun.model.guest.guest import Guest
from kvmrun.model.guest.pci_slots import SLOTS, used_slots
from kvmrun.model.lab import Lab, Problem
from kvmrun.model.network.network import Network
from kvmrun.model.paths import GuestRuntime
from kvmrun.model.printable import printable

_LOCAL = frozenset({"localhost", "ip6-localhost", "ip6-loopback", "ip6-allnodes", "ip6-allrouters"})
"""Names that mean the machine itself wherever they are looked up (RFC 6761, and every hosts file)."""
_FEW = 15
_GENERIC = frozenset(
    {"com", "net", "org", "info", "biz", "edu", "gov", "mil", "int", "name", "pro", "app", "dev", "cloud", "online"}
)
"""The generic top-level domains that are met most; every one of two letters is a country's."""
_PRIVATE = ("home.arpa",)


def guest_name_conflicts(lab: Lab, hostname: str) -> Iterator[Problem]:
    """What is wrong with guests because of what others have; both are blamed where neither came first."""
    ports: dict[int, list[str]] = {}
    for name, guest in lab.guests.items():
        yield from _named_alike(lab, guest, hostname)
        yield from _crowded(lab, guest)
        if guest.display.port:
            ports.setdefault(guest.display.port, []).append(name)
    for names in ports.values():
        for name in names if len(names) > 1 else ():
            others = ", ".join(other for other in names if other != name)
            yield _problem(name, "display", lab.guests[name].display, f"another port: {others} has that one")


def _named_alike(lab: Lab, guest: Guest, hostname: str) -> Iterator[Problem]:
    if guest.name in _LOCAL:
        yield _problem(guest.name, "", f"a guest named {guest.name}", "another name: this one means the machine itself")
    elif guest.name == hostname:
        wanted = "another name: this host has that one, and answers to it on every network"
        yield _problem(guest.name, "", f"a guest named {guest.name}", wanted)
    for name, owner in _second_names(lab, guest):
        yield _problem(guest.name, "", f"a guest named {guest.name}", f"another name: {owner} is called {name} in DNS")


def _second_names(lab: Lab, guest: Guest) -> Iterator[tuple[str, str]]:
    """(name, owner) where the guest's name is what dnsmasq calls another guest's second NIC: GUEST-NIC."""
    mine = {nic.network for nic in guest.nic}
    for other, ports in lab.ports().items():
        if other == guest.name or not guest.name.startswith(f"{other}-"):
            continue
        for network in mine:
            here = [port for port in ports if port.network == network and port.address]
            if any(guest.name == f"{other}-{port.name}" for port in here[1:]):
                yield guest.name, f"a NIC of {other}"


def _crowded(lab: Lab, guest: Guest) -> Iterator[Problem]:
    """More devices than the machine has slots for: QEMU would refuse the last one by a name nobody gave it."""
    if len(guest.nic) + len(guest.drive) < _FEW:
        return
    runtime = GuestRuntime(guest=guest.name, uuid="", directory="", log="", ports=lab.ports()[guest.name])
    room, wanted = SLOTS[guest.kind], used_slots(guest.options(runtime, vhost=False))
    if wanted > room:
        found = f"{len(guest.nic)} NICs and {len(guest.drive)} drives"
        text = f"{wanted - room} fewer: {guest.kind} has {room} slots, and with all other devices {wanted} are needed"
        many = "nic" if len(guest.nic) >= len(guest.drive) else "drive"
        yield _problem(guest.name, many, found, text)


def image_conflicts(lab: Lab) -> Iterator[Problem]:
    """One file as two drives' writable image, or as one's image and another's base."""
    writers: dict[str, tuple[str, int]] = {}
    for name, guest in lab.guests.items():
        for number, drive in enumerate(guest.drive):
            me = name, number
            if drive.image and _writes(guest, drive) and writers.setdefault(drive.image, me) != me:
                wanted = f"an image of its own: {writers[drive.image][0]} writes to it"
                yield _problem(name, f"drive[{number}].image", drive.image, wanted)
    for name, guest in lab.guests.items():
        for number, drive in enumerate(guest.drive):
            for key, path in (("base", drive.base), ("image", None if _writes(guest, drive) else drive.image)):
                me = name, number
                if path and writers.get(path, me) != me:
                    wanted = f"a file that no guest writes to, and {writers[path][0]} writes to this one"
                    yield _problem(name, f"drive[{number}].{key}", path, wanted)


def _writes(guest: Guest, drive: Drive) -> bool:
    return not (drive.is_readonly() or guest.throwaway)


def network_name_conflicts(lab: Lab, hostname: str) -> Iterator[Problem]:
    """Names that a network gives to others, and that are a guest's or the host's."""
    for network in lab.networks.values():
        taken_by = {name: f"the guest {name}" for name, guest in lab.guests.items() if _is_on(guest, network)}
        taken_by |= {hostname: "this host"} if hostname else {}
        for name in network.names:
            bare = name.removesuffix(f".{network.domain}")
            if bare in taken_by or bare in _LOCAL:
                owner = taken_by.get(bare, "the machine itself")
                yield Problem(
                    file="networks.toml",
                    key=f"network.{network.name}.names.{printable(name, 60)}",
                    found=f"{network.names[name]}",
                    wanted=f"another name: {owner} has this one",
                )


def warnings(lab: Lab) -> Iterator[Problem]:
    """Domains that hide a real one, or that every system looks up in another way."""
    for network in lab.networks.values():
        last = network.domain.rpartition(".")[2]
        wanted = ""
        if network.dns and last == "local":
            wanted = "another domain: .local is looked up by multicast DNS, not from a server (RFC 6762)"
        elif network.dns and network.domain not in _PRIVATE and (len(last) == 2 or last in _GENERIC):
            wanted = "a domain that nobody else has, such as lan or home.arpa: guests cannot look up the real one"
        if wanted:
            key = f"network.{network.name}.domain"
            yield Problem(file="networks.toml", key=key, found=network.domain, wanted=wanted, warning=True)


def _is_on(guest: Guest, network: Network) -> bool:
    return any(nic.network == network.name for nic in guest.nic)


def _problem(guest: str, key: str, found: str, wanted: str) -> Problem:
    return Problem(file=f"{guest}.toml", key=key, found=printable(found, 80), wanted=wanted)
