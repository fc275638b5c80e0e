"""Rules across guests and networks: what each file may not know of the others."""

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations

from kvmrun.config import name_conflicts, routed_subnets
from kvmrun.config.standard_paths import NETWORKS
from kvmrun.model import derive
from kvmrun.model.guest import start_order
from kvmrun.model.guest.guest import Guest
from kvmrun.model.lab import Lab, Problem, nic_names
from kvmrun.model.network.network import Network
from kvmrun.model.printable import printable
from kvmrun.model.suggest import closest
from kvmrun.model.value import EMPTY


def cross_check(lab: Lab, stems: list[str], hostname: str = "", parts: Mapping[str, Guest | None] = EMPTY) -> Lab:
    """The lab with the problems between its files found; a guest with an error leaves `guests` for `invalid`.

    `hostname` is the host's own name, which no guest can have; `parts` are the valid parts of guests with errors.
    """
    broken = _broken(lab)
    everyone = {**{name: part for name, part in parts.items() if part}, **lab.guests}
    found = [
        *_between_networks(lab),
        *_network_uplink_problems(lab),
        *_port_forwards(lab, stems),
        *routed_subnets.routed_subnet_problems(lab, stems),
    ]
    found += name_conflicts.network_name_conflicts(lab, hostname)
    lab = _without_networks(lab, found)
    lab = _without_victims(lab, broken | _broken(lab))
    known = frozenset(stems)
    found = [one for guest in lab.guests.values() for one in _guest_problems(guest, lab, known)]
    found += _circles(lab)
    lab = _without(lab, found)
    lab = _without(lab, [*_between_guests(lab, hostname), *name_conflicts.warnings(lab)])
    invalid = {name: guest for name, guest in everyone.items() if name not in lab.guests}
    lab = lab.replace(problems=(*lab.problems, *_of_invalid_guests(lab, invalid, hostname)))
    return lab.replace(invalid=tuple(stem for stem in stems if stem not in lab.guests))


def _between_guests(lab: Lab, hostname: str) -> list[Problem]:
    """What guests have that is another's, or that their networks do not have."""
    return [
        *_clashes(lab),
        *_addresses(lab),
        *name_conflicts.image_conflicts(lab),
        *name_conflicts.guest_name_conflicts(lab, hostname),
    ]


def _of_invalid_guests(lab: Lab, invalid: Mapping[str, Guest], hostname: str) -> Iterator[Problem]:
    """The same errors of guests that are invalid for another reason: both are told at once, and each of them once.

    The guests that are valid remain so: only the invalid one has to change.
    """
    known = {name: _on_networks_of(lab, guest) for name, guest in invalid.items()}
    told = {(one.file, one.key, one.found) for one in lab.problems}
    for one in _between_guests(lab.replace(guests={**lab.guests, **known}), hostname) if known else ():
        if one.file.removesuffix(".toml") in known and not one.warning and (one.file, one.key, one.found) not in told:
            yield one


def _on_networks_of(lab: Lab, guest: Guest) -> Guest:
    """The guest if each of its NICs is on a network of the lab, else without NICs: their numbers are told."""
    return guest if all(nic.network in lab.networks for nic in guest.nic) else guest.replace(nic=())


def _broken(lab: Lab) -> set[str]:
    """What networks.toml has told the errors of, as "network.NAME" and "uplink.NAME"; "" when it is the whole file."""
    errors = [one for one in lab.problems if one.file == NETWORKS and not one.warning]
    keys = [one.key.split(".") if one.key.startswith(("network.", "uplink.")) else [""] for one in errors]
    return {".".join(key[:2]) for key in keys}


def _without_victims(lab: Lab, broken: set[str]) -> Lab:
    """The lab less what depends on something in networks.toml that has errors: those have been told once, there."""

    tables = {one for one in broken if one.startswith("network.")}

    def is_victim(guest: Guest) -> bool:
        needs = {f"network.{nic.network}" for nic in guest.nic if nic.network not in lab.networks}
        needs |= {f"uplink.{guest.uplink}"} if guest.uplink and guest.uplink not in lab.uplinks else set()
        whole = "" in broken or (not lab.networks and bool(tables))
        return bool(needs) and (whole or bool(needs & broken))

    return lab.replace(guests={name: guest for name, guest in lab.guests.items() if not is_victim(guest)})


def _guest_problems(guest: Guest, lab: Lab, stems: Collection[str]) -> Iterator[Problem]:
    yield from _networks_of(guest, lab)
    yield from _start_order_problems(guest, stems)
    yield from _uplink_problems(guest, lab)


def _without(lab: Lab, found: list[Problem]) -> Lab:
    """`lab` with `found` added to its problems, less the guests they name."""
    bad = {problem.file.removesuffix(".toml") for problem in found if not problem.warning}
    guests = {name: guest for name, guest in lab.guests.items() if name not in bad}
    return lab.replace(guests=guests, problems=(*lab.problems, *found))


