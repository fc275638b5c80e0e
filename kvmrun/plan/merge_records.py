"""What holds now: running guests as they were started, networks as they were brought up, definitions for all else.

This is the one place where records and definitions are merged. Reservations, names, forwards, source rules and taken
addresses are all planned from the lab that `merged` returns, so that no two commands can disagree.
"""

from collections.abc import Collection, Mapping
from typing import Literal

from kvmrun.errors import Refused
from kvmrun.model.guest.launch_record import Record
from kvmrun.model.in_force import InForce, Pending
from kvmrun.model.lab import Lab, nic_names
from kvmrun.model.network.network import Network
from kvmrun.model.network.network_record import NetworkRecord
from kvmrun.model.printable import quoted
from kvmrun.model.value import EMPTY, Value

FIXED = ("bridge", "subnet", "host", "isolate", "mtu", "ipv6", "external")
"""The keys of a network that cannot change under guests that are attached to it."""
Owner = Literal["own", "other", "unknown"]


class Recorded(Value):
    """What the run directory tells: the records of guests that run and of networks, of whatever lab.

    `gone` are the labs of these records whose directories are no longer there.
    """

    guests: Mapping[str, Record] = EMPTY
    networks: Mapping[str, NetworkRecord] = EMPTY
    gone: frozenset[str] = frozenset()


def guest_owner(lab: Lab, record: Record, gone: Collection[str]) -> Owner:
    """Whose guest it is. One whose lab is not known, or gone, is adopted by the lab that defines it."""
    if record.lab == lab.identity and record.lab:
        return "own"
    if record.lab and record.lab not in gone:
        return "other"
    defined = record.name in lab.guests or record.name in lab.invalid
    same = not record.lab or record.uuid == lab.replace(now=InForce()).uuid(record.name)
    return "own" if defined and same else "unknown"


def network_owner(lab: Lab, record: NetworkRecord, gone: Collection[str]) -> Owner:
    """The same for a network."""
    if record.lab == lab.identity and record.lab:
        return "own"
    if record.lab and record.lab not in gone:
        return "other"
    return "own" if record.network.name in lab.networks else "unknown"


def changed(lab: Lab, recorded: Recorded) -> dict[str, tuple[str, ...]]:
    """The lab's networks that are up and defined otherwise now in a way that guests would notice, with those keys."""
    found = {}
    for name, record in _own_networks(lab, recorded).items():
        if name in lab.networks and (keys := differing(record.network, lab.networks[name])):
            found[name] = keys
    return found


def differing(one: Network, other: Network) -> tuple[str, ...]:
    """The fixed keys in which two definitions differ; the host's address also where it is not given."""
    found = [key for key in FIXED if key != "host" and one.__dict__[key] != other.__dict__[key]]
    return (*found, *(["host"] if "subnet" not in found and one.host_address() != other.host_address() else []))


def merge(lab: Lab, recorded: Recorded, attached: Mapping[str, tuple[str, ...]] = EMPTY) -> Lab:
    """The lab as it holds now. `attached` are the guests on those networks that `changed` has named."""
    running = {name: one for name, one in recorded.guests.items() if guest_owner(lab, one, recorded.gone) == "own"}
    up = _own_networks(lab, recorded)
    keys = changed(lab, recorded)
    pending = {name: Pending(keys=keys[name], guests=names) for name in keys if (names := attached.get(name, ()))}
    undefined = tuple(sorted(up.keys() - lab.networks.keys()))
    kept = {name: up[name].network for name in (*pending, *undefined)}
    recorded_uplinks = {name: one for network in kept for name, one in up[network].uplinks.items()}
    recorded_uplinks |= {str(one.uplink.name): one.uplink for one in running.values() if one.uplink}
    # The order of the definitions is kept: the first of several providers is the one taken by default.
    uplinks = {**lab.uplinks, **{name: one for name, one in recorded_uplinks.items() if name not in lab.uplinks}}
    now = InForce(
        running=running,
        up=up,
        pending=pending,
        undefined=undefined,
        guests_elsewhere={name: one.lab for name, one in recorded.guests.items() if _is_other(lab, one, recorded)},
        networks_elsewhere={
            name: one.lab
            for name, one in recorded.networks.items()
            if network_owner(lab, one, recorded.gone) == "other"
        },
        devices={one.device: name if name in up else "" for name, one in recorded.networks.items() if one.device},
    )
    networks, firewall = {**lab.networks, **kept}, _firewall(lab, up)
    return lab.replace(networks=networks, uplinks=uplinks, firewall=firewall, now=now)


def _firewall(lab: Lab, up: Mapping[str, NetworkRecord]) -> str:
    """The firewall of the lab; if networks.toml cannot be read, that of the networks that are up."""
    if lab.networks or not up:
        return lab.firewall
    return next(iter(up.values())).firewall


def _is_other(lab: Lab, record: Record, recorded: Recorded) -> bool:
    return guest_owner(lab, record, recorded.gone) == "other"


def _own_networks(lab: Lab, recorded: Recorded) -> dict[str, NetworkRecord]:
    networks = recorded.networks.items()
    return {name: one for name, one in networks if network_owner(lab, one, recorded.gone) == "own"}


def refuse_taken(lab: Lab, guest: str) -> None:
    """Raises Refused where a running guest has what this one is given by its definition."""
    nics = lab.guests[guest].nic
    for name, nic in zip(nic_names(nics), nics, strict=True):
        if lab.now.running and (other := lab.holder(guest, nic, name)):
            what = f"the address {nic.address}" if nic.address else "its MAC"
            fix = f"kvmrun stop {other}, or give {guest} another one in {guest}.toml"
            raise Refused(f"{guest} cannot have {what} on network {nic.network}", fix, reason=f"{other} runs with it")


def refuse_pending(lab: Lab, network: str) -> None:
    """Raises Refused where the definition of a network was changed under guests that are attached."""
    if pending := lab.now.pending.get(network):
        keys = ", ".join(pending.keys)
        reason = f"these guests are attached, and would lose their connection: {', '.join(pending.guests)}"
        fix = f"kvmrun net restart {network}, or stop these guests"
        raise Refused(f"network {network} is up, and its {keys} cannot be changed now", fix, reason=reason)


def refuse_elsewhere(lab: Lab, network: str) -> None:
    """Raises Refused where another lab has brought up a network of that name."""
    if other := lab.now.networks_elsewhere.get(network):
        fix = f"kvmrun -C {quoted(other)} net down {network}"
        if network in lab.networks:
            fix += f"; or define a network of another name, bridge and subnet in {lab.directory}/networks.toml,"
            fix += ' and name it with network = "NAME" in the [[nic]] of the guests'
        raise Refused(f"network {network} is up for another lab", fix, reason=f"the lab {other} has brought it up")
