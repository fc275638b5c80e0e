"""Everything wrong with a lab, found without touching the host."""

from collections.abc import Iterator

from kvmrun.api.lab import LabHandle, read_definitions
from kvmrun.errors import KvmrunError
from kvmrun.host.disk import image_aio
from kvmrun.host.facts import guest_facts, network_facts
from kvmrun.host.facts.guest_runtime import guest_runtimes
from kvmrun.host.files import named_files
from kvmrun.host.links import bridges
from kvmrun.host.process import process
from kvmrun.host.rundir import records
from kvmrun.host.seed import seed_facts
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Lab, Problem
from kvmrun.model.osinfo.os_facts import OsFacts, OsMissing
from kvmrun.model.osinfo.os_name import OsName
from kvmrun.model.paths import Paths
from kvmrun.model.value import Value
from kvmrun.plan.guest import firmware_plan, image_plan, os_plan
from kvmrun.plan.network import dnsmasq_leases, dnsmasq_plan
from kvmrun.plan.seed import seed_plan


class LabCheck(Value):
    """What was found: the names of the guests and networks that are valid, of the invalid guests, and every problem."""

    directory: str
    guests: tuple[str, ...]
    invalid: tuple[str, ...]
    networks: tuple[str, ...]
    problems: tuple[Problem, ...]

    def errors(self) -> list[Problem]:
        """The problems that are more than warnings."""
        return [one for one in self.problems if not one.warning]


def check_lab(lab: LabHandle) -> LabCheck:
    """Read the definitions anew, and look at the images and leases that they mean. Mistakes are in the result.

    Raises: ConfigError for a lab that is no directory; Refused for root where another user could have written there.
    """
    definitions = read_definitions(lab.paths)
    guests = definitions.guests.values()
    store = lab.paths.store
    images = [
        one for guest in guests for one in image_plan.image_problems(guest, named_files.guest_image_facts(guest, store))
    ]
    missing = [
        one
        for guest in guests
        for one in image_plan.missing_problems(guest, named_files.missing_files(guest), lab.paths.images)
    ]
    seeds = [one for guest in guests for one in _seeds(guest)]
    networks = [*_bridges(definitions), *_leases(definitions, lab.paths)]
    return LabCheck(
        directory=definitions.directory,
        guests=tuple(definitions.guests),
        invalid=tuple(definitions.invalid),
        networks=tuple(definitions.networks),
        problems=(
            *_with_systems(definitions, lab.paths),
            *images,
            *missing,
            *(one for guest in guests for one in _ways(guest)),
            *_firmware(definitions, lab.paths),
            *seeds,
            *networks,
        ),
    )


def _ways(guest: Guest) -> Iterator[Problem]:
    """A warning for every aio mode that a drive names and this host does not have."""
    if any(drive.aio for drive in guest.drive):
        lacks = image_aio.aio_facts(guest, guest_facts.qemu_facts())
        for number, drive in enumerate(guest.drive):
            if drive.aio and (lack := lacks.get(drive.aio)):
                key, wanted = f"drive[{number}].aio", f"no value, or a way that this host has: {lack}"
                yield Problem(file=f"{guest.name}.toml", key=key, found=drive.aio, wanted=wanted, warning=True)


def _seeds(guest: Guest) -> Iterator[Problem]:
    """An error for every file that the seed of the guest names and that cannot be used."""
    if guest.seed is not None:
        yield from seed_plan.seed_problems(guest.name, guest.seed, seed_facts.named_files(guest.seed))


def _with_systems(lab: Lab, where: Paths) -> Iterator[Problem]:
    """The problems of the lab, a warning for every operating system that is not known, and for what does not suit one.

    Without osinfo-db only those guests are told of whose size would follow from it.
    """
    asking = [(guest, guest.os) for guest in lab.guests.values() if guest.os]
    if not asking:
        yield from lab.problems
        return
    from kvmrun.host.osinfo.database import database  # only for a lab that names an operating system

    known = database(root=where.root)
    found = {name: known.facts(name) for name in dict.fromkeys(name for _, name in asking)}
    told = set[str]()
    for one in lab.problems:
        if one.key == "os" and one.warning and isinstance(missing := found.get(OsName(one.found)), OsMissing):
            told.add(one.found)
            yield one.replace(text=one.text.replace(one.wanted, missing.fix), wanted=missing.fix)
        else:
            yield one
    for guest, name in asking:
        if isinstance(facts := found[name], OsFacts):
            yield from os_plan.os_problems(guest, facts, named_files.missing_files(guest))
        elif facts.why != "no database" and name not in told:
            text, file = f"{facts.reason}; {facts.fix}", f"{guest.name}.toml"
            yield Problem(file=file, key="os", found=name, wanted=facts.fix, warning=True, text=text)


def _firmware(lab: Lab, where: Paths) -> Iterator[Problem]:
    """A warning for every guest that this host has no firmware or no TPM for, or whose own part of it is damaged."""
    found = guest_facts.firmware_facts(lab.guests.values(), where)
    runtimes = guest_runtimes(lab, where) if found else {}
    for name, facts in found.items():
        yield from firmware_plan.firmware_problems(lab.guests[name], runtimes[name], facts)
    for guest in lab.guests.values():
        if guest.tpm and not process.find_program("swtpm"):
            wanted = "swtpm, which emulates it: apt install swtpm"
            yield Problem(file=f"{guest.name}.toml", key="tpm", found="no swtpm", wanted=wanted, warning=True)


def _bridges(lab: Lab) -> Iterator[Problem]:
    """An error for every network whose bridge is to be called as another interface of this host is."""
    for one in lab.networks.values():
        found = None if one.external else bridges.read(one.bridge)
        if found is not None and found.kind != "bridge":
            text = f"{one.bridge} is a network interface of this host, and no bridge"
            wanted = "the name of a bridge that kvmrun makes, such as br0"
            key = f"network.{one.name}.bridge"
            yield Problem(file="networks.toml", key=key, found=one.bridge, wanted=wanted, text=text)


def _leases(lab: Lab, where: Paths) -> Iterator[Problem]:
    """A warning for every lease of an address that is reserved for another guest now, as far as we may read them."""
    try:
        now = records.in_force(lab, where)
    except KvmrunError:
        return
    for name in now.now.up:
        network = now.networks[name]
        path = dnsmasq_plan.files(now, network, where).leases
        for address, mac in dnsmasq_leases.taken_leases(network, now.ports(), network_facts.leases(path)):
            found, wanted = f"a lease of {address} to {mac}", f"none, it is reserved: kvmrun net up {name} drops it"
            yield Problem(file="networks.toml", key=f"network.{name}", found=found, wanted=wanted, warning=True)