def _without_networks(lab: Lab, found: list[Problem]) -> Lab:
    """`lab` with `found` added to its problems, less the networks they are in: none is brought up half right."""
    bad = {problem.key.split(".")[1] for problem in found}
    networks = {name: network for name, network in lab.networks.items() if name not in bad}
    return lab.replace(networks=networks, problems=(*lab.problems, *found))


def _networks_of(guest: Guest, lab: Lab) -> Iterator[Problem]:
    names = nic_names(guest.nic)
    for number, nic in enumerate(guest.nic):
        if nic.network not in lab.networks:
            close = closest(nic.network, lab.networks) or ", ".join(sorted(lab.networks)[:5])
            wanted = f"a network of networks.toml{f', such as {close}' if close else ', which has none without errors'}"
            yield _problem(guest.name, f"nic[{number}].network", nic.network, wanted)
        if names.count(names[number]) > 1:
            yield _problem(
                guest.name, f"nic[{number}].name", names[number], "a name that no other NIC of the guest has"
            )


def _start_order_problems(guest: Guest, stems: Collection[str]) -> Iterator[Problem]:
    for number, other in enumerate(guest.after):
        if other not in stems:
            close = closest(other, stems)
            yield _problem(
                guest.name, f"after[{number}]", other, f"a guest of this lab{close and f', such as {close}'}"
            )


def _circles(lab: Lab) -> Iterator[Problem]:
    before = {name: one.after for name, one in lab.guests.items() if one.after}
    for name in sorted(start_order.find_cycles(before)) if before else ():
        circle = " after ".join(start_order.find_cycle(before, name))
        text = f"the order is circular: {circle}"
        yield _problem(name, "after", circle, "an order without a circle").replace(text=text)


def _between_networks(lab: Lab) -> Iterator[Problem]:
    for one, other in combinations(lab.networks.values(), 2):
        key = f"network.{other.name}"
        if one.bridge == other.bridge:
            yield _network_problems(f"{key}.bridge", other.bridge, f"a bridge of its own: network.{one.name} has it")
        wanted = f"a subnet that does not overlap {{}} of network.{one.name}"
        if one.subnet.overlaps(other.subnet):
            yield _network_problems(f"{key}.subnet", str(other.subnet), wanted.format(one.subnet))
        if one.ipv6 and other.ipv6 and one.ipv6.overlaps(other.ipv6):
            yield _network_problems(f"{key}.ipv6", str(other.ipv6), wanted.format(one.ipv6))


def _network_uplink_problems(lab: Lab) -> Iterator[Problem]:
    """Uplinks that the networks name and nobody defines, or that lead nowhere."""
    for network in lab.networks.values():
        for uplink in network.nat if isinstance(network.nat, tuple) else ():
            if uplink not in lab.uplinks:
                yield _network_problems(f"network.{network.name}.nat", uplink, _known_uplinks_text(lab, uplink))
        if network.uplink and (wanted := _wanted_uplink(lab, network.uplink)):
            yield _network_problems(f"network.{network.name}.uplink", network.uplink, wanted)


def _uplink_problems(guest: Guest, lab: Lab) -> Iterator[Problem]:
    """The uplink a guest is told to use, and whether its networks let it leave there as itself."""
    if not guest.uplink:
        return
    if wanted := _wanted_uplink(lab, guest.uplink):
        yield _problem(guest.name, "uplink", guest.uplink, wanted)
        return
    interface = lab.uplinks[guest.uplink].interface
    for name in sorted({nic.network for nic in guest.nic} & lab.networks.keys()):
        nat = lab.networks[name].nat
        if isinstance(nat, tuple) and interface not in {lab.uplinks[one].interface for one in nat}:
            text = f"network.{name} does not masquerade out of {guest.uplink}, so nobody answers there; add it to nat"
            wanted = f"{guest.uplink} among nat of network.{name}"
            yield _problem(guest.name, "uplink", guest.uplink, wanted).replace(warning=True, text=text)


def _wanted_uplink(lab: Lab, name: str) -> str:
    """What is wanted instead of the uplink `name` for a way to choose; "" when it will do."""
    if name not in lab.uplinks:
        return _known_uplinks_text(lab, name)
    uplink = lab.uplinks[name]
    if uplink.gateway is None and uplink.table is None:
        return f"a gateway in uplink.{name}, or the table that has its routes"
    same = [one.name for one in lab.uplinks.values() if one.number() == uplink.number() and one.name != name]
    return f"a table in uplink.{name} that is not that of uplink.{same[0]}" if same else ""


def _known_uplinks_text(lab: Lab, name: str) -> str:
    close = closest(name, lab.uplinks) or ", ".join(lab.uplinks) or "none is defined"
    return f"an uplink that networks.toml defines ({close})"


def _port_forwards(lab: Lab, stems: list[str]) -> Iterator[Problem]:
    """Ports that two of them want, and guests that are not there. One with errors of its own has been told so."""
    wanted: dict[tuple[str, int], str] = {}
    for network in lab.networks.values():
        for number, one in enumerate(network.forward):
            key = f"network.{network.name}.forward[{number}]"
            if (other := wanted.setdefault((one.protocol, one.port), key)) != key:
                yield _network_problems(key, str(one), f"another port: {other} has it")
            if one.guest not in stems:
                close = closest(one.guest, stems)
                yield _network_problems(
                    key, one.guest, f"a guest of this lab{f' (did you mean {close}?)' if close else ''}"
                )
            elif one.guest in lab.guests and not any(nic.network == network.name for nic in lab.guests[one.guest].nic):
                yield _network_problems(key, one.guest, f"a guest on network {network.name}")


def _network_problems(key: str, found: str, wanted: str) -> Problem:
    return Problem(file="networks.toml", key=key, found=found, wanted=wanted)


def _clashes(lab: Lab) -> Iterator[Problem]:
    """MACs, UUIDs, taps and accounts that are not their owner's alone. Two given by hand blame both, else that one."""
    bridges = {str(one.bridge) for one in lab.networks.values()}
    owners = {derive.mac(lab.seed, "bridge", name): (name, False) for name in bridges}
    for guest, key, value, given in _identities(lab):
        if value not in owners:
            owners[value] = guest, given
            continue
        other, other_given = owners[value]
        what = f"another one than {other} has"
        if given or not other_given:
            yield _problem(guest, key, value, what)
        if other_given:
            yield _problem(other, key, value, f"another one than {guest} has")


def _identities(lab: Lab) -> Iterator[tuple[str, str, str, bool]]:
    """(guest, key, value, given by hand) of everything that must be its owner's alone."""
    ports = lab.ports()
    for name, guest in lab.guests.items():
        yield name, "uuid", guest.uuid or derive.uuid(lab.seed, name), guest.uuid is not None
        for words in ((name,), (name, "log")):
            yield name, "user", f"uid {derive.uid(lab.seed, *words)}", False
        for number, (nic, port) in enumerate(zip(guest.nic, ports[name], strict=True)):
            yield name, f"nic[{number}].mac", port.mac, nic.mac is not None
            yield name, f"nic[{number}].name", port.tap, nic.name is not None


def _addresses(lab: Lab) -> Iterator[Problem]:
    given: dict[tuple[str, str], tuple[str, str]] = {}
    ports = lab.ports()
    for name, guest in lab.guests.items():
        for number, (nic, port) in enumerate(zip(guest.nic, ports[name], strict=True)):
            network = lab.networks[nic.network]
            key = f"nic[{number}].address"
            if nic.address and not network.can_hold(nic.address):
                yield _problem(name, key, str(nic.address), _address_range_text(network))
            elif nic.address:
                other = given.setdefault((network.name, str(nic.address)), (name, key))
                if other != (name, key):
                    yield _problem(name, key, str(nic.address), f"another one than {other[0]} has")
                    yield _problem(*other, str(nic.address), f"another one than {name} has")
            elif port.address is None and not network.external:
                text = f"{network.subnet} has no free address for this NIC"
                yield _problem(name, key, "no free address", f"room in {network.subnet}").replace(text=text)
            elif port.address is None and port.guard == "address":
                text = '"address" needs an address of this NIC, because none is derived on an external network'
                yield _problem(name, f"nic[{number}].guard", "address", 'an address on this NIC, or "mac"').replace(
                    text=text
                )
            elif "ra" in port.serves and port.guard == "address" and not port.prefix6:
                wanted = f'guard = "mac" on this NIC, or ipv6 in network.{network.name}: "address" lets no IPv6 through'
                yield _problem(name, f"nic[{number}].serves", "ra", wanted)
            elif stepped := _displaced_address(lab, name, port.name, network, port.address):
                text = (
                    f'its derived address {stepped} is taken; address = "{port.address}" keeps the one that it has now'
                )
                wanted = f'address = "{port.address}", to keep it: {stepped} is taken'
                yield _problem(name, key, str(port.address), wanted).replace(warning=True, text=text)


def _address_range_text(network: Network) -> str:
    pool = f", nor in the pool {network.pool()}" if network.dhcp else ""
    return f"an address of {network.subnet} that is not the host's ({network.host_address().ip}){pool}"


def _displaced_address(lab: Lab, guest: str, nic: str, network: Network, address: str | None) -> str:
    first = next(network.candidates(derive.address_offset(lab.seed, guest, nic)), None)
    return str(first) if first and address and str(first) != address else ""


def _problem(guest: str, key: str, found: str, wanted: str) -> Problem:
    return Problem(file=f"{guest}.toml", key=key, found=printable(found, 80), wanted=wanted)
